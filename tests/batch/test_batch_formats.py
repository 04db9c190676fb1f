"""napari-ldseg segment on clinical files: each series a case, found again, and shown in the worklist."""

import csv
import json
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from napari_ldseg.batch.inputs import find_images
from napari_ldseg.batch.worklist import load_result, read_results
from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.scans.dicom.archive import remove_unpacked
from napari_ldseg.scans.files import image_hash, read_like, read_scan

from ..dicom_files import PATIENT, oblique, save_series, slices, volume
from ..zarr_files import ome_zarr

SHAPE = (6, 20, 22)


@pytest.fixture
def scans(tmp_path):
    """A folder with a study of two series in sub-folders, a MetaImage, an NRRD and an OME-Zarr image."""
    folder = tmp_path / "scans"
    chest = slices(volume(SHAPE), oblique(), SeriesDescription=f"Thorax {PATIENT}")
    save_series(folder / "study" / "1", chest)
    abdomen = slices(volume(SHAPE, seed=1), SeriesDescription="Abdomen", SeriesNumber=4)
    save_series(folder / "study" / "2", abdomen, [f"I{i}" for i in range(6)])
    made = sitk.GetImageFromArray(volume(SHAPE, np.int16))
    sitk.WriteImage(made, str(folder / "meta.mha"))
    sitk.WriteImage(made, str(folder / "raw.nrrd"))
    ome_zarr(folder / "cells.ome.zarr", volume(SHAPE), "zyx", (2.0, 0.5, 0.5))
    return folder


def test_every_series_and_file_of_a_folder_is_a_case(scans, tmp_path, tiny_checkpoint):
    model = save_checkpoint(tiny_checkpoint(3), tmp_path / "model.safetensors")
    out = tmp_path / "out"
    arguments = ["segment", str(scans), "-o", str(out), "--model", str(model), "-n", "2"]

    def run():
        return CliRunner().invoke(app, [*arguments, "--accelerator", "cpu"])

    result = run()
    assert result.exit_code == 0 and "5 segmented" in result.stdout, result.stderr
    names = ["cells", "meta", "raw", "scans_3", "scans_4_Abdomen"]
    with (out / "volumes.csv").open(newline="") as file:
        assert sorted(row["case"] for row in csv.DictReader(file)) == names
    shown = result.stdout + result.stderr + " ".join(path.name for path in out.rglob("*"))
    records = " ".join(path.read_text() for path in (out / "records").iterdir())
    for word in (*PATIENT.split("^"), "PID4711"):
        assert word.casefold() not in (shown + records).casefold()
    scan = read_scan(scans / "study" / "1")
    label = read_like(out / "labels" / "scans_3.nii.gz", scan)
    record = json.loads((out / "records" / "scans_3.json").read_text())
    assert record["made_with"]["image_file_sha256"] == image_hash(scans / "study" / "1")
    assert "0 segmented, 5 already" in run().stdout
    # The worklist opens the whole series again, until a slice of it changes.
    results = {one.name: one for one in read_results(out).cases}
    content = load_result(out, results["scans_3"])
    np.testing.assert_array_equal(content.image.array, scan.array)
    np.testing.assert_array_equal(content.label, label)
    slice_ = scan.source.files[2]
    slice_.write_bytes(slice_.read_bytes()[:-2] + b"\1\1")
    assert "1 segmented, 4 already" in run().stdout


def test_every_series_of_an_archive_is_a_case_and_found_again(scans, tmp_path, tiny_checkpoint):
    model = save_checkpoint(tiny_checkpoint(3), tmp_path / "model.safetensors")
    archive, out = tmp_path / "study.zip", tmp_path / "out"
    with zipfile.ZipFile(archive, "w") as file:
        for i, path in enumerate(sorted((scans / "study").rglob("*"))):
            if path.is_file():
                file.write(path, f"a/{i}")
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 damaged")
    arguments = ["segment", str(archive), str(tmp_path / "bad.zip"), "-o", str(out)]
    arguments += ["--model", str(model), "-n", "1", "--accelerator", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert "2 segmented" in result.stdout and "bad.zip cannot be unpacked" in result.stderr
    assert not (out / "sample_sd").exists()  # one sample has none
    remove_unpacked()
    assert "0 segmented, 2 already" in CliRunner().invoke(app, arguments).stdout
    results = {one.name: one for one in read_results(out).cases}
    assert sorted(results) == ["study_3", "study_4_Abdomen"]
    content = load_result(out, results["study_4_Abdomen"])
    folder = scans / "study" / "2"
    np.testing.assert_array_equal(content.image.array, read_scan(folder).array)
    assert image_hash(archive / "study_4_Abdomen") == image_hash(folder)


def test_slices_of_one_series_are_one_image(scans, tmp_path):
    found = find_images([str(scans / "study" / "2" / "I*")], tmp_path / "out")
    assert [(one.name, len(one.paths)) for one in found] == [("2", 1)]
    one = find_images([str(scans / "study" / "2" / "I3")], tmp_path / "out")
    assert one == found == find_images([str(scans / "study" / "2")], tmp_path / "out")
