"""NRRD and MetaImage: values and places as ITK reads them, and headers that name other files."""

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from napari_ldseg.errors import LDSegError
from napari_ldseg.layers.files import read_layers
from napari_ldseg.scans.files import image_files, read_like, read_scan, write_like

from ..dicom_files import rotation

LPS = np.diag([-1.0, -1.0, 1.0])


def image(shape=(4, 5, 6), components=1, dtype=np.int16, direction=None):
    """Return an ITK image of (slice, row, column) with an oblique, anisotropic grid."""
    array = np.random.default_rng(0).integers(0, 200, (*shape, components)[: 3 + (components > 1)])
    made = sitk.GetImageFromArray(array.astype(dtype), isVector=components > 1)
    made.SetSpacing((0.7, 0.9, 2.5))
    made.SetOrigin((-40, 30.5, 12))
    made.SetDirection(np.ravel(rotation() if direction is None else direction))
    return made


def same_places(scan, made):
    for index in np.ndindex(2, 2, 2):
        index = [i * (n - 1) for i, n in zip(index, made.GetSize(), strict=True)]
        ours = LPS @ (scan.source.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(ours, made.TransformIndexToPhysicalPoint(index), atol=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_voxel_is_where_itk_puts_it(tmp_path, suffix, compressed):
    flipped = rotation() @ np.diag([-1, 1, -1])
    for name, direction in (("a", None), ("b", flipped), ("c", np.eye(3)[[1, 2, 0]])):
        made = image(direction=direction)
        path = tmp_path / f"{name}{suffix}"
        sitk.WriteImage(made, str(path), useCompression=compressed)
        scan = read_scan(path)
        same_places(scan, made)
        label = np.asarray(scan.array > 100).astype(np.uint8)
        written = write_like(tmp_path / f"{name}.nii.gz", label, scan)
        np.testing.assert_array_equal(read_like(written, scan), label)
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
        np.testing.assert_array_equal(theirs, sitk.GetArrayFromImage(made) > 100)
        assert len(image_files(path)) == (2 if suffix in (".nhdr", ".mhd") else 1)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colours_become_channels_and_2d_stays_2d(tmp_path, suffix):
    made = image(components=3, dtype=np.uint8)
    sitk.WriteImage(made, str(tmp_path / f"rgb{suffix}"))
    scan = read_scan(tmp_path / f"rgb{suffix}")
    assert scan.channel_count == 3 and scan.space == 3
    flat = sitk.GetImageFromArray(np.arange(30, dtype=np.uint8).reshape(5, 6))
    flat.SetSpacing((0.5, 0.25))
    sitk.WriteImage(flat, str(tmp_path / f"flat{suffix}"))
    scan = read_scan(tmp_path / f"flat{suffix}")
    np.testing.assert_array_equal(scan.array, sitk.GetArrayFromImage(flat))
    np.testing.assert_allclose(scan.spacing[1:], (0.25, 0.5))


def test_the_spaces_of_nrrd_and_its_lists_of_frames(tmp_path):
    array = np.random.default_rng(0).integers(0, 9, (2, 4, 5, 6)).astype(np.int16)
    directions = np.vstack([np.full(3, np.nan), np.diag([0.5, 0.6, 3.0])])
    for space, signs in (
        ("left-posterior-superior", (-1, -1)),
        ("right-anterior-superior", (1, 1)),
        ("LAS", (-1, 1)),
    ):
        header = {
            "space": space,
            "space directions": directions,
            "space origin": [1.0, 2.0, 3.0],
            "kinds": ["list", "domain", "domain", "domain"],
        }
        nrrd.write(str(tmp_path / "a.nrrd"), array, header)
        scan = read_scan(tmp_path / "a.nrrd")
        expected = np.diag([*signs, 1, 1]) @ np.array(
            [[0.5, 0, 0, 1], [0, 0.6, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]]
        )
        np.testing.assert_allclose(scan.source.affine, expected)
        assert scan.shape[0] == 2 and scan.source.shape == (4, 5, 6, 2)


def test_a_segmentation_of_slicer_opens_as_labels(tmp_path):
    made = image(dtype=np.uint8)
    sitk.WriteImage(made > 100, str(tmp_path / "case.seg.nrrd"))
    ((data, attributes, kind),) = read_layers(str(tmp_path / "case.seg.nrrd"))
    assert kind == "labels" and set(np.unique(data)) == {0, 1} and attributes["name"] == "case.seg"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.raw",
        "/etc/passwd",
        "LIST",
        "slice%03d.raw 1 4 1",
        "link.raw",
        "missing.raw",
        "C:\\a.raw",
    ],
)
@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_header_never_leads_out_of_its_folder(tmp_path, assert_sentence, suffix, name):
    (tmp_path / "secret.raw").write_bytes(bytes(240))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.raw").symlink_to(tmp_path / "secret.raw")
    sitk.WriteImage(image(), str(inside / f"a{suffix}"))
    path = inside / f"a{suffix}"
    path.write_text(path.read_text().replace("a.raw", name))
    with pytest.raises(LDSegError) as error:
        read_scan(path)
    assert_sentence(error, f"a{suffix}")


def test_more_or_fewer_data_than_the_header_gives(tmp_path, assert_sentence):
    for suffix in (".nrrd", ".mha"):
        path = tmp_path / f"a{suffix}"
        for compressed in (False, True):
            sitk.WriteImage(image(), str(path), useCompression=compressed)
            path.write_bytes(path.read_bytes()[:-40])
            with pytest.raises(LDSegError) as error:
                read_scan(path)
            assert_sentence(error, path.name)
        path.write_bytes(path.read_bytes().replace(b"6 5 4", b"99999 99999 99999"))
        with pytest.raises(LDSegError) as error:
            read_scan(path)
        assert_sentence(error, path.name)
    # Zeros that would decompress to far more than the image are not decompressed.
    nrrd.write(
        str(tmp_path / "bomb.nrrd"), np.zeros((512, 512, 64), np.uint8), {"encoding": "gzip"}
    )
    content = (tmp_path / "bomb.nrrd").read_bytes().replace(b"512 512 64", b"8 8 8")
    (tmp_path / "bomb.nrrd").write_bytes(content)
    assert read_scan(tmp_path / "bomb.nrrd").array.size == 512


def test_a_place_that_nifti_cannot_store_is_refused_and_not_rounded(tmp_path, assert_sentence):
    made = image()
    made.SetOrigin((2_000_000_050, 0, 0))
    sitk.WriteImage(made, str(tmp_path / "far.mha"))
    scan = read_scan(tmp_path / "far.mha")
    with pytest.raises(LDSegError) as error:
        write_like(tmp_path / "label.nii.gz", np.zeros(scan.shape, np.uint8), scan)
    assert_sentence(error, "label.nii.gz", "affine")
    assert not (tmp_path / "label.nii.gz").exists()


def test_a_metaimage_that_itk_made_of_a_nifti_file(tmp_path):
    """Its header has the fields of NIfTI, as ``dim[0] = 3``."""
    made = image()
    sitk.WriteImage(made, str(tmp_path / "a.nii"))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / "a.mha"))
    assert b"dim[0]" in (tmp_path / "a.mha").read_bytes()
    same_places(read_scan(tmp_path / "a.mha"), made)
