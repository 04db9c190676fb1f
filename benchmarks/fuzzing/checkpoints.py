"""Checkpoints (safetensors with JSON in the header) and states of training runs."""

from __future__ import annotations

import functools
import json
import struct
import tempfile
from pathlib import Path
from random import Random

import torch

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.header import METADATA_KEY
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.training.state import load_state, save_state

from .mutations import NUMBERS, damaged, damaged_json

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
