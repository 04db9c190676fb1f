"""Fine-tuning a project's corrected cases: the real process on real folders, with tiny networks."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.errors import LDSegError
from napari_ldseg.finetuning.comparison import CaseChange, Comparison, read_comparison
from napari_ldseg.finetuning.frozen import freeze, frozen_cases
from napari_ldseg.finetuning.launch import Run, active, runs, start
from napari_ldseg.finetuning.plan import candidates, free_name
from napari_ldseg.finetuning.request import Request
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project

from .discs import disc

DISC = (ClassInfo(name="background", colour="#000000"), ClassInfo(name="disc", colour="#ff0000"))


@pytest.fixture
def project(tmp_path):
    """A project of ten reviewed discs of ten patients."""
    made = Project(tmp_path / "project", create=True)
    for i in range(10):
        scan, label = disc(2, i)
        whole = Masks(label, np.zeros(label.shape, bool), np.ones(label.shape, bool))
        made.add_case(f"patient{i:02d}", scan, None, DISC, whole)
    made.close()
    return made


def renamed(checkpoint, classes):
    return replace(checkpoint, metadata=checkpoint.metadata.model_copy(update={"classes": classes}))


@pytest.fixture
def disc_base(tiny_checkpoint, tmp_path):
    """Untrained networks that know the project's classes."""
    return save_checkpoint(renamed(tiny_checkpoint(), DISC), tmp_path / "tiny.safetensors")


def request_for(project, base, **changes):
    fields = {
        "project": project.folder,
        "base": base,
        "name": "tiny-2",
        "classes": DISC,
        "cases": tuple(sorted(project.records())),
        "device": "cpu",
        "updates": 6,
    }
    return Request(**fields | changes)


def wait(run, *phases, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = run.status()
        if status.phase in phases:
            return status
        assert not status.ended or status.phase in phases, status
        time.sleep(0.05)
    raise AssertionError(f"still {run.status()}")


def test_a_run_makes_a_new_model_beside_the_old(project, disc_base):
    before = disc_base.read_bytes()
    run = start(request_for(project, disc_base))
    status = wait(run, "finished")
    assert disc_base.read_bytes() == before
    assert status.checkpoint == project.folder / "models" / "tiny-2.safetensors"
    made, old = load_checkpoint(status.checkpoint), load_checkpoint(disc_base)
    assert made.metadata.parent == old.sha256
    assert made.metadata.training.parent_name == old.metadata.name
    assert made.metadata.calibration is None and made.metadata.training.trained
    aside = {name for name, r in project.records().items() if r.split == "validation"}
    assert aside and set(made.metadata.training.cases) == set(project.records()) - aside
    found = read_comparison(run.folder / "comparison.json")
    assert {change.case for change in found.changes} == aside
    assert all(len(change.before) == len(change.after) == 1 for change in found.changes)
    for name in ("curves.png", "preview.png", "comparison.png"):
        assert (run.folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert active(project.folder) is None
    assert free_name(project.folder, "tiny") == "tiny-3"
