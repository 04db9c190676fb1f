"""Records of a batch that another program has changed count as none."""

import json

import pytest

from napari_ldseg.batch.results import CaseResults, read_record
from napari_ldseg.batch.table import write_table

RECORD = {
    "status": "finished",
    "image": "/scans/heart.nii.gz",
    "made_with": {"samples": 4},
    "files": {"labels/heart.nii.gz": "1" * 64},
    "expected_error": 0.1,
    "voxels": 120,
    "voxel_size": 1.0,
    "time_points": 1,
    "unit": "mm3",
    "classes": {"heart": {"size": 12.0, "interval": None}},
    "samples": 4,
    "provenance": {"steps": 10, "seed": 0},
    "calibrated": {"intervals": True, "meaning": "95 %"},
}


@pytest.fixture
def results(tmp_path):
    results = CaseResults(tmp_path, "heart")
    results.record_path.parent.mkdir()
    return results


def table_of(results):
    return write_table(results.folder, {"samples": 4}, ["heart"]).read_text().splitlines()


def test_a_complete_record_is_a_row(results):
    results.record_path.write_text(json.dumps(RECORD))
    assert read_record(results.record_path) == RECORD and len(table_of(results)) == 2


@pytest.mark.parametrize(
    "missing", ["files", "unit", "provenance", "calibrated", "voxels", "classes"]
)
@pytest.mark.parametrize("value", ["nothing", None, [], "x", -1.5])
def test_a_damaged_record_is_no_row(results, missing, value):
    record = {**RECORD, missing: value}
    if value == "nothing":
        del record[missing]
    if (missing, value) == ("unit", "x"):
        return  # a text as any other
    results.record_path.write_text(json.dumps(record))
    assert read_record(results.record_path) == {}
    assert not results.finished({"samples": 4}) and len(table_of(results)) == 1


def test_a_failure_without_a_reason_is_none(results):
    (results.folder / "failed").mkdir()
    (results.folder / "failed" / "heart.json").write_text('{"image": "/scans/heart.nii.gz"}')
    assert results.failure("/scans/heart.nii.gz") is None
