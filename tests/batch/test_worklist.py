"""The entries of a worklist: read from a results folder, with the status of the project's cases."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_ldseg.batch.results import CaseResults
from napari_ldseg.batch.worklist import (
    CORRECTED,
    REVIEWED,
    SIGNED_OFF,
    TO_DO,
    Entry,
    entries_of_project,
    entries_of_results,
    load_preview,
    load_result,
    next_to_do,
    read_results,
)
from napari_ldseg.errors import LDSegError
from napari_ldseg.project.case import Masks, now
from napari_ldseg.project.schema import SignOff
from napari_ldseg.scans.files import read_scan
from napari_ldseg.utils.colours import class_colour

from .test_batch import write_volume


@pytest.fixture
def images(tmp_path):
    return [write_volume(tmp_path / "scans" / f"scan{i}.nii.gz", i) for i in range(3)]


@pytest.fixture
def folder(results_folder, images):
    return results_folder(images)


def change_record(folder, name, change):
    path = CaseResults(folder, name).record_path
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def add(project, result, classes, **changes):
    """Add the project's case of a result, with ``changes`` of its record."""
    scan = read_scan(result.images[0])
    label = np.zeros(scan.shape, np.uint8)
    case = project.add_case(result.name, scan, result.images[0], classes, Masks.untouched(label))
    case.change(**changes)
    return case


def names(entries):
    return [entry.name for entry in entries]


def test_results_have_their_classes_colours_and_expected_errors(folder, images):
    results = read_results(folder)
    assert [case.name for case in results.cases] == ["scan0", "scan1", "scan2"]
    assert results.failed == 0 and not any(case.corrected for case in results.cases)
    for case, image in zip(results.cases, images, strict=True):
        record = CaseResults(folder, case.name).record()
        assert case.expected_error == record["expected_error"] and 0 < case.expected_error < 1
        assert case.images[0] == image and case.images[1].resolve() == image
        assert {v: c.name for v, c in case.classes.items()} == {
            0: "class 0",
            1: "class 1",
            2: "class 2",
        }
        assert case.classes[2].colour == class_colour(2)
        assert record["label_values"]["2"] == case.classes[2].model_dump(mode="json")
    errors = [entry.expected_error for entry in entries_of_results(results.cases, {})]
    assert errors == sorted(errors, reverse=True)


def test_own_colours_are_kept_and_an_older_record_gets_the_palette(folder):
    change_record(folder, "scan0", lambda r: r["label_values"]["1"].update(colour="#123456"))
    change_record(folder, "scan1", lambda r: r.pop("label_values"))
    change_record(folder, "scan2", lambda r: r.update(label_values={"x": 3}))
    own, older, broken = read_results(folder).cases
    assert own.classes[1].colour == "#123456"
    for case in (older, broken):
        assert {v: (c.name, c.colour) for v, c in case.classes.items() if v} == {
            v: (f"class {v}", class_colour(v)) for v in (1, 2)
        }


def test_a_case_is_loaded_exactly_on_the_grid_of_its_oblique_image(folder, images):
    case = read_results(folder).cases[1]
    content = load_result(folder, case)
    image = read_scan(images[1])
    np.testing.assert_array_equal(content.image.array, image.array)
    np.testing.assert_array_equal(content.image.affine, image.affine)
    label = nib.load(folder / "labels" / "scan1.nii.gz")
    np.testing.assert_allclose(label.affine, nib.load(images[1]).affine)
    expected = read_scan(folder / "labels" / "scan1.nii.gz").array
    np.testing.assert_array_equal(content.label, expected)
    assert content.label.dtype.kind in "iu" and content.label.any()
    assert set(content.maps) == {"sample_sd", "predictive_sd"}
    assert all(sd.shape == content.label.shape for sd in content.maps.values())
    assert content.runs[0]["provenance"]["seed"] == 0
    shown, label = load_preview(folder, case)
    assert shown.shape == label.shape


def test_the_status_is_that_of_the_projects_case_of_the_same_image(folder, project):
    results = read_results(folder)
    classes = list(results.cases[0].classes.values())
    assert {e.status for e in entries_of_results(results.cases, project.records())} == {TO_DO}
    full = int(np.prod(read_scan(results.cases[0].images[0]).shape))
    signed = SignOff(who="Ada", when=now(), verdict="edited")
    for case, changes in zip(
        results.cases,
        (
            {"edited_voxels": 3},
            {"reviewed_voxels": full},
            {"edited_voxels": 3, "reviewed_voxels": full, "sign_off": signed},
        ),
        strict=True,
    ):
        add(project, case, classes, **changes)
    status = {e.name: e.status for e in entries_of_results(results.cases, project.records())}
    assert status == {"scan0": CORRECTED, "scan1": REVIEWED, "scan2": SIGNED_OFF}
    own = {e.name: e.status for e in entries_of_project(project.records())}
    assert own == status


def test_a_case_of_other_classes_or_of_another_image_is_not_that_of_a_result(folder, project):
    results = read_results(folder)
    tumour = [c.model_copy(update={"name": f"tumour {i}"}) for i, c in enumerate(_classes(results))]
    add(project, results.cases[0], tumour, edited_voxels=3)
    case = add(project, results.cases[1], _classes(results), edited_voxels=3)
    image = case.record().image
    case.change(image=image.model_copy(update={"sha256": "0" * 64}))
    assert {e.status for e in entries_of_results(results.cases, project.records())} == {TO_DO}
    # Without a hash the path decides.
    for name in ("scan0", "scan1", "scan2"):
        change_record(folder, name, lambda r: r["made_with"].pop("image_file_sha256"))
    entries = entries_of_results(read_results(folder).cases, project.records())
    assert {e.name: e.status for e in entries}["scan1"] == CORRECTED


