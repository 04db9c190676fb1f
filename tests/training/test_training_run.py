"""A run from a configuration: its folder, kill and resume, two processes, and faults."""

import json
import resource
import signal
import time

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import napari_ldseg.training.measure
from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.cli import app
from napari_ldseg.errors import LDSegError
from napari_ldseg.evaluation.overlap import metrics
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.config import read_config
from napari_ldseg.training.log import read_log
from napari_ldseg.training.loop import train
from napari_ldseg.training.run_folder import RunFolder
from napari_ldseg.training.state import save_state
from napari_ldseg.utils.locking import exclusive_lock

from ..discs import WIDTHS, disc, discs, equal, settings, write_discs
from ..forked import Command, ranks

pytestmark = pytest.mark.usefixtures("few_steps")
AUGMENTED = {"rotation": 0.3, "noise": 0.02, "flip_axes": [0]}


def configuration(folder, training=None, **changes):
    """Write a tiny configuration for the discs in ``folder`` and return its path."""
    sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in WIDTHS.items()}
    given = {
        "name": "discs",
        "data": {"folder": ".", "patient": r"(p\d+)_", "validation": 0.2, "test": 0.2},
        "classes": ["background", "disc"],
        "grid": {"size": [16, 16]},
        "intensity": {"method": "min-max"},
        "architecture": {**sizes, "dropout": 0.1, "latent_channels": 2, "denoiser_blocks": 1},
        "training": {
            "updates": 12,
            "batch_size": 4,
            "precision": "32-true",
            "validate_every": 4,
            "augmentation": AUGMENTED,
            **(training or {}),
        },
    }
    path = folder / "discs.yaml"
    path.write_text(yaml.safe_dump(given | changes))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("discs"), 20)


def run(path, folder, *more):
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder), *more])
    return answer.exit_code, answer.stderr


