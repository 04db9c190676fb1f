"""A record that another program has changed is no record."""

import json

import pytest

from napari_ldseg.batch.results import CaseResults, known_names, was_made_with

BROKEN = ["[" * 100_000, "[]", "1", '"x"', "{", "\xff"]
WRONG = [
    {"files": []},
    {"files": {"labels/a.nii.gz": 1}},
    {"replaced": 3},
    {"made_with": []},
    {"classes": [1]},
    {"classes": {"a": 1}},
    {"image": 1},
]


@pytest.mark.parametrize("text", [*BROKEN, *map(json.dumps, WRONG)], ids=range(len(BROKEN + WRONG)))
def test_what_is_no_record_is_left_out(tmp_path, text):
    results = CaseResults(tmp_path, "a")
    results.record_path.parent.mkdir()
    results.record_path.write_text(text, encoding="latin-1")
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "a.json").write_text(text, encoding="latin-1")
    assert known_names(tmp_path) == {}
    assert not results.finished({}) and not results.corrected(["a"])
    assert not was_made_with(results.record(), {"n": 1})
    assert results.failure("a.png") is None
    assert results.corrected_sizes() == {}


def test_a_record_keeps_what_this_version_does_not_know(tmp_path):
    results = CaseResults(tmp_path, "a")
    results.record_path.parent.mkdir()
    record = {
        "status": "finished",
        "image": "a.png",
        "made_with": {},
        "files": {},
        "classes": {"b": {"size": 2.5, "later": [1]}},
        "unit": "mm3",
        "samples": 1,
        "provenance": {"steps": 2, "seed": 0},
        "calibrated": {"intervals": False, "meaning": ""},
        "new": {"x": None},
    }
    results.record_path.write_text(json.dumps(record), encoding="utf-8")
    assert results.record() == record
