"""The stages of a training: a run of one stage, or of a first one whose networks are then kept as they are."""

from __future__ import annotations

import math
from typing import cast

from torch.optim.swa_utils import AveragedModel

from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from ..model.base import SegmentationModel
from ..model.ldseg import LDSeg
from .settings import TrainingSettings

AUTOENCODER = "label_encoder", "label_decoder"
DIFFUSION = "image_encoder", "denoiser"


def first_stage(settings: TrainingSettings) -> int:
    """Return the number of updates of the first stage; 0 for a run of one stage."""
    return settings.diffusion_updates or settings.autoencoder_updates


def trains_parts(networks: str, settings: TrainingSettings) -> bool:
    """Return whether an update may use a part of the networks only."""
    return networks == "diffdgss" or first_stage(settings) > 0


def check_stages(metadata: Metadata, settings: TrainingSettings) -> None:
    """Check that the networks have the stages that ``settings`` ask for, and that each has something to train.

    Raises
    ------
    LDSegError
        If not.
    """
    for name, networks, family, second in (
        ("diffusion_updates", "diffdgss", "diffdgss", "the interpreter"),
        ("autoencoder_updates", "ldseg", "LDSeg", "the diffusion"),
    ):
        updates = getattr(settings, name)
        if updates and metadata.networks != networks:
            raise LDSegError(f"training.{name} is for {family} networks only; remove it.")
        if updates >= settings.updates:
            raise LDSegError(
                f"training.{name} leaves no updates for {second}; make it smaller than "
                "training.updates."
            )
    if not settings.autoencoder_updates:
        return
    for stage in _trained(metadata, settings, 1), _trained(metadata, settings, settings.updates):
        if not stage:
            raise LDSegError(
                "training.fixed leaves one of the two stages of training.autoencoder_updates nothing "
                "to train; name fewer networks."
            )


def begin_stage(
    model: SegmentationModel, metadata: Metadata, settings: TrainingSettings, update: int
) -> None:
    """Let ``update`` (1..updates) change only the networks of its stage; the others are as when they are used."""
    if not settings.autoencoder_updates:
        return
    trained = _trained(metadata, settings, update)
    for name in AUTOENCODER + DIFFUSION:
        getattr(model, name).requires_grad_(name in trained).train(name in trained)


def end_first_stage(model: SegmentationModel, average: AveragedModel) -> None:
    """Give the networks of the first stage their averaged weights, and let the average begin anew.

    What the second stage learns from them are the weights that are kept, and its own average must not
    remember random weights.
    """
    names = AUTOENCODER if isinstance(model, LDSeg) else ("diffusion",)
    for name in names:
        kept = getattr(cast(SegmentationModel, average.module), name).state_dict()
        getattr(model, name).load_state_dict(kept)
    average.n_averaged.zero_()


def rate(update: int, settings: TrainingSettings) -> float:
    """Return the factor of the learning rate after ``update`` updates.

    It is a linear warm-up, then a cosine to 1 %, in each of the stages.
    """
    first, length = first_stage(settings), settings.updates
    if first:
        update, length = (update, first) if update < first else (update - first, length - first)
    warm = min(1.0, (update + 1) / settings.warmup)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, update / max(length, 1)))))


def _trained(metadata: Metadata, settings: TrainingSettings, update: int) -> set[str]:
    """Return the names of the networks with weights that ``update`` changes."""
    names = set(AUTOENCODER if update <= settings.autoencoder_updates else DIFFUSION)
    names -= set(settings.fixed)
    return names if metadata.architecture.label_encoder == "learned" else names - {"label_encoder"}
