"""The training loss of LDSeg: cross entropy + gamma Dice + lambda noise loss (Algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

from .blocks import append_axes
from .ldseg import LDSeg
from .res_unet import ResUNet

# Per class and per sample, background left out: the paper's pooled Dice loses small objects.
_dice = DiceLoss(include_background=False, softmax=True, smooth_nr=1.0, smooth_dr=1.0)


class LossTerms(NamedTuple):
    """Scalar tensors; ``total`` is the one to minimise."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor
    noise: Tensor


def segmentation_loss(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return (cross entropy, Dice loss) of logits against one-hot ``label``, both (batch, classes, *size).

    The Dice loss is the mean over samples and foreground classes of
    1 - (2 |p y| + 1) / (|p| + |y| + 1), with p the softmax.
    """
    return F.cross_entropy(logits, label), _dice(logits, label)


def deterministic_loss(model: ResUNet, image: Tensor, label: Tensor, gamma: float) -> LossTerms:
    """Cross entropy + gamma Dice of the baseline; arguments as in ``training_loss``."""
    logits = model.decode(model.encode_image(image), label.shape[2:])
    cross_entropy, dice = segmentation_loss(logits, label)
    return LossTerms(cross_entropy + gamma * dice, cross_entropy, dice, torch.zeros_like(dice))


def training_loss(
    model: LDSeg,
    image: Tensor,
    label: Tensor,
    t: Tensor,
    noise: Tensor,
    gamma: float = 2.0,
    lambda_: float = 1.0,
) -> LossTerms:
    """One pass of Algorithm 1 through all four networks.

    Parameters
    ----------
    model
        The four networks.
    image
        (batch, image_channels, *size), float.
    label
        One-hot (batch, classes, *size), float.
    t
        Time indices (batch,), 0..T-1.
    noise
        Standard normal, (batch, latent_channels, *cells).
    gamma, lambda_
        Weights of the Dice and of the noise loss.
    """
    z0 = model.encode_label(label)
    z_i = model.encode_image(image)
    a = append_axes(model.schedule.alpha_bars(t), z0.ndim)
    z_t = model.diffuse(z0, t, noise)
    output = model.denoiser(z_t, z_i, t)
    target = model.parametrisation.target(z0, noise, a)
    latent = model.parametrisation.training_latent(output, z_t, a)
    cross_entropy, dice = segmentation_loss(model.decode(latent, label.shape[2:]), label)
    noise_loss = torch.mean((output - target) ** 2)
    total = cross_entropy + gamma * dice + lambda_ * noise_loss
    return LossTerms(total, cross_entropy, dice, noise_loss)
