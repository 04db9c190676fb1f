"""The training of DiffDGSS: first the diffusion network on images alone, then the interpreter on frozen features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..losses import LossTerms, loss_of_logits
from ..surround import centred
from .model import DiffDGSS

Stage = Literal["diffusion", "expert", "weighting"]

WEIGHTING_SHARE = 0.05  # of the interpreter's updates


def stage_of(update: int, updates: int, diffusion_updates: int) -> Stage:
    """Return what update 1..``updates`` trains; the first ``diffusion_updates`` train the diffusion network.

    The last 5 % of the others train the weights over times, which need the features of all times, together
    with the expert, which before sees one random time per update.
    """
    if update <= diffusion_updates:
        return "diffusion"
    weighting = round(WEIGHTING_SHARE * (updates - diffusion_updates))
    return "weighting" if update > updates - weighting else "expert"


def diffdgss_loss(
    model: DiffDGSS,
    image: Tensor,
    label: Tensor,
    t: Tensor,
    noise: Tensor,
    stage: Stage,
    gamma: float = 1.0,
    counted: Tensor | None = None,
    frozen: bool = True,
) -> LossTerms:
    """Return the loss of one update.

    Parameters
    ----------
    model
        The networks. Only the diffusion network has a gradient in the first stage, and only the interpreter
        in the others.
    image
        (batch, channels, *size) in [0, 1]; 0 in every channel is surround.
    label
        One-hot (batch, classes, *size), float; not used in the first stage.
    t
        Random times (batch,), 0..T-1; the first one also chooses the expert's time.
    noise
        Standard normal, shaped like ``image``.
    stage
        See ``stage_of``.
    gamma
        Weight of the Dice loss.
    counted
        1 for the pixels that count in the segmentation's loss, (batch, 1, *size); None for all.
    frozen
        Whether the expert's stage leaves the diffusion network as it is.
    """
    image = centred(image)
    if stage == "diffusion":
        error = model.diffusion_loss(image, t, noise)
        zero = torch.zeros_like(error)
        return LossTerms(error, zero, zero, error)
    if stage == "expert":
        logits = model.logits_at(image, int(t[0]) % len(model.sizes.times), frozen=frozen)
    else:
        logits = model(image)
    return loss_of_logits(logits, label, gamma, counted)
