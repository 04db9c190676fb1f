"""What a training run refuses before it costs time, and what it leaves alone in its folder."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.errors import LDSegError
from napari_ldseg.training.log import COLUMNS, RunLog, read_log
from napari_ldseg.training.loop import train
from napari_ldseg.training.run_folder import TrainingStopped
from napari_ldseg.training.state import load_state

from ..discs import discs, settings, write_discs
from .test_training_run import configuration

pytestmark = pytest.mark.usefixtures("few_steps")
LONG = {
    "grid": {"spacing": [1.0, 1.0, 1.0], "minimum_size": [40, 16, 40]},
    "training": {"updates": 2, "batch_size": 2, "precision": "32-true", "validate_every": 2},
}


def run(path, folder, *more):
    return CliRunner().invoke(app, ["train", str(path), "-o", str(folder), *more])


def last_line(answer):
    return answer.stderr.strip().splitlines()[-1]


def write_rods(folder, lengths):
    """Write volumes that are long from left to right, a rod in each, one of each patient."""
    for i, length in enumerate(lengths):
        label = np.zeros((length, 10, 10), np.uint8)
        label[2:-2, 3:7, 3:7] = 1
        noise = np.random.default_rng(i).integers(0, 40, label.shape)
        for kind, array in (("images", 150 * label + noise), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            image = nib.Nifti1Image(array.astype(np.uint8), np.eye(4))
            nib.save(image, folder / kind / f"p{i:02d}_rod.nii.gz")
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_volumes_are_trained_in_any_orientation(tmp_path):
    path = configuration(write_rods(tmp_path, [40] * 6), orientation="LPS", **LONG)
    answer = run(path, tmp_path / "run")
    assert answer.exit_code == 0, answer.stderr
    seen = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors").metadata.field_of_view
    assert seen.largest == (40, 10, 10), "along the networks' axes: left, posterior, superior"


def test_a_held_out_case_of_another_size_is_named_before_the_training(tmp_path, assert_sentence):
    write_rods(tmp_path, [16, 16, 16, 40])
    names = [f"p{i:02d}_rod" for i in range(4)]
    split = {"training": names[:2], "validation": names[2:3], "test": names[3:]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    path = configuration(tmp_path, data={"folder": ".", "split": "split.json"}, **LONG)
    answer = run(path, tmp_path / "run")
    assert answer.exit_code == 1
    assert_sentence(last_line(answer), "p03_rod", "10 x 10 x 40 mm", "leave it out")
    assert not (tmp_path / "run" / "log.csv").exists()


def test_files_of_the_users_own_are_not_overwritten(tmp_path, assert_sentence):
    path = configuration(write_discs(tmp_path, 12))
    own = path.rename(tmp_path / "config.yaml")
    before = own.read_bytes()
    answer = run(own, tmp_path)
    assert answer.exit_code == 1 and own.read_bytes() == before
    assert_sentence(last_line(answer), "config.yaml of your own")
    assert not (tmp_path / "split.json").exists()

    for name in ("log.csv", "status.json"):
        file = tmp_path / f"with {name}" / name
        file.parent.mkdir()
        file.write_text("my measurements\n")
        answer = run(own, file.parent)
        assert answer.exit_code == 1 and file.read_text() == "my measurements\n"
        assert_sentence(last_line(answer), f"{name} of your own")


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_a_refused_resume_leaves_the_runs_settings(tmp_path, assert_sentence):
    folder = tmp_path / "run"
    assert run(configuration(write_discs(tmp_path, 12)), folder).exit_code == 0
    (folder / "checkpoint.safetensors").unlink()
    before = (folder / "config.yaml").read_bytes()
    answer = run(configuration(tmp_path, {"updates": 13}), folder, "--resume")
    assert answer.exit_code == 1
    assert_sentence(last_line(answer), "other settings", "restore the configuration")
    assert (folder / "config.yaml").read_bytes() == before
    (folder / "config.yaml").rename(tmp_path / "kept.yaml")
    answer = run(tmp_path / "kept.yaml", folder, "--resume")
    assert answer.exit_code == 0, answer.stderr
    assert (folder / "config.yaml").read_bytes() == before


def test_a_run_is_resumed_from_the_checkpoint_that_it_began_with(
    tmp_path, tiny_checkpoint, tiny_metadata, assert_sentence
):
    path = save_checkpoint(tiny_checkpoint(2), tmp_path / "start.safetensors")
    given = settings(updates=6, blend=0.25)
    cases = discs(2, 4)

    def go(start, **more):
        return train(tiny_metadata(2), cases, [], given, start=start, folder=tmp_path, **more)

    seen = []
    with pytest.raises(TrainingStopped):
        go(load_checkpoint(path), on_progress=seen.append, stop=lambda: len(seen) == 2)
    with pytest.raises(LDSegError) as error:
        go(None, resume=True)
    assert_sentence(error, "started from a checkpoint", "--start")
    resumed = go(load_checkpoint(path), resume=True)
    assert resumed.metadata.parent == load_checkpoint(path).sha256


def test_a_damaged_state_is_one_sentence(tmp_path, assert_sentence):
    path = tmp_path / "state.pt"
    torch.save({"fingerprint": "x", "weights": torch.zeros(50)}, path)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(intact)
        for place in rng.integers(0, len(damaged), 8):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_state(path, "x")
        except LDSegError as error:
            assert_sentence(error, "state.pt")


def test_a_log_saved_by_another_program_does_not_stop_a_resume(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("update;total\n1;0.5\n2,x\n")
    RunLog(tmp_path, 2)
    assert read_log(path) == [] or all(row["update"] <= 2 for row in read_log(path))


@pytest.mark.parametrize(
    "text, words",
    [
        ("name: &a x\ndescription: *a\n", "aliases"),
        ("name: 2024-02-30\n", "not valid YAML"),
        ("name: x\ndescription: 0x_\n", "not valid YAML"),
    ],
)
def test_yaml_that_only_looks_harmless(tmp_path, text, words, assert_sentence):
    path = tmp_path / "bad.yaml"
    given = {"data": {"folder": "."}, "classes": ["a", "b"], "grid": {"size": [16, 16]}}
    path.write_text(text + yaml.safe_dump(given))
    answer = run(path, tmp_path / "run")
    assert answer.exit_code == 1
    assert_sentence(last_line(answer), "bad.yaml", words)


def test_too_little_memory_and_a_failing_disk_are_sentences(tmp_path, monkeypatch, assert_sentence):
    path = configuration(write_discs(tmp_path, 12))
    errors = [
        (MemoryError(), "Out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Out of memory"),
        (PermissionError(13, "Permission denied", "/data/labels"), "/data/labels"),
    ]
    for i, (error, words) in enumerate(errors):

        def fail(*arguments, error=error, **more):
            raise error

        monkeypatch.setattr("napari_ldseg.training.run.train", fail)
        answer = run(path, tmp_path / f"run{i}")
        assert answer.exit_code == 1
        assert_sentence(last_line(answer), words)


@pytest.mark.parametrize("line", ["2,0.5", "2,0.5,x,1,1,1,1", "q", "\0"])
def test_rows_without_all_numbers_are_left_out_of_the_plots(tmp_path, line):
    row = ",".join("1" for _ in COLUMNS)
    (tmp_path / "log.csv").write_text(f"{','.join(COLUMNS)}\n{line}\n{row}\n")
    assert [row["update"] for row in read_log(tmp_path / "log.csv")] == [1]


def test_a_log_without_its_columns_is_empty(tmp_path):
    (tmp_path / "log.csv").write_text("update,loss\n1,0.5\n")
    assert read_log(tmp_path / "log.csv") == []
