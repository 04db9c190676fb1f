"""Devices and processes: as requested, as launched, or one sentence why not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_ldseg.errors import LDSegError
from napari_ldseg.inference import distributed
from napari_ldseg.inference.distributed import join_processes, make_fabric

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from napari_ldseg.inference.distributed import make_fabric
fabric = make_fabric("cpu", sys.argv[1] if len(sys.argv) > 1 else None)
print(f"rank {fabric.global_rank} of {fabric.world_size}\\n", end="", flush=True)
fabric.barrier()
"""


@pytest.fixture
def program(tmp_path):
    """A script that prints its rank and the number of processes."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def ranks(*command):
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return sorted(line for line in answer.stdout.splitlines() if line.startswith("rank"))


def test_one_process_by_default():
    fabric = make_fabric("cpu")
    assert (fabric.world_size, fabric.global_rank, fabric.device.type) == (1, 0, "cpu")


@pytest.mark.slow
def test_fabric_run_sets_the_number_of_processes(program):
    command = ("-m", "lightning_fabric.cli", "--accelerator", "cpu", "--devices", "2")
    assert ranks(*command, program) == ["rank 0 of 2", "rank 1 of 2"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"accelerator": "gpu"}, "no GPU"),
        ({"devices": "0,1"}, "lists GPUs"),
        ({"devices": "two"}, "a number"),
        ({"devices": "0"}, "a number"),
        ({"accelerator": "abacus"}, "choose one of"),
        ({"nodes": 0}, "at least 1"),
    ],
)
def test_an_impossible_request_is_one_sentence(request_, words, monkeypatch, assert_sentence):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(LDSegError) as error:
        make_fabric(**request_)
    assert_sentence(error, words)


def test_more_gpus_than_there_are(monkeypatch, assert_sentence):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for devices in ("3", "0,2"):
        with pytest.raises(LDSegError) as error:
            make_fabric("gpu", devices)
        assert_sentence(error, "more GPUs than the 2")


def test_segmenting_in_one_process_does_not_wait_for_fabric(monkeypatch):
    """Only what another program launched, or several devices or nodes, needs it."""
    for name in list(os.environ):
        if name.startswith(distributed.LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.setattr(distributed, "make_fabric", lambda *request, **more: request)
    for request in (("cpu",), ("cpu", "1", 1)):
        alone = join_processes(*request)
        assert (alone.world_size, alone.global_rank, alone.device.type) == (1, 0, "cpu")
        assert alone.is_global_zero and alone.broadcast("a") == "a"
    for request in (("cpu", "2"), ("cpu", None, 2), ("cuda", "1"), ("abacus",)):
        assert join_processes(*request)[: len(request)] == request
    for variable in ("RANK", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "LT_CLI_USED"):
        with monkeypatch.context() as launched:
            launched.setenv(variable, "1")
            assert join_processes("cpu")[0] == "cpu"
