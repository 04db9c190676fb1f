"""Reading and writing checkpoints: safetensors with the metadata as JSON in the header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import LDSegError
from ..model.authors import authors_networks
from ..model.base import SegmentationModel
from ..model.baselines import ResUNet, SwinUNETR
from ..model.diffdgss.model import DiffDGSS
from ..model.ldseg import LDSeg
from ..model.schedule import NoiseSchedule
from ..model.unet import UNet
from ..utils.atomic import atomic_write
from ..utils.text import one_line
from .header import METADATA_KEY, read_metadata
from .metadata import Metadata


@dataclass(frozen=True)
class Checkpoint:
    """A trained model and its metadata.

    ``path`` and ``sha256`` are those of the file it was loaded from, None if it was never saved.
    """

    metadata: Metadata
    model: SegmentationModel
    path: Path | None = None
    sha256: str | None = None


def build_model(metadata: Metadata) -> SegmentationModel:
    """Return the untrained networks that ``metadata`` describes."""
    if metadata.networks == "res-unet":
        return ResUNet(metadata.architecture)
    if metadata.networks == "swin-unetr":
        return SwinUNETR(metadata.architecture)
    if metadata.networks == "unet":
        return UNet(metadata.architecture, metadata.intensity.method == "fundus")
    if metadata.diffdgss is not None:
        return DiffDGSS(metadata.diffdgss, metadata.architecture)
    schedule = NoiseSchedule(metadata.schedule_length, metadata.schedule)
    networks = None
    if metadata.networks == "authors":
        networks = authors_networks(metadata.architecture, metadata.grid.size or ())
    return LDSeg(metadata.architecture, metadata.parametrisation, schedule, networks)


def save_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike) -> Path:
    """Write ``checkpoint`` to ``path`` (.safetensors), atomically.

    Raises
    ------
    LDSegError
        If it cannot be written.
    """
    path = Path(path)
    weights = {k: v.detach().cpu().contiguous() for k, v in checkpoint.model.state_dict().items()}
    header = {METADATA_KEY: checkpoint.metadata.model_dump_json()}
    try:
        with atomic_write(path, ".part") as temporary:
            save_file(weights, temporary, header)
    except (OSError, SafetensorError) as error:
        raise LDSegError(f"The checkpoint could not be written to {path}: {error}.") from error
    return path


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint without executing any code from it.

    The sizes of all tensors are checked against the metadata before any memory is allocated. The model
    is on the CPU, in float32 and in evaluation mode.

    Raises
    ------
    LDSegError
        If the file is missing, truncated, of another format, or its tensors do not fit its metadata.
    """
    path = Path(path)
    metadata = read_metadata(path)
    with torch.device("meta"):
        model = build_model(metadata)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != set(expected):
                wrong = one_line(sorted(names ^ set(expected))[0], 100)
                raise LDSegError(f"{path.name} is damaged: {wrong!r} is missing or unexpected.")
            weights = {}
            for name, shape in expected.items():
                part = file.get_slice(name)
                if tuple(part.get_shape()) != shape or part.get_dtype() != "F32":
                    raise LDSegError(
                        f"{path.name} is damaged: {name!r} has the wrong size or type."
                    )
                weights[name] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise LDSegError(
            f"{path.name} is damaged and cannot be read: {one_line(error)}."
        ) from error
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise LDSegError(f"{path.name} has NaN or infinite weights; train the model again.")
    model.load_state_dict(weights, assign=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(metadata, model.eval().requires_grad_(False), path, digest)