def weights(folder):
    return load_checkpoint(folder / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory, few_steps, one_thread):
    """An uninterrupted run of 60 updates by the command line."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    code, output = run(configuration(data, {"updates": 60}), folder)
    assert code == 0, output
    return folder, output


@pytest.mark.slow
def test_a_run_leaves_everything_in_its_folder(finished, data):
    folder, output = finished
    assert {p.name for p in folder.iterdir() if p.name != "tensorboard"} == {
        "config.yaml",
        "split.json",
        "status.json",
        "log.csv",
        "state.pt",
        "curves.png",
        "cases.png",
        "checkpoint.safetensors",
    }
    assert "12 training, 4 validation and 4 test cases" in output
    assert "60/60" in output and "validation DSC" in output and "left" in output
    status = RunFolder(folder).status()
    assert (status.phase, status.update, status.updates) == ("finished", 60, 60)
    assert status.checkpoint == folder / "checkpoint.safetensors"
    metadata = weights(folder).metadata
    assert [c.name for c in metadata.classes] == ["background", "disc"]
    assert {m.split for m in metadata.metrics} == {"test"}
    assert {m.samples for m in metadata.metrics} == {1, 10} and metadata.metrics[0].cases == 4
    info = CliRunner().invoke(app, ["info", str(folder / "checkpoint.safetensors"), "--json"])
    assert json.loads(info.stdout)["metrics"][0]["split"] == "test"
    split = json.loads((folder / "split.json").read_text())
    assert [len(split[p]) for p in ("training", "validation", "test")] == [12, 4, 4]
    rows = read_log(folder / "log.csv")
    assert [r["update"] for r in rows] == list(range(1, 61))
    assert sum(np.isfinite(r["validation_dsc"]) for r in rows) == 15
    # What was resolved can be run again from anywhere.
    assert read_config(folder / "config.yaml").data.folder == data


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_killed_at_any_moment_a_resumed_run_ends_bit_for_bit_the_same(finished, data, tmp_path):
    path, folder = configuration(data, {"updates": 60}), tmp_path / "run"
    rng = np.random.default_rng(0)
    for kill in range(3):
        process = Command("train", path, "-o", folder, "--resume")
        seen, deadline = read_log(folder / "log.csv"), time.monotonic() + 120
        target = (seen[-1]["update"] if seen else 0) + rng.integers(4, 12)
        while process.poll() is None and time.monotonic() < deadline:
            rows = read_log(folder / "log.csv")
            if rows and rows[-1]["update"] >= target:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate(60)
        assert not (folder / "checkpoint.safetensors").exists(), kill
    code, output = run(path, folder, "--resume")
    assert code == 0, output
    assert equal(weights(folder), weights(finished[0]))
    assert weights(folder).metadata.metrics == weights(finished[0]).metadata.metrics
    assert (folder / "log.csv").read_text() == (finished[0] / "log.csv").read_text()


@pytest.mark.slow
def test_a_signal_stops_after_the_update_and_loses_nothing(finished, data, tmp_path):
    path, folder = configuration(data, {"updates": 60, "validate_every": 1000}), tmp_path / "run"
    process = Command("train", path, "-o", folder)
    for line in process.stderr:
        if line.startswith("1/60"):
            break
    process.send_signal(signal.SIGINT)
    output = process.communicate(60)
    assert process.returncode == 130 and "stopped after" in output and "Traceback" not in output
    done = read_log(folder / "log.csv")[-1]["update"]
    assert 1 <= done < 60
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state["update"] == done
    status = RunFolder(folder).status()
    assert status.phase == "stopped" and status.update == done


@pytest.fixture(scope="module")
def alone(tmp_path_factory, few_steps):
    """The configuration of 8 updates without dropout, and the folder of its run by one process."""
    folder = tmp_path_factory.mktemp("alone")
    sizes = {k: list(v) if isinstance(v, tuple) else v for k, v in WIDTHS.items()}
    path = configuration(
        write_discs(folder, 20),
        {"updates": 8, "batch_size": 4, "validate_every": 4},
        architecture=sizes | {"denoiser_blocks": 1},
    )
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder / "run")])
    assert answer.exit_code == 0, answer.stderr
    return path, folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["option", "torchrun"])
@pytest.mark.usefixtures("without_plots")
def test_two_processes_learn_what_one_does(alone, tmp_path, launcher):
    """Same joint batches, gradients, log and validation; only one process writes."""
    path, alone = alone
    line = ["train", path, "-o", tmp_path / "two", "--accelerator", "cpu"]
    if launcher == "option":
        process = Command(*line, "--devices", "2")
        output = process.communicate(240)
        codes = [process.returncode]
    else:
        codes, output = ranks(2, *line)
    assert not any(codes), output
    one, two = weights(alone), weights(tmp_path / "two")
    for key, value in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[key], value, rtol=1e-3, atol=2e-5)
    logs = [read_log(folder / "log.csv") for folder in (alone, tmp_path / "two")]
    assert len(logs[0]) == len(logs[1]) == 8
    for first, second in zip(*logs, strict=True):
        assert second == pytest.approx(first, rel=1e-3, abs=1e-4, nan_ok=True)
    assert output.count("8/8") == 1


@pytest.mark.slow
def test_an_existing_run_is_not_overwritten(finished, data, assert_sentence):
    folder, _ = finished
    path = configuration(data, {"updates": 60})
    before = (folder / "checkpoint.safetensors").read_bytes()
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder)])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], "already holds a run", "--resume")
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder), "--resume"])
    assert answer.exit_code == 0 and "already finished" in answer.output + answer.stderr
    assert (folder / "checkpoint.safetensors").read_bytes() == before
    (folder / "checkpoint.safetensors").rename(folder / "kept")
    other = configuration(data, {"updates": 61})
    answer = CliRunner().invoke(app, ["train", str(other), "-o", str(folder), "--resume"])
    (folder / "kept").rename(folder / "checkpoint.safetensors")
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], "other settings")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda p: p.write_bytes(p.read_bytes()[:40]), ("p03_0.png", "cannot be read")),
        (lambda p: write_label(p, 2), ("p03_0", "value 2", "0 to 1")),
    ],
)
def test_a_bad_case_is_named_and_leaves_no_checkpoint(
    tmp_path, damage, words, workers, assert_sentence
):
    write_discs(tmp_path, 20)
    split = {"training": ["p03_0", "p04_0"], "validation": ["p05_0"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    damage(tmp_path / "labels" / "p03_0.png")
    path = configuration(
        tmp_path, {"workers": workers}, data={"folder": ".", "split": "split.json"}
    )
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "run")])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], *words)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_bad_held_out_case_is_named_before_the_training(tmp_path, part, assert_sentence):
    write_discs(tmp_path, 6)
    split = {"training": ["p00_0"], "validation": ["p01_0"], "test": ["p02_0"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    bad = split[part][0]
    write_label(tmp_path / "labels" / f"{bad}.png", 9)
    path = configuration(tmp_path, data={"folder": ".", "split": "split.json"})
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "run")])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], bad, "value 9")
    assert not (tmp_path / "run" / "log.csv").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots")
def test_stopped_while_measuring_a_run_is_resumed_there(data, tmp_path, monkeypatch):
    path, folder = configuration(data), tmp_path / "run"
    came = []
    monkeypatch.setattr("napari_ldseg.commands.train.stop_signals", lambda: lambda: bool(came))
    real = napari_ldseg.training.measure.measure_posterior_steps

    def interrupted(checkpoint, cases, n, device, on_case):
        came.append(signal.SIGTERM)
        on_case()
        raise AssertionError("it went on")

    monkeypatch.setattr("napari_ldseg.training.measure.measure_posterior_steps", interrupted)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder)])
    assert answer.exit_code == 130 and "--resume" in answer.stderr.strip().splitlines()[-1]
    assert not (folder / "checkpoint.safetensors").exists()
    assert torch.load(folder / "state.pt", weights_only=True)["update"] == 12
    came.clear()
    monkeypatch.setattr("napari_ldseg.training.measure.measure_posterior_steps", real)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(folder), "--resume"])
    assert answer.exit_code == 0, answer.stderr
    assert weights(folder).metadata.training.updates == 12


def test_one_run_at_a_time_in_a_folder(data, tmp_path, assert_sentence, monkeypatch):
    monkeypatch.setattr("napari_ldseg.utils.locking.PATIENCE_SECONDS", 0.5)
    folder = tmp_path / "run"
    folder.mkdir()
    arguments = ["train", str(configuration(data)), "-o", str(folder), "--resume"]
    with exclusive_lock(folder):
        answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 1 and not list(folder.iterdir())
    assert_sentence(answer.stderr.strip().splitlines()[-1], str(folder), "Another run")


def test_a_folder_that_cannot_be_written_is_one_sentence(
    data, tmp_path, assert_sentence, monkeypatch
):
    path = configuration(data)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(path)])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], path.name, "cannot be made")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_ldseg.training.run.load_or_draw_split", full)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "run")])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], "No space left", "--resume")


def test_a_class_that_nobody_has_has_no_figure(tiny_checkpoint):
    checkpoint = tiny_checkpoint(2, classes=3)
    results = np.full((2, 2, 2), np.nan)
    results[0, :, 0] = 0.5
    found = metrics(results, checkpoint, "test", 1, 2)
    assert [(m.name, m.class_name, m.value, m.cases) for m in found] == [
        ("DSC", "class 1", 0.5, 1),
        ("IoU", "class 1", 0.5, 1),
    ]


def write_label(path, value):
    from skimage.io import imsave

    imsave(path, np.full((16, 16), value, np.uint8), check_contrast=False)


def test_a_full_disk_keeps_the_last_state(tmp_path, assert_sentence):
    path = tmp_path / "state.pt"
    save_state(path, {"update": 1, "fingerprint": "x"})
    before = path.read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(LDSegError) as error:
            save_state(path, {"update": 2, "fingerprint": "x", "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_sentence(error, "state.pt", "--resume")
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_a_damaged_state_is_reported(data, tmp_path, assert_sentence):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"not a state")
    path = configuration(data)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "run"), "--resume"])
    assert answer.exit_code == 1
    assert_sentence(answer.stderr.strip().splitlines()[-1], "state.pt", "damaged")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"clases": ["a", "b"]}, ("no setting clases",)),
        ({"training": {"learning_rate": -1}}, ("training.learning_rate",)),
        ({"architecture": {"label_widths": [8]}}, ("label_widths",)),
        ({"architecture": {"width": 3}}, ("width",)),
        ({"grid": {}}, ("grid", "size or a spacing")),
        ({"orientation": "SPL"}, ("orientation",)),
        ({"data": {"folder": ".", "patient": "p"}}, ("data.patient", "group")),
        ({"channels": ["red", "green"]}, ("channels",)),
        ({"classes": ["background", False]}, ("classes", "quotation marks")),
        ({"architecture": {"label_widths": "big"}}, ("label_widths", "tuple")),
        ({"training": {"augmentation": {"flip_axes": [2]}}}, ("flip_axes", "2D")),
        ({"training": {"augmentation": {"stain": 0.1}}}, ("stain", "three channels")),
        pytest.param({"training": {"batch_size": 3, "updates": 1}}, None, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("without_plots")
def test_a_wrong_configuration_is_one_sentence(data, tmp_path, changes, words, assert_sentence):
    path = configuration(data, **changes)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(tmp_path / "run")])
    if words is None:
        assert answer.exit_code == 0, answer.stderr
    else:
        assert answer.exit_code == 1
        assert_sentence(answer.stderr.strip().splitlines()[-1], *words)
        assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_files_that_are_no_configuration(tmp_path, assert_sentence):
    path = tmp_path / "x.yaml"
    for text in ("- 1", "a: [", "name: !!python/object/apply:os.system ['true']", "\x00"):
        path.write_text(text)
        with pytest.raises(LDSegError) as error:
            read_config(path)
        assert_sentence(error, "x.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    "networks, widths, size",
    [("res-unet", (8, 16, 16), 16), ("swin-unetr", (12, 12, 24, 48, 96, 192), 64)],
)
def test_a_baseline_learns_and_knows_no_spread(tiny_metadata, tmp_path, networks, widths, size):
    sizes = {"image_widths": widths, "label_widths": widths}
    metadata = tiny_metadata(2, networks=networks, architecture=sizes, grid={"size": (size, size)})
    trained = train(metadata, discs(2, 8), [], settings(updates=40, batch_size=8))
    result = load_checkpoint(save_checkpoint(trained, tmp_path / "baseline.safetensors"))
    assert result.metadata.deterministic and equal(result, trained)
    scan, truth = disc(2, 3)
    wide = Scan(np.pad(scan.array, ((0, 3), (0, 5)), mode="edge"))
    posterior = segment(result, wide, n=3)
    assert posterior.labels.shape == (19, 21) and posterior.sample_sd.max() == 0
    found, wanted = posterior.labels[:16, :16] == 1, truth == 1
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.8
