"""Images of several channels: which files belong together, and their geometry."""

import nibabel as nib
import numpy as np
import pytest
from skimage.io import imsave

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.channels import (
    ImageFiles,
    channels_as_frames,
    frames_as_channels,
    group_channels,
    numbered,
    read_channels,
    read_image,
    read_numbered,
)
from napari_ldseg.scans.files import read_scan, write_like
from napari_ldseg.scans.scan import Scan


def oblique():
    turn = np.array([[0.9, -0.3, 0.1], [0.3, 0.9, -0.2], [-0.03, 0.2, 0.97]])
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag([0.7, 1.1, 2.5]))[:, [2, 0, 1]]
    affine[:3, 3] = 5, -7, 11
    return affine


def volume(path, seed=0, shape=(4, 5, 6), affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 99, shape).astype(np.int16)
    image = nib.Nifti1Image(data, oblique() if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def flipped(path, source):
    """Write the volume of ``source`` with its first axis reversed: the same image in the world."""
    image = nib.load(source)
    back = np.diag([-1.0, 1, 1, 1])
    back[0, 3] = image.shape[0] - 1
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1], image.affine @ back), path)
    return path


def test_names_of_channels():
    assert numbered("brain_0001") == ("brain", 1) and numbered("a_0000_0012") == ("a_0000", 12)
    assert numbered("brain_001") is None and numbered("_0001") is None


def test_the_channels_of_a_case_are_one_image_and_other_files_their_own(tmp_path):
    files = [volume(tmp_path / f"p0_000{i}.nii.gz", i) for i in range(3)]
    alone = volume(tmp_path / "p1_0000.nii", 5)
    both = volume(tmp_path / "p2.nii.gz", 6, (4, 5, 6, 3))
    held = volume(tmp_path / "p3_0000.nii.gz", 6, (4, 5, 6, 3))
    grey = [tmp_path / f"g_000{i}.png" for i in range(3)]
    colour = [tmp_path / f"c_000{i}.png" for i in range(2)]
    for i, path in enumerate(grey + colour):
        size = (8, 9, 3) if path in colour else (8, 9)
        imsave(path, np.random.default_rng(i).integers(0, 255, size).astype(np.uint8))
    found = group_channels(sorted(tmp_path.iterdir()))
    assert set(found) == {
        ImageFiles("p0", tuple(files)),
        ImageFiles("p1", (alone,)),
        ImageFiles("p2", (both,)),
        ImageFiles("p3_0000", (held,)),
        ImageFiles("g", tuple(grey)),
        *(ImageFiles(path.stem, (path,)) for path in colour),
    }
    assert len(found) == 7
    assert group_channels(files[1:2]) == [ImageFiles("p0", tuple(files))]


def test_files_and_the_last_axis_give_one_scan_at_its_true_place(tmp_path):
    files = [volume(tmp_path / f"p_000{i}.nii.gz", i) for i in range(2)]
    data = np.stack([np.asarray(nib.load(f).dataobj) for f in files], axis=-1)
    nib.save(nib.Nifti1Image(data, nib.load(files[0]).affine), tmp_path / "both.nii.gz")
    one = read_scan(files[0])
    for paths in (
        files,
        [tmp_path / "both.nii.gz"],
        [files[0], flipped(tmp_path / "f.nii", files[1])],
    ):
        scan = read_channels(paths)
        assert scan.channels and scan.shape == one.shape
        np.testing.assert_allclose(scan.affine, one.affine)
        for channel, file in enumerate(files):
            np.testing.assert_array_equal(scan.array[..., channel], read_scan(file).array)
        label = write_like(
            tmp_path / "label.nii", (np.asarray(one.array) > 50).astype(np.uint8), scan
        )
        written = nib.load(label)
        np.testing.assert_allclose(written.affine, oblique(), atol=1e-6)
        np.testing.assert_array_equal(written.dataobj, data[..., 0] > 50)


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 5, 1, 2), (4, 5, 6, 1, 2), (4, 5, 6, 3, 2)])
def test_channels_are_written_as_the_last_axis_of_one_file(tmp_path, shape):
    scan = frames_as_channels(read_scan(volume(tmp_path / "a.nii", 1, shape)))
    for image in (scan, Scan(scan.array, scan.affine, channels=True)):
        frames = channels_as_frames(image)
        path = write_like(tmp_path / "b.nii", frames.array, frames)
        again = read_channels([path])
        assert again.shape == scan.shape and again.channel_count == 2
        if image is scan:
            np.testing.assert_array_equal(again.array, scan.array)
            np.testing.assert_allclose(again.affine, scan.affine, atol=1e-6)


def refused(assert_sentence, action, *words):
    with pytest.raises(LDSegError) as error:
        action()
    assert_sentence(error, *words)


def test_what_does_not_fit_gets_a_sentence(tmp_path, assert_sentence):
    first = volume(tmp_path / "p_0000.nii.gz")
    third = volume(tmp_path / "p_0002.nii.gz", 2)
    small = volume(tmp_path / "q_0001.nii.gz", 3, (4, 5, 5))
    moved = oblique()
    moved[0, 3] += 0.5
    away = volume(tmp_path / "r_0001.nii.gz", 3, affine=moved)
    grey = volume(tmp_path / "grey.nii.gz")
    images = {image.name: image for image in group_channels([first, grey])}
    refused(
        assert_sentence, lambda: read_image(images["p"], 3), "p_0000.nii.gz", "p_0001", "folder"
    )
    refused(assert_sentence, lambda: read_numbered([first, third]), "p_0001", "missing")
    refused(
        assert_sentence, lambda: read_channels([first, small]), "q_0001.nii.gz", "4 x", "resample"
    )
    refused(assert_sentence, lambda: read_channels([first, away]), "r_0001.nii.gz", "affines")
    refused(
        assert_sentence, lambda: read_image(images["grey"], 2), "grey.nii.gz", "CASE_0001", "4D"
    )
    assert read_image(ImageFiles("p_0000", (first,)), 1).channel_count == 1
