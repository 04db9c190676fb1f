"""The training loss of LDSeg: cross entropy + gamma Dice + lambda noise loss (Algorithm 1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor

from .base import SegmentationModel
from .blocks import append_axes, pad_to_stride
from .ldseg import LDSeg

# Per class and sample, without the background: the paper's pooled Dice neglects small objects.
_dice = DiceLoss(include_background=False, softmax=True, smooth_nr=1.0, smooth_dr=1.0)
_dice_of_probabilities = DiceLoss(include_background=False, smooth_nr=1.0, smooth_dr=1.0)


class LossTerms(NamedTuple):
    """Scalar tensors; ``total`` is the one to minimise."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor
    noise: Tensor


def segmentation_loss(
    logits: Tensor, label: Tensor, reviewed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (cross entropy, Dice loss) of logits against one-hot ``label``, both (batch, classes, *size).

    The Dice loss is the mean over samples and foreground classes of
    1 - (2 |p y| + 1) / (|p| + |y| + 1), with p the softmax. With ``reviewed`` (batch, 1, *size), 0 or 1,
    both losses use only the voxels that are 1; every sample has the same weight.
    """
    if reviewed is None:
        return F.cross_entropy(logits, label), _dice(logits, label)
    each = -(label * logits.log_softmax(1)).sum(1, keepdim=True)
    cross_entropy = _mean_where(each, reviewed)
    return cross_entropy, _dice_of_probabilities(logits.softmax(1) * reviewed, label * reviewed)


def _mean_where(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over samples of each sample's weighted mean; ``weights`` has one channel."""
    axes = tuple(range(1, values.ndim))
    weighted = (values * weights).sum(axes) / values.shape[1]
    return (weighted / weights.sum(axes).clamp(min=1e-6)).mean()


def loss_of_logits(
    logits: Tensor, label: Tensor, gamma: float, reviewed: Tensor | None = None
) -> LossTerms:
    """Return cross entropy + gamma Dice without a noise loss; arguments as in ``segmentation_loss``."""
    cross_entropy, dice = segmentation_loss(logits, label, reviewed)
    return LossTerms(cross_entropy + gamma * dice, cross_entropy, dice, torch.zeros_like(dice))


def deterministic_loss(
    model: SegmentationModel,
    image: Tensor,
    label: Tensor,
    gamma: float,
    reviewed: Tensor | None = None,
) -> LossTerms:
    """Return a deterministic model's loss, cross entropy + gamma Dice; arguments as in ``training_loss``."""
    logits = model.decode(model.encode_image(image), label.shape[2:])
    return loss_of_logits(logits, label, gamma, reviewed)


def autoencoder_loss(
    model: LDSeg, label: Tensor, gamma: float, reviewed: Tensor | None = None
) -> LossTerms:
    """Return cross entropy + gamma Dice of the label that is encoded and decoded; arguments as in ``training_loss``."""
    logits = model.decode(model.encode_label(label), label.shape[2:])
    return loss_of_logits(logits, label, gamma, reviewed)


def diffusion_loss(
    model: LDSeg,
    image: Tensor,
    label: Tensor,
    t: Tensor,
    noise: Tensor,
    lambda_: float = 1.0,
    reviewed: Tensor | None = None,
) -> LossTerms:
    """Return lambda times the noise loss alone; arguments as in ``training_loss``."""
    _, error = _denoise(model, image, label, t, noise)
    noise_loss = _noise_loss(model, error, reviewed)
    zero = torch.zeros_like(noise_loss)
    return LossTerms(lambda_ * noise_loss, zero, zero, noise_loss)


def training_loss(
    model: LDSeg,
    image: Tensor,
    label: Tensor,
    t: Tensor,
    noise: Tensor,
    gamma: float = 2.0,
    lambda_: float = 1.0,
    reviewed: Tensor | None = None,
) -> LossTerms:
    """Return the loss of one pass of Algorithm 1 through all four networks.

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
    reviewed
        1 for the voxels to train on, 0 for the others, (batch, 1, *size); None for all voxels. Cross
        entropy and Dice ignore the others, and the noise loss weights each latent cell by the fraction
        of its voxels that are 1.
    """
    latent, error = _denoise(model, image, label, t, noise)
    logits = model.decode(latent, label.shape[2:])
    cross_entropy, dice = segmentation_loss(logits, label, reviewed)
    noise_loss = _noise_loss(model, error, reviewed)
    total = cross_entropy + gamma * dice + lambda_ * noise_loss
    return LossTerms(total, cross_entropy, dice, noise_loss)


def _denoise(
    model: LDSeg, image: Tensor, label: Tensor, t: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the latent that the decoder is trained on and the denoiser's squared errors, both like ``noise``."""
    z0 = model.encode_label(label)
    z_i = model.encode_image(image)
    a = append_axes(model.schedule.alpha_bars(t), z0.ndim)
    z_t = model.diffuse(z0, t, noise)
    output = model.denoiser(z_t, z_i, t)
    target = model.parametrisation.target(z0, noise, a)
    return model.parametrisation.training_latent(output, z_t, a), (output - target) ** 2


def _noise_loss(model: LDSeg, error: Tensor, reviewed: Tensor | None) -> Tensor:
    """Return the mean of the squared errors, each cell weighted by the fraction of its voxels that are reviewed."""
    if reviewed is None:
        return torch.mean(error)
    padded = pad_to_stride(reviewed, model.architecture.stride)
    return _mean_where(error, F.interpolate(padded, error.shape[2:], mode="area"))
