"""Cases found in folders of three layouts, and a split by patient that stays."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from skimage.io import imsave

from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import Split, draw_split, load_or_draw_split, read_split
from napari_ldseg.errors import LDSegError

from ..discs import disc, write_discs


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, array.astype(np.uint8), check_contrast=False)


def volume(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def oblique():
    turn = np.array([[0.9, -0.3, 0.1], [0.3, 0.9, -0.2], [-0.03, 0.2, 0.97]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 1.1, 2.5])
    affine[:3, 3] = 5, -7, 11
    return affine


@pytest.mark.parametrize("dims", [2, 3])
def test_images_and_labels_of_the_same_name(tmp_path, dims):
    cases = find_cases(DataSettings(folder=write_discs(tmp_path, 4, dims), patient=r"(p\d+)_"))
    assert [c.name for c in cases] == ["p00_0", "p00_1", "p01_0", "p01_1"]
    assert [c.patient for c in cases] == ["p00", "p00", "p01", "p01"]
    scan, label = cases[3].read()
    truth = disc(dims, 3)[1]
    if dims == 3:  # read on its nearest anatomical axes: superior, posterior, left
        truth = truth.transpose(2, 1, 0)[:, ::-1, ::-1]
    np.testing.assert_array_equal(label, truth)
    assert np.asarray(scan.array)[truth > 0].mean() > 2 * np.asarray(scan.array)[truth == 0].mean()


def test_numbered_objects_and_images_with_a_palette(tmp_path):
    label = np.array([[0, 1, 7], [0, 2, 7]])
    write_image(tmp_path / "images" / "a.png", label * 9)
    path = tmp_path / "labels" / "a.png"
    path.parent.mkdir()
    coloured = Image.fromarray(label.astype(np.uint8), mode="P")
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [9, 200, 30] * 252)
    coloured.save(path)
    (case,) = find_cases(DataSettings(folder=tmp_path))
    np.testing.assert_array_equal(case.read()[1], label)
    (case,) = find_cases(DataSettings(folder=tmp_path, instances=True))
    np.testing.assert_array_equal(case.read()[1], label > 0)


def test_several_readers(tmp_path):
    write_image(tmp_path / "images" / "a.png", np.arange(16).reshape(4, 4))
    for number in (0, 1):
        write_image(tmp_path / f"reader{number}" / "a.png", np.full((4, 4), number))
    (case,) = find_cases(DataSettings(folder=tmp_path, labels=("reader0", "reader1")))
    assert [read().max() for read in case.read_labels] == [0, 1]
    assert (case.read()[1] == 1).all()


def test_decathlon_with_several_modalities(tmp_path):
    image = np.random.default_rng(0).random((5, 6, 7, 2)).astype(np.float32)
    label = (image[..., 0] > 0.5).astype(np.uint8)
    volume(tmp_path / "imagesTr" / "brain_1.nii.gz", image, oblique())
    volume(tmp_path / "labelsTr" / "brain_1.nii.gz", label, oblique())
    (tmp_path / "dataset.json").write_text(
        json.dumps(
            {
                "modality": {"0": "T1", "1": "FLAIR"},
                "training": [
                    {"image": "./imagesTr/brain_1.nii.gz", "label": "./labelsTr/brain_1.nii.gz"}
                ],
            }
        )
    )
    (case,) = find_cases(DataSettings(folder=tmp_path))
    scan, found = case.read()
    assert case.name == "brain_1" and scan.channel_count == 2 and scan.shape == found.shape
    np.testing.assert_array_equal(scan.array[..., 0] > 0.5, found)


def test_decathlon_descriptions_that_cannot_be_used(tmp_path, assert_sentence):
    for name in ("a/T1", "b/T1", "labels/one", "labels/two"):
        volume(tmp_path / f"{name}.nii.gz", np.zeros((4, 4, 4), np.uint8))

    def refused(*words, modality=None, images=("a/T1.nii.gz", "b/T1.nii.gz")):
        labels = "labels/one.nii.gz", "labels/two.nii.gz"
        pairs = [{"image": i, "label": n} for i, n in zip(images, labels, strict=True)]
        content = {"modality": modality, "training": pairs}
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        with pytest.raises(LDSegError) as error:
            find_cases(DataSettings(folder=tmp_path))
        assert_sentence(error, *words)

    refused("two images called T1", "rename")
    refused("two images called T1", modality=3)
    refused("no disk can have", images=("a/T1.nii.gz", "x" * 300))
    refused("no disk can have", images=("a/T1.nii.gz", "a\0b"))


def test_nnunet_with_one_file_per_channel(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.random((5, 6, 7)).astype(np.float32) for _ in range(2)]
    for name in ("liver_1", "liver_10"):
        for i, image in enumerate(images):
            volume(tmp_path / "imagesTr" / f"{name}_000{i}.nii.gz", image, oblique())
        volume(
            tmp_path / "labelsTr" / f"{name}.nii.gz", (images[1] > 0.5).astype(np.uint8), oblique()
        )
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "a"}, "file_ending": ".nii.gz"}'
    )
    cases = find_cases(DataSettings(folder=tmp_path))
    assert [c.name for c in cases] == ["liver_1", "liver_10"]
    scan, label = cases[0].read()
    np.testing.assert_array_equal(scan.array[..., 1] > 0.5, label)
    (tmp_path / "imagesTr" / "liver_1_0000.nii.gz").rename(
        tmp_path / "imagesTr" / "liver_1_0002.nii.gz"
    )
    with pytest.raises(LDSegError, match="liver_1_0000 is missing"):
        find_cases(DataSettings(folder=tmp_path))[0].read()
    volume(
        tmp_path / "imagesTr" / "liver_10_0001.nii.gz",
        images[1],
        oblique() @ np.diag([1.5, 1, 1, 1]),
    )
    with pytest.raises(LDSegError, match=r"liver_10_0001\.nii\.gz.*affines"):
        find_cases(DataSettings(folder=tmp_path))[1].read()


def break_label(folder):
    (folder / "labels" / "p00_1.png").unlink()


def break_double(folder):
    (folder / "images" / "p00_1.tif").write_bytes(b"x")


def break_colour(folder):
    write_image(folder / "labels" / "p00_0.png", np.zeros((16, 16, 3)))


def break_unreadable(folder):
    (folder / "labels" / "p00_0.png").write_bytes(b"\x89PNG broken")


@pytest.mark.parametrize(
    "damage, words",
    [
        (break_label, ("p00_1.png", "labels")),
        (break_double, ("p00_1", "twice")),
        (break_colour, ("p00_0.png", "in colour")),
        (break_unreadable, ("p00_0.png",)),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, damage, words, assert_sentence):
    damage(write_discs(tmp_path, 2))
    with pytest.raises(LDSegError) as error:
        find_cases(DataSettings(folder=tmp_path))[0].read()
    assert_sentence(error, *words)


def test_settings_that_find_nothing(tmp_path, assert_sentence):
    write_discs(tmp_path, 2)
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "labels").mkdir()
    for changes, word in (
        ({"folder": tmp_path / "nowhere"}, "does not exist"),
        ({"images": "pictures"}, "pictures"),
        ({"folder": tmp_path / "empty"}, "no labelled images"),
        ({"patient": r"case(\d+)"}, "p00_0"),
    ):
        with pytest.raises(LDSegError) as error:
            find_cases(DataSettings(**{"folder": tmp_path} | changes))
        assert_sentence(error, word)


def test_a_label_that_lies_elsewhere_is_refused(tmp_path, assert_sentence):
    array = np.zeros((5, 6, 7), np.uint8)
    volume(tmp_path / "images" / "a.nii.gz", array, oblique())
    moved = oblique()
    moved[0, 3] += 0.2
    volume(tmp_path / "labels" / "a.nii.gz", array, moved)
    (case,) = find_cases(DataSettings(folder=tmp_path))
    case.read()  # a rounding of the header is no other place
    moved[0, 3] += 2
    volume(tmp_path / "labels" / "a.nii.gz", array, moved)
    with pytest.raises(LDSegError) as error:
        case.read()
    assert_sentence(error, "a.nii.gz", "affines")


def test_a_nifti_file_of_one_slice(tmp_path, assert_sentence):
    array = np.arange(30, dtype=np.uint8).reshape(5, 6, 1) % 2
    for name in ("images", "labels"):
        volume(tmp_path / name / "a.nii.gz", array, oblique())
    (case,) = find_cases(DataSettings(folder=tmp_path))
    scan, label = case.read()
    assert scan.shape == label.shape and len(label.shape) == 2
    moved = oblique()
    moved[2, 3] += 3
    volume(tmp_path / "labels" / "a.nii.gz", array, moved)
    with pytest.raises(LDSegError) as error:
        case.read()
    assert_sentence(error, "a.nii.gz", "affines")


def test_a_description_cannot_lead_out_of_its_folder(tmp_path, assert_sentence):
    folder = tmp_path / "data"
    volume(tmp_path / "secret.nii.gz", np.zeros((3, 3, 3), np.uint8))
    folder.mkdir()
    pair = {"image": "../secret.nii.gz", "label": "../secret.nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({"training": [pair]}))
    with pytest.raises(LDSegError) as error:
        find_cases(DataSettings(folder=folder))
    assert_sentence(error, "outside")


def test_a_split_keeps_patients_together_and_stays(tmp_path):
    settings = DataSettings(
        folder=write_discs(tmp_path, 40), patient=r"(p\d+)_", validation=0.25, test=0.1
    )
    cases = find_cases(settings)
    split = load_or_draw_split(settings, cases, tmp_path / "split.json")
    parts = [{c.patient for c in split.cases(p, cases)} for p in ("training", "validation", "test")]
    assert [len(part) for part in parts] == [13, 5, 2]
    assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
    assert sorted(split.training + split.validation + split.test) == [c.name for c in cases]
    other = draw_split(cases, 0.25, 0.1, seed=1)
    assert other != split == draw_split(cases, 0.25, 0.1, seed=0)
    # Another seed, fraction or a new case does not touch a split that is there.
    write_discs(tmp_path, 42)
    again = settings.model_copy(update={"seed": 9, "validation": 0.5})
    assert load_or_draw_split(again, find_cases(again), tmp_path / "split.json") == split
    assert read_split(tmp_path / "split.json") == split


def test_splits_that_cannot_be(tmp_path, assert_sentence):
    cases = find_cases(DataSettings(folder=write_discs(tmp_path, 4), patient=r"(p\d+)_"))
    with pytest.raises(LDSegError) as error:
        draw_split(cases, 0.2, 0.2, 0)
    assert_sentence(error, "2 patients")
    gone = Split(training=("p00_0", "p07_0"), validation=("p01_0",))
    with pytest.raises(LDSegError) as error:
        gone.cases("training", cases)
    assert_sentence(error, "p07_0")
    leaking = Split(training=("p00_0",), validation=("p00_1",))
    with pytest.raises(LDSegError) as error:
        leaking.cases("training", cases)
    assert_sentence(error, "p00", "two parts")
    (tmp_path / "split.json").write_text('{"training": ["a"], "validation": ["a"]}')
    with pytest.raises(LDSegError) as error:
        read_split(tmp_path / "split.json")
    assert_sentence(error, "split.json", "twice")