def test_the_newest_of_several_cases_of_one_image_counts(folder, project):
    results = read_results(folder)
    for edited, changed in ((3, "2026-01-02"), (0, "2026-01-01")):
        case = add(project, results.cases[0], _classes(results), edited_voxels=edited)
        path = case.file("case.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "changed": changed}))
    entries = {e.name: e for e in entries_of_results(results.cases, project.records())}
    assert (entries["scan0"].case, entries["scan0"].status) == ("scan0", CORRECTED)


def test_a_label_corrected_in_the_folder_is_corrected(folder):
    path = folder / "labels" / "scan0.nii.gz"
    time.sleep(0.02)
    image = nib.load(path)
    data = np.asarray(image.dataobj).copy()
    data[:2] = 1
    nib.save(nib.Nifti1Image(data, image.affine, image.header), path)
    os.utime(folder / "labels" / "scan1.nii.gz")  # copied, but not changed
    status = {e.name: e.status for e in entries_of_results(read_results(folder).cases, {})}
    assert status == {"scan0": CORRECTED, "scan1": TO_DO, "scan2": TO_DO}


def test_an_image_is_found_where_it_was_moved_together_with_the_results(folder, tmp_path, images):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "scans", moved / "scans")
    shutil.move(folder, moved / "results")
    case = read_results(moved / "results").cases[0]
    content = load_result(moved / "results", case)
    assert content.file.resolve() == moved / "scans" / "scan0.nii.gz"


def test_a_missing_or_changed_image_is_refused_with_one_sentence(folder, images, assert_sentence):
    missing, changed, without_label = read_results(folder).cases
    images[0].unlink()
    write_volume(images[1], seed=9)
    (folder / "labels" / "scan2.nii.gz").unlink()
    with pytest.raises(LDSegError) as error:
        load_result(folder, missing)
    assert_sentence(error, str(images[0]), "no longer")
    with pytest.raises(LDSegError) as error:
        load_result(folder, changed)
    assert_sentence(error, str(images[1]), "changed")
    with pytest.raises(LDSegError) as error:
        load_result(folder, without_label)
    assert_sentence(error, "labels/scan2.nii.gz", "missing")


def test_folders_that_are_no_results_are_refused_with_one_sentence(
    folder, tmp_path, assert_sentence
):
    (tmp_path / "empty" / "records").mkdir(parents=True)
    file = tmp_path / "file"
    file.write_text("")
    for wrong, word in (
        (tmp_path / "gone", "not there"),
        (file, "not there"),
        (tmp_path / "scans", "--output"),
        (tmp_path / "empty", "no finished case"),
    ):
        with pytest.raises(LDSegError) as error:
            read_results(wrong)
        assert_sentence(error, str(wrong), word)
    assert read_results(folder / "labels") == read_results(folder)


def test_unfinished_and_broken_records_are_left_out_and_failures_counted(folder):
    change_record(folder, "scan0", lambda r: r.update(status="started"))
    CaseResults(folder, "scan1").record_path.write_text("{nonsense")
    change_record(folder, "scan2", lambda r: r.update(expected_error=float("nan")))
    CaseResults(folder, "scan9").write_failure(Path("scan9.nii.gz"), "It failed.")
    results = read_results(folder)
    assert [case.name for case in results.cases] == ["scan2"] and results.failed == 1
    assert results.cases[0].expected_error is None


@pytest.mark.parametrize("kind", ["records", "labels", "sample_sd"])
def test_no_link_leads_out_of_the_folder(folder, tmp_path, kind, assert_sentence):
    name = "scan0.json" if kind == "records" else "scan0.nii.gz"
    path = folder / kind / name
    outside = shutil.move(path, tmp_path / name)
    path.symlink_to(outside)
    with pytest.raises(LDSegError) as error:
        load_result(folder, read_results(folder).cases[0])
    assert_sentence(error, "leads outside")


def test_the_next_to_do_comes_after_the_open_one_and_then_from_the_start():
    entries = [
        Entry(name, None, status, None)
        for name, status in (("a", TO_DO), ("b", CORRECTED), ("c", TO_DO), ("d", SIGNED_OFF))
    ]
    assert next_to_do(entries).name == "a"
    assert next_to_do(entries, "a").name == "c"
    assert next_to_do(entries, "c").name == next_to_do(entries, "d").name == "a"
    assert next_to_do(entries[2:], "c") is None and next_to_do([]) is None


def test_the_highest_expected_error_goes_first_and_an_unknown_one_last(folder):
    change_record(folder, "scan0", lambda r: r.update(expected_error=0.2))
    change_record(folder, "scan1", lambda r: r.update(expected_error=None))
    change_record(folder, "scan2", lambda r: r.update(expected_error=0.7))
    assert names(entries_of_results(read_results(folder).cases, {})) == ["scan2", "scan0", "scan1"]


@pytest.mark.slow
def test_three_hundred_records_are_read_within_a_second_and_without_torch(folder):
    for i in range(300):
        for kind, suffix in (("records", "json"), ("labels", "nii.gz")):
            shutil.copy(folder / kind / f"scan0.{suffix}", folder / kind / f"case{i}.{suffix}")
    code = (
        "import sys, time; from pathlib import Path\n"
        "from napari_ldseg.batch.worklist import read_results\n"
        "start = time.process_time(); results = read_results(Path(sys.argv[1]))\n"
        "assert len(results.cases) == 303 and 'torch' not in sys.modules\n"
        "print(time.process_time() - start)"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1


def _classes(results):
    return list(results.cases[0].classes.values())
