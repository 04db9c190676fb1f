"""NIfTI headers that another program left half empty, and files under the wrong name."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_ldseg.errors import LDSegError
from napari_ldseg.scans.files import read_scan, write_like
from napari_ldseg.scans.scan import Scan

DATA = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
AFFINE = np.diag([-0.8, -0.8, 2.0, 1.0])


def write(path, **fields):
    """Write a file with both forms, then put ``fields`` into its header as they are."""
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_qform(AFFINE, 1)
    image.to_filename(path)
    raw = path.read_bytes()
    header = np.frombuffer(raw[:348], nib.Nifti1Header.template_dtype).copy()
    for field, value in fields.items():
        header[field] = value
    path.write_bytes(header.tobytes() + raw[348:])
    return path


EMPTY = {"srow_x": 0, "srow_y": 0, "srow_z": 0}


def test_an_empty_sform_is_none(tmp_path):
    path = write(tmp_path / "scan.nii", sform_code=1, **EMPTY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = read_scan(path)
    np.testing.assert_allclose(scan.spacing, (2.0, 0.8, 0.8), rtol=1e-6)
    assert scan.calibrated
    again = nib.load(write_like(tmp_path / "out.nii", scan.array, scan))
    np.testing.assert_allclose(again.affine, AFFINE, rtol=1e-6)


def test_without_forms_the_voxel_size_counts_and_a_warning_tells(tmp_path):
    path = write(tmp_path / "scan.nii", sform_code=1, qform_code=0, **EMPTY)
    with pytest.warns(UserWarning, match=r"scan\.nii does not give its orientation"):
        scan = read_scan(path)
    np.testing.assert_allclose(scan.spacing, (2.0, 0.8, 0.8), rtol=1e-6)


def test_without_a_voxel_size_the_voxels_are_pixels(tmp_path):
    path = write(tmp_path / "scan.nii", sform_code=0, pixdim=[1, 0.8, 0.8, 0, 0, 0, 0, 0])
    with pytest.warns(UserWarning, match=r"scan\.nii does not give its voxel size \(pixdim\[3\]"):
        scan = read_scan(path)
    assert not scan.calibrated
    # A result on it is in pixels as well.
    label = read_scan(write_like(tmp_path / "out.nii", scan.array > 9, scan))
    assert not label.calibrated and label.shape == scan.shape


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"sform_code": 1, "srow_y": [1000, 0, 0, 0], "srow_x": [1, 0, 0, 0]}, ("sform_code", "srow")),
        ({"sform_code": 0, "quatern_b": 5}, ("qform_code", "quatern_b")),
        ({"sform_code": 0, "qform_code": 0, "pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]}, ("pixdim",)),
        ({"scl_slope": 1, "scl_inter": np.nan}, ("scl_inter",)),
    ],
)  # fmt: skip
def test_what_cannot_be_guessed_is_named(tmp_path, fields, words, assert_sentence):
    with pytest.raises(LDSegError) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_scan(write(tmp_path / "scan.nii", **fields))
    assert_sentence(error, "scan.nii", *words)


def test_voxels_begin_after_the_header_where_no_place_is_given(tmp_path):
    scan = read_scan(write(tmp_path / "scan.nii", vox_offset=0))
    np.testing.assert_array_equal(np.sort(scan.array, axis=None), DATA.ravel())


def test_a_wrong_suffix_is_named_with_the_right_one(tmp_path, assert_sentence):
    nifti = write(tmp_path / "scan.nii").read_bytes()
    Image.fromarray(np.arange(99, dtype=np.uint8).reshape(9, 11)).save(tmp_path / "right.png")
    Image.open(tmp_path / "right.png").save(tmp_path / "right.jpg")
    png, jpeg = ((tmp_path / f"right{s}").read_bytes() for s in (".png", ".jpg"))
    for name, content, words in [
        ("a.nii", gzip.compress(nifti), "rename it to a.nii.gz"),
        ("a.nii.gz", nifti, "rename it to a.nii."),
        ("a.tif", png, "rename it to a.png"),
        ("a.png", jpeg, "rename it to a.jpg"),
        ("a", png, "rename it to a.png"),
        ("a.dat", nifti, "rename it to a.dat.nii"),
        ("b.nii", bytes(128) + b"DICM" + bytes(300), "DICOM"),
        ("b", bytes(128) + b"DICM" + bytes(300), "DICOM"),
        ("c.nii", b"NRRD0004\n", "NRRD"),
        ("d.png", b"GIF89a" + bytes(99), "GIF"),
        ("e.png", b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        ("f.png", gzip.compress(png), "decompress"),
        ("g.png", b"PK\x03\x04" + bytes(99), "ZIP"),
        ("h.txt", b"hello " * 99, "must end in"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LDSegError) as error:
            read_scan(tmp_path / name)
        assert_sentence(error, name, words)


def test_numbers_beyond_computing_are_refused_without_a_warning(tmp_path, assert_sentence):
    path = write(tmp_path / "scan.nii", datatype=64, bitpix=64, scl_slope=3e38, scl_inter=3e38)
    path.write_bytes(path.read_bytes()[:352] + np.full(120, 1e300).tobytes())
    with pytest.raises(LDSegError) as error, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_scan(path)
    assert_sentence(error, "scan.nii", "header")


def test_not_a_number_is_a_value_of_a_scaled_image(tmp_path):
    path = write(tmp_path / "scan.nii", datatype=64, bitpix=64, scl_slope=2, scl_inter=1)
    path.write_bytes(path.read_bytes()[:352] + np.array([np.nan, np.inf] * 60).tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(read_scan(path).array).sum() == 60


def test_an_affine_too_large_for_the_format_is_refused(tmp_path, assert_sentence):
    scan = Scan(np.zeros((4, 5, 6), np.uint8), np.diag([1.0, 1e39, 1.0, 1.0]))
    with warnings.catch_warnings(), pytest.raises(LDSegError) as error:
        warnings.simplefilter("error")
        write_like(tmp_path / "labels.nii.gz", scan.array, scan)
    assert_sentence(error, "labels.nii.gz", "affine")
    assert not list(tmp_path.iterdir())


def test_what_was_written_into_an_image_is_not_in_its_result(tmp_path):
    path = write(
        tmp_path / "scan.nii",
        descrip=b"ZZTOP",
        aux_file=b"ZZTOP",
        intent_name=b"ZZTOP",
        db_name=b"Z",
    )
    image = nib.load(path)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"ZZTOP"))
    nib.save(image, path)
    scan = read_scan(path)
    result = write_like(tmp_path / "label.nii", np.zeros(scan.shape, np.uint8), scan)
    assert b"ZZTOP" in path.read_bytes() and b"Z" not in result.read_bytes()
    np.testing.assert_array_equal(nib.load(result).affine, image.affine)
