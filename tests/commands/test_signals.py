"""SIGINT and SIGTERM at exact moments of real processes: exit code 130, no traceback, nothing half written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from napari_ldseg.checkpoint.file import save_checkpoint

from .. import signalled
from ..discs import write_discs
from ..forked import Command
from ..keras_fixture import write_keras

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture
def interrupted(tmp_path):
    """Function that runs the program with a signal at a moment, and returns the files in its output folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def fresh(*arguments):
        command = [sys.executable, str(ROOT / "tests" / "signalled.py")]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        ended = subprocess.run(
            [*command, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return ended.returncode, ended.stderr

    def ready(*arguments):
        environment = {"TMPDIR": str(temporary)}
        process = Command(*arguments, environment=environment, main=signalled.main)
        errors = process.communicate(120)
        return process.returncode, errors

    def run(number, moment, *arguments):
        # Only what is sent while the program imports needs one that has not imported anything.
        code, errors = (ready if ":" in moment else fresh)(number, moment, *arguments)
        assert code == 130, errors
        assert "Traceback" not in errors and "Error" not in errors, errors
        # torch makes a folder for its own cache there.
        assert not [p for p in temporary.iterdir() if not p.name.startswith("torch")]
        out = tmp_path / "out"
        return sorted(p.name for p in out.rglob("*") if p.is_file()) if out.is_dir() else []

    return run


@pytest.fixture
def commands(tmp_path, tiny_checkpoint):
    """The arguments of each command, with small files that exist."""
    data, out = tmp_path / "data", tmp_path / "out"
    write_discs(data, n=4)
    model = save_checkpoint(tiny_checkpoint(), tmp_path / "tiny.safetensors")
    config = {
        "name": "discs",
        "data": {"folder": str(data), "patient": "(p[0-9]+)", "validation": 0.5},
        "classes": ["background", "disc"],
        "grid": {"size": [16, 16]},
    }
    (tmp_path / "discs.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "keras").mkdir()
    write_keras(tmp_path / "keras", 2)
    return {
        "info": ["info", model],
        "evaluate": ["evaluate", model, data, "-o", out, "--samples", "2"],
        "segment": ["segment", data / "images", "-o", out, "-m", model, "-n", "2"],
        "train": ["train", tmp_path / "discs.yaml", "-o", out],
        "import-keras": ["import-keras", tmp_path / "keras", "-o", out / "keras.safetensors"],
    }


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("module", ["napari_ldseg.cli", "typer", "rich.console"])
def test_while_the_program_starts(interrupted, number, module):
    assert interrupted(number, module, "--help") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, module",
    [
        ("info", "pydantic"),
        ("evaluate", "torch"),
        ("evaluate", "monai"),
        ("segment", "torch"),
        ("segment", "skimage"),
        ("train", "torch"),
        ("train", "monai"),
        ("import-keras", "torch"),
    ],
)
def test_while_a_command_imports(interrupted, commands, command, module):
    assert interrupted("SIGINT", module, *commands[command]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, command, part, complete",
    [
        ("SIGTERM", "evaluate", "report.json", []),
        ("SIGINT", "evaluate", "report.html", ["report.json"]),
        ("SIGTERM", "import-keras", "keras", []),
        ("SIGINT", "import-keras", "keras", []),
    ],
)
def test_while_a_file_is_written(interrupted, commands, number, command, part, complete):
    assert interrupted(number, f"write:{part}", *commands[command]) == complete


@pytest.mark.slow
@pytest.mark.parametrize("command, part", [("segment", "sample_sd"), ("train", "split.json")])
def test_a_run_that_can_be_continued_ends_in_order(interrupted, commands, command, part):
    """What was being written is completed, and no temporary file stays."""
    left = interrupted("SIGTERM", f"write:{part}", *commands[command])
    assert any(part in name or name.endswith(".nii.gz") for name in left)
    assert not [name for name in left if name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2, 4])
def test_an_evaluation_leaves_nothing_whenever_it_is_ended(interrupted, commands, seconds):
    arguments = [*commands["evaluate"], "--parts", "overlap,uncertainty,noise"]
    arguments[arguments.index("--samples") + 1] = "5000"
    assert interrupted("SIGTERM", f"later:{seconds}", *arguments) == []
