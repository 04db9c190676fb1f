"""Checkpoints (safetensors with JSON in the header), states of training runs, and Keras HDF5 files."""

from __future__ import annotations

import functools
import io
import json
import os
import resource
import signal
import struct
import tempfile
from pathlib import Path
from random import Random

import h5py
import numpy as np
import torch

from napari_ldseg.checkpoint import hdf5, hdf5_reader
from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.header import METADATA_KEY
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.training.state import load_state, save_state

from .mutations import NUMBERS, damaged, damaged_json

HANG_SECONDS = 30
METADATA = {
    "name": "small",
    "description": "A small model.",
    "architecture": {
        "dims": 2,
        "image_channels": 1,
        "classes": 2,
        "label_widths": [4, 4],
        "image_widths": [4, 4],
        "denoiser_widths": [4, 4],
        "denoiser_attention": [1],
    },
    "channels": ["image"],
    "classes": [
        {"name": "background", "colour": "#000000"},
        {"name": "heart", "colour": "#e69f00", "snomed": "80891009"},
    ],
    "grid": {"size": [16, 16]},
    "training": {"data": "none", "licence": "none", "split": "none", "cases": {"a": "b"}},
    "metrics": [
        {
            "name": "DSC",
            "class_name": "heart",
            "value": 0.9,
            "split": "test",
            "cases": 3,
            "samples": 1,
            "steps": 2,
        }
    ],
    "calibration": {
        "samples": 8,
        "steps": 10,
        "split": "validation",
        "cases": 50,
        "temperature": 1.5,
        "volume_factors": [1.2],
    },
    "software": {"torch": "2.5"},
}


def trial(rng: Random, folder: Path, attempt) -> None:
    """Load a damaged checkpoint, or resume from a damaged state."""
    if rng.random() < 0.1:
        path = folder / "state.pt"
        path.write_bytes(damaged(seeds()[1], rng))
        attempt(load_state, path, "a fingerprint")
        return
    path = folder / "model.safetensors"
    path.write_bytes(_damaged_checkpoint(seeds()[0], rng))
    loaded = attempt(load_checkpoint, path)
    if loaded is not None:
        assert all(torch.isfinite(w).all() for w in loaded.model.parameters())


def _damaged_checkpoint(data: bytes, rng: Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return damaged(data, rng, data)
    (length,) = struct.unpack_from("<Q", data)
    header, weights = json.loads(data[8 : 8 + length]), data[8 + length :]
    if kind == 1:
        text = damaged_json(header, rng)
    else:
        metadata = json.loads(header["__metadata__"][METADATA_KEY])
        damage = damaged_json(metadata, rng).decode("utf-8", "replace")
        header["__metadata__"][METADATA_KEY] = damage
        text = json.dumps(header).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        weights = damaged(weights, rng)
    length = (
        len(text) if rng.random() < 0.95 else int(abs(min(rng.choice(NUMBERS[:20]), 2**64 - 1)))
    )
    return struct.pack("<Q", length) + text + weights


@functools.cache
def seeds() -> tuple[bytes, bytes]:
    """Return a small checkpoint and the state of a run."""
    torch.manual_seed(0)
    metadata = Metadata.model_validate(METADATA)
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(Checkpoint(metadata, build_model(metadata)), Path(folder) / "a")
        state = Path(folder) / "state.pt"
        tensors = {"weight": torch.ones(20, 4)}
        save_state(state, {"fingerprint": "a fingerprint", "start": "", "model": tensors})
        return path.read_bytes(), state.read_bytes()


def hdf5_trial(rng: Random, folder: Path, attempt) -> None:
    """Read a damaged HDF5 file as the import of Keras weights does."""
    path = folder / "denoiser.hdf5"
    path.write_bytes(damaged(_hdf5(), rng, _hdf5()))
    reader = _ForkedReader()
    hdf5._run_reader = reader
    tensors = attempt(hdf5.read_hdf5, path)
    attempt.child_mib = reader.mib
    assert not reader.signal, f"the reader's process ended with {reader.signal}"
    if tensors is not None:
        assert sum(t.nbytes for t in tensors.values()) <= path.stat().st_size


@functools.cache
def _hdf5() -> bytes:
    file, rng = io.BytesIO(), np.random.default_rng(0)
    with h5py.File(file, "w") as root:
        root.attrs["keras_version"] = "2.9.0"
        for i in range(6):
            group = root.create_group(f"conv2d_{i}/conv2d_{i}")
            group.attrs["weight_names"] = [f"conv2d_{i}/kernel:0", f"conv2d_{i}/bias:0"]
            group["kernel:0"] = np.float32(rng.random((3, 3, 4, 8)))
            group["bias:0"] = np.float32(rng.random(8))
    return file.getvalue()


class _ForkedReader:
    """Runs ``hdf5_reader`` as the product does, but in a copy of this process, which starts at once.

    ``mib`` is the memory that it took beyond this process's, ``signal`` what ended it, if anything did.
    """

    def __init__(self) -> None:
        self.mib, self.signal = 0.0, ""

    def __call__(self, path: Path) -> tuple[dict, memoryview]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryFile(dir=path.parent) as out:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    signal.alarm(HANG_SECONDS)
                    hdf5_reader.main(str(path), out)
                    code = 0
                finally:
                    os._exit(code)
            _, status, usage = os.wait4(pid, 0)
            out.seek(0)
            output = out.read()
        self.mib = max(0, usage.ru_maxrss - before) / 1024
        if os.WIFSIGNALED(status):
            self.signal = signal.Signals(os.WTERMSIG(status)).name
        return hdf5.parsed_answer(path, os.waitstatus_to_exitcode(status), output)
