"""What may not be committed, in a real repository."""

import subprocess
import sys

import check_commit
import pytest
from check_commit import main

WEIGHTS = "napari_ldseg/checkpoints/glas.safetensors"


def refused(repository, capsys, *names):
    """Return the lines printed about ``names`` (all tracked files without), and check the exit status."""
    status = main(list(names), repository.folder)
    lines = capsys.readouterr().err.splitlines()
    assert status == (1 if lines else 0)
    return lines


@pytest.mark.parametrize(
    "name",
    [
        "scan.nii",
        "scan.nii.gz",
        "SCAN.NII.GZ",
        "docs/a.dcm",
        "napari_ldseg/a.nrrd",
        "benchmarks/a.mha",
        "a.npz",
        "a.h5",
        "a.hdf5",
        "slide.svs",
        "docs/cells.tiff",
        "patients.zip",
        "my_tests/scan.nii",
        "napari_ldseg/sample_data/a.nii.gz",
        "model.safetensors",
        "model.pt",
        "tests/model.ckpt",
        "tests/weights.hdf5",
        "sample_data/model.safetensors",
        "napari_ldseg/checkpoints/model.pt",
        "napari_ldseg/checkpoints/old/model.safetensors",
    ],
)
def test_data_and_weights_are_refused(repository, capsys, name):
    repository.put(name)
    (line,) = refused(repository, capsys, name)
    assert line.startswith(f"{name}: ") and line.endswith(".")


@pytest.mark.parametrize(
    "name",
    [
        "a.py",
        "docs/picture.png",
        "sample_data/echo.nii.gz",
        "tests/scans/tiny.dcm",
        "tests/a.npz",
        WEIGHTS,
        "models/camus.yaml",
        "nii",
    ],
)
def test_the_rest_may_be_committed(repository, capsys, name):
    repository.put(name)
    assert refused(repository, capsys, name) == []


def test_dicom_without_a_suffix_is_refused(repository, capsys):
    dicom = bytes(128) + b"DICM" + bytes(20)
    repository.put("export/IM000001", dicom)
    repository.put("tests/IM000001", dicom)
    (line,) = refused(repository, capsys, "export/IM000001", "tests/IM000001")
    assert line.startswith("export/IM000001: looks like image data")


@pytest.mark.parametrize(
    "name, limit", [("docs/a.png", 1_000_000), ("tests/a.nii", 1_000_000), (WEIGHTS, 10_000_000)]
)
def test_big_files_are_refused(repository, capsys, name, limit):
    repository.put(name, bytes(limit))
    assert refused(repository, capsys, name) == []
    repository.put(name, bytes(limit + 1))
    (line,) = refused(repository, capsys, name)
    assert f"larger than {limit // 1_000_000} MB" in line


def test_without_names_all_tracked_files_are_checked(repository, capsys):
    repository.put("umlaut ä.nii")
    repository.put("untracked.nii")
    repository.put("a.py")
    repository.commit("umlaut ä.nii", "a.py")
    (line,) = refused(repository, capsys)
    assert line.startswith("umlaut ä.nii: ")


def test_a_link_is_judged_by_its_own_name(repository, capsys):
    (repository.folder / "link").symlink_to("nowhere")
    assert refused(repository, capsys, "link") == []


def test_a_checkpoint_changes_once_per_release(repository, capsys):
    repository.put(WEIGHTS, b"one")
    repository.git("add", WEIGHTS)
    assert refused(repository, capsys, WEIGHTS) == []
    repository.commit(WEIGHTS)
    assert refused(repository, capsys, WEIGHTS) == []
    repository.put(WEIGHTS, b"two")
    repository.git("add", WEIGHTS)
    (line,) = refused(repository, capsys, WEIGHTS)
    assert "already changed before the first release" in line
    repository.git("reset", "-q", "--hard")
    repository.release("v0.1.0")
    repository.put(WEIGHTS, b"two")
    repository.git("add", WEIGHTS)
    assert refused(repository, capsys, WEIGHTS) == []
    repository.commit(WEIGHTS)
    repository.git("tag", "not-a-version")
    repository.put(WEIGHTS, b"one")
    repository.git("add", WEIGHTS)
    (line,) = refused(repository, capsys, WEIGHTS)
    assert "already changed since v0.1.0" in line


def test_a_change_that_was_taken_back_counts(repository):
    repository.put(WEIGHTS, b"one")
    repository.commit(WEIGHTS)
    repository.release("v0.1.0")
    for content in (b"two", b"one"):
        repository.put(WEIGHTS, content)
        repository.commit(WEIGHTS)
    assert "since v0.1.0" in check_commit.already_changed(repository.folder, WEIGHTS)


def test_this_repository_passes():
    if not (check_commit.ROOT / ".git").exists():
        pytest.skip("not under git")
    answer = subprocess.run(
        [sys.executable, check_commit.__file__],
        capture_output=True,
        text=True,
        cwd=check_commit.ROOT,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
