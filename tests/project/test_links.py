"""Links and ``..`` in a project: nothing outside it is read, written or deleted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning.case_snapshot import snapshot_cases
from napari_ldseg.finetuning.config import FineTuningConfig, write_config
from napari_ldseg.finetuning.launch import FineTuningRun, runs, start
from napari_ldseg.finetuning.model_store import ModelStore
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.run_folder import RunFolder, Status

CLASSES = (ClassInfo(name="background", colour="#000000"), ClassInfo(name="a", colour="#ff0000"))


@pytest.fixture
def folder(tmp_path):
    """A closed project with the case ``one``."""
    project = Project(tmp_path / "project", create=True)
    scan = Scan(np.arange(240, dtype=np.int16).reshape(4, 6, 10))
    project.add_case("one", scan, None, CLASSES, Masks.untouched(np.zeros(scan.shape, np.uint8)))
    project.close()
    return tmp_path / "project"


@pytest.fixture
def outside(tmp_path):
    """A folder beside the project that must not change."""
    folder = tmp_path / "outside"
    (folder / ".adding-mine").mkdir(parents=True)
    (folder / ".adding-mine" / "thesis.txt").write_text("ten years")
    (folder / ".journal.00000000.bak").write_text("mine")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["cases", "removed", "project.json"])
def test_a_project_with_a_part_elsewhere_is_refused(folder, outside, name, assert_sentence):
    path = folder / name
    if path.exists():
        path.rename(folder / "away")
    path.symlink_to(outside)
    for open_it in (Project, Project.for_reading):
        with pytest.raises(LDSegError) as error:
            open_it(folder)
        assert_sentence(error, name, "outside")
    path.unlink()
    if (folder / "away").exists():
        (folder / "away").rename(path)
    Project(folder).close()


def test_a_case_elsewhere_is_listed_as_unreadable(folder, tmp_path, outside):
    case = folder / "cases" / "one"
    case.rename(tmp_path / "case")
    (tmp_path / "case" / ".journal.00000000.bak").write_text("mine")
    case.symlink_to(tmp_path / "case")
    before = contents(tmp_path / "case")
    project = Project(folder)
    assert project.records() == {} and "outside" in project.unreadable["one"]
    assert project.unsaved() == []
    with pytest.raises(LDSegError, match="outside"):
        project.case("one")
    project.close()
    assert contents(tmp_path / "case") == before


@pytest.mark.parametrize("name", ["case.json", "label.nii.gz", "reviewed.nii.gz", "journal"])
def test_a_file_of_a_case_elsewhere_is_not_read(folder, tmp_path, outside, name, assert_sentence):
    path, away = folder / "cases" / "one" / name, tmp_path / "away"
    if path.exists():
        path.rename(away)
    else:
        shutil.copy(folder / "cases" / "one" / "label.nii.gz", away)
    path.symlink_to(away)
    before = away.read_bytes()
    project = Project(folder)
    with pytest.raises(LDSegError) as error:
        project.case("one").load()
    assert_sentence(error, name, "outside")
    if name == "journal":
        with pytest.raises(LDSegError):
            project.case("one").begin_journal((4, 6, 10))
        assert project.unsaved() == []
    project.close()
    assert away.read_bytes() == before


@pytest.mark.parametrize("name", ["../../evil", "{outside}/../evil", "../models", "..", ""])
def test_case_names_of_a_run_stay_inside(folder, outside, name):
    shutil.copytree(folder / "cases" / "one", outside.parent / "evil")
    with pytest.raises(LDSegError):
        name = name.format(outside=outside)
        snapshot_cases(folder, [name], folder / "training" / "run" / "snapshot")
    assert not (folder / "training" / "run" / "snapshot").exists()


def config_for(folder, **changes):
    known = {"project": folder, "base": None, "name": "m", "classes": CLASSES, "cases": ("one",)}
    return FineTuningConfig(**known | changes)


@pytest.fixture
def run(folder):
    path = folder / "training" / "run"
    path.mkdir(parents=True)
    write_config(path, config_for(folder))
    RunFolder(path).write_status(Status(phase="stopped"))
    return FineTuningRun(path)


def test_a_checkpoint_of_a_status_stays_among_the_models(folder, run):
    run.write_status(Status(phase="finished", checkpoint=Path("/elsewhere/m.safetensors")))
    assert run.status().checkpoint == folder / "models" / "m.safetensors"
    run.write_status(Status(phase="finished", checkpoint=Path("/elsewhere/..")))
    with pytest.raises(LDSegError, match="outside"):
        run.status()
    assert runs(folder) == []


def test_a_base_that_climbs_out_of_the_project_is_refused(folder, run):
    write_config(run.folder, config_for(folder, base=folder / "models" / ".." / ".." / "x"))
    assert runs(folder) == []


@pytest.mark.parametrize("name", ["process.log", "log.csv", "stop", "snapshot/cases/x.txt"])
def test_a_run_with_a_link_out_is_not_resumed(run, outside, name, monkeypatch):
    monkeypatch.setattr("napari_ldseg.finetuning.launch._spawn", lambda folder: pytest.fail())
    (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (run.folder / name).symlink_to(outside / "new")
    with pytest.raises(LDSegError, match="outside"):
        run.resume()
    if name == "stop":
        with pytest.raises(LDSegError, match="outside"):
            run.stop()


@pytest.mark.parametrize("name", ["training", "models"])
def test_runs_and_models_elsewhere_are_refused(folder, run, outside, name, monkeypatch):
    monkeypatch.setattr("napari_ldseg.finetuning.launch._spawn", lambda folder: pytest.fail())
    if name == "training":
        (folder / name).rename(folder.parent / "training")
        (folder / name).symlink_to(folder.parent / "training")
        assert runs(folder) == []
    else:
        (folder / name).symlink_to(outside)
    with pytest.raises(LDSegError, match="outside"):
        start(config_for(folder))
    assert name == "training" or len(runs(folder)) == 1


def test_an_adopted_model_stays_inside(folder):
    (folder / "models").mkdir()
    decision = {"model": "../m.safetensors", "sha256": "0" * 64, "used": True, "when": "now"}
    content = json.dumps({"decisions": [decision]})
    (folder / "models" / "adopted.json").write_text(content, encoding="utf-8")
    with pytest.raises(LDSegError, match="outside"):
        _ = ModelStore(folder).adopted
