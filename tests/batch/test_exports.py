"""``napari-ldseg segment`` with ``--format`` and ``--report``: results beside the NIfTI files."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from skimage.io import imsave
from typer.testing import CliRunner

from napari_ldseg.batch.worklist import read_results
from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.export.report import size_text, unsure_slices
from napari_ldseg.scans.files import read_scan, write_like

from .test_batch import write_volume


@pytest.fixture
def run(tiny_checkpoint, tmp_path):
    models = {}

    def call(image, *more, dims=3):
        if dims not in models:
            file = tmp_path / f"model {dims}.safetensors"
            models[dims] = save_checkpoint(tiny_checkpoint(dims, 3), file)
        arguments = ["segment", str(image), "-o", str(tmp_path / "out"), "-m", str(models[dims])]
        arguments += ["-n", "2", "--accelerator", "cpu", *more]
        return CliRunner().invoke(app, arguments)

    return call


def test_formats_beside_the_nifti_files_are_made_once_and_follow_a_correction(run, tmp_path):
    scan = write_volume(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    first = run(scan)
    assert first.exit_code == 0, first.output
    again = run(scan, "-f", "nrrd", "-f", "mha", "-f", "same", "--report")
    assert again.exit_code == 0 and "1 already there" in again.output, again.output
    label = read_scan(out / "labels" / "scan.nii.gz")
    for name in ("scan.seg.nrrd", "scan.mha"):
        found = sitk.ReadImage(str(out / "labels" / name))
        expected = sitk.ReadImage(str(out / "labels" / "scan.nii.gz"))
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected)
        )
        np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-5)
    assert (out / "sample_sd" / "scan.nrrd").exists() and (
        out / "predictive_sd" / "scan.mha"
    ).exists()
    page = (out / "reports" / "scan.html").read_text(encoding="utf-8")
    assert "For research use only" in page and "changed by a person" not in page
    before = (out / "labels" / "scan.seg.nrrd").stat().st_mtime_ns
    run(scan, "-f", "nrrd")
    assert (out / "labels" / "scan.seg.nrrd").stat().st_mtime_ns == before

    write_like(out / "labels" / "scan.nii.gz", np.zeros_like(label.array), label)
    assert run(scan, "-f", "nrrd", "--report").exit_code == 0
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "labels" / "scan.seg.nrrd")))
    assert not found.any()
    page = (out / "reports" / "scan.html").read_text(encoding="utf-8")
    assert "changed by a person" in page

    (out / "labels" / "scan.seg.nrrd").write_bytes(b"edited in another program")
    write_like(out / "labels" / "scan.nii.gz", label.array, label)
    (out / "labels" / "scan.mha").unlink()
    partly = run(scan, "-f", "nrrd", "-f", "mha")
    assert partly.exit_code == 1
    assert "scan.seg.nrrd was changed after it was written" in partly.output
    assert "0 failed, 1 not in every format" in partly.output
    assert (out / "labels" / "scan.seg.nrrd").read_bytes() == b"edited in another program"
    assert (out / "labels" / "scan.mha").exists()  # one format does not stop the others


def test_a_file_in_the_place_of_one_that_could_not_be_written_is_kept(run, tmp_path, monkeypatch):
    scan, own = write_volume(tmp_path / "scan.nii.gz"), tmp_path / "out" / "labels" / "scan.mha"

    def broken(path, result, name):
        raise RuntimeError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr("napari_ldseg.batch.exports.export_labels", broken)
        partly = run(scan, "-f", "mha")
    assert "labels/scan.mha cannot be written: RuntimeError: no such luck" in partly.output
    assert partly.exit_code == 1 and "1 segmented, 0 already there, 0 failed" in partly.output
    assert (tmp_path / "out" / "sample_sd" / "scan.mha").exists()
    assert read_results(tmp_path / "out").failed == 0
    own.write_bytes(b"mine")
    again = run(scan, "-f", "mha")
    assert again.exit_code == 1 and "labels/scan.mha already exists" in again.output
    assert own.read_bytes() == b"mine"
    own.unlink()
    assert run(scan, "-f", "mha").exit_code == 0 and own.exists()


def test_a_picture_comes_back_as_png_and_one_format_that_does_not_fit_is_reported(run, tmp_path):
    picture = tmp_path / "photo.png"
    imsave(picture, np.random.default_rng(0).integers(0, 255, (33, 21), np.uint8))
    done = run(picture, "-f", "same", dims=2)
    assert done.exit_code == 0, done.output
    label = read_scan(tmp_path / "out" / "labels" / "photo.nii.gz").array
    with Image.open(tmp_path / "out" / "labels" / "photo.png") as image:
        np.testing.assert_array_equal(np.asarray(image), label)
    failed = run(picture, "-f", "dicom-seg", "-f", "tiff", "--report", dims=2)
    table = (tmp_path / "out" / "volumes.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in table] == ["case", "photo"]  # its labels are there
    assert failed.exit_code == 1 and "the image is not from a DICOM series" in failed.output
    assert "was segmented" in failed.output  # and what is possible is there
    assert (tmp_path / "out" / "labels" / "photo.tif").exists()
    assert (tmp_path / "out" / "reports" / "photo.html").exists()
    unknown = run(picture, "-f", "jpeg", dims=2)
    assert unknown.exit_code == 2 and "There is no format jpeg" in unknown.output


def test_the_slices_with_the_largest_error_are_chosen_apart_from_each_other():
    errors = np.zeros(40)
    errors[[10, 11, 12, 30, 2]] = 5, 9, 8, 7, 1
    assert unsure_slices(errors) == [2, 11, 30]
    assert unsure_slices(np.array([1.0])) == [0]
    assert [size_text(12345, "mm3"), size_text(45.6, "mm2"), size_text(1234, "voxels")] == [
        "12.3 mL",
        "45.6 mm²",
        "1,234 voxels",
    ]
