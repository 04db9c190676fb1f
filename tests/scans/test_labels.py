"""Label files: whole numbers, and the names that mean labels."""

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.files import read_labels, read_scan
from napari_ldseg.scans.labels import as_labels, named_label

LABEL = np.random.default_rng(0).integers(0, 4, (20, 24)).astype(np.uint8)


@pytest.mark.parametrize(
    "array, dtype",
    [
        (LABEL.astype(np.int32) * 1000, np.int32),
        (LABEL > 0, np.uint8),
        (LABEL * np.float32(0.9999), np.uint8),
        (LABEL * 300.0, np.int16),
        (LABEL * -1.0, np.int16),
        (LABEL * 1e6, np.int32),
    ],
)
def test_nearly_whole_numbers_are_whole(array, dtype):
    labels = as_labels(array, "x")
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels, np.rint(array))


@pytest.mark.parametrize("value", [0.5, 1.01, np.nan, np.inf, 3e9])
def test_other_numbers_are_refused(value, assert_sentence):
    with pytest.raises(LDSegError) as error:
        as_labels(np.array([0.0, 1.0, value]), "case_seg.nii")
    assert_sentence(error, "case_seg.nii")


def test_scaled_and_float_nifti(tmp_path):
    image = nib.Nifti1Image(LABEL[..., None] * 85, np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([1 / 85, 0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    labels = read_labels(tmp_path / "a.nii").array
    assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["l.png", "l.tif", "l.bmp"])
def test_a_palette_or_grey_colours_are_the_numbers_stored(tmp_path, name):
    palette = Image.fromarray(LABEL).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, LABEL)
    palette.putpalette([0, 0, 0, 80, 80, 80, 160, 160, 160, 255, 255, 255])
    palette.save(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, LABEL)
    Image.fromarray(np.stack([LABEL] * 3, -1)).save(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, LABEL)


def test_the_numbers_of_a_label_are_not_inverted(tmp_path):
    """ImageJ shows masks with an inverted table of colours."""
    tifffile.imwrite(tmp_path / "w.tif", LABEL, photometric="miniswhite")
    np.testing.assert_array_equal(read_labels(tmp_path / "w.tif").array, LABEL)
    np.testing.assert_array_equal(read_scan(tmp_path / "w.tif").array, 255 - LABEL)


def test_a_label_in_colour_is_refused(tmp_path, assert_sentence):
    Image.fromarray(np.stack([LABEL, LABEL * 2, LABEL], -1)).save(tmp_path / "l.png")
    with pytest.raises(LDSegError) as error:
        read_labels(tmp_path / "l.png")
    assert_sentence(error, "l.png", "in colour")


@pytest.mark.parametrize(
    "name",
    [
        "case_seg",
        "labels",
        "label2",
        "aseg",
        "aparc+aseg",
        "aparc.a2009s+aseg",
        "lh.cortex.label",
        "sub-01_dseg",
        "p_gt",
        "frame01_gt",
        "x_segmentation",
        "x_annotation",
        "wmparc",
        "brain_mask",
        "labelsTr/case_01",
        "labels/p",
    ],
)
def test_names_that_mean_labels(name):
    assert named_label(f"{name}.nii.gz", name.split("/")[-1], LABEL) is not None


@pytest.mark.parametrize(
    "name",
    [
        "t1",
        "unmasked",
        "brain_masked",
        "sub-01_probseg",
        "sub-01_label-GM_probseg",
        "labels/sub-01_probseg",
        "targets",
        "segmented",
        "imagesTr/case_01",
    ],
)
def test_names_that_do_not(name):
    assert named_label(f"{name}.nii.gz", name.split("/")[-1], LABEL) is None


def test_the_values_must_be_labels_too():
    for array in (LABEL * 0.5, LABEL.astype(np.int16) - 1):
        assert named_label("case_seg.nii", "case_seg", array) is None
    assert named_label("aseg.nii", "aseg", LABEL * 1035.0) is not None
    assert named_label("x_mask.nii", "x_mask", LABEL.astype(int) * 1035) is None
