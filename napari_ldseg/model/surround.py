"""The surround of a photograph's field of view: where an image is 0 in every channel."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import append_axes

SURE = 10.0  # logits of the background in the surround


def centred(image: Tensor) -> Tensor:
    """Map an image (batch, channels, *size) in [0, 1] to [-1, 1], and its surround to 0."""
    return (2 * image - 1) * _inside(image)


def background_outside(image: Tensor, logits: Tensor) -> Tensor:
    """Return ``logits`` (batch, ..., classes, *size) with background in the surround of ``image``.

    ``image`` is (batch, channels, *size) in [0, 1].
    """
    space = image.ndim - 2
    background = torch.full((logits.shape[-space - 1],), -SURE, device=logits.device)
    background[0] = SURE
    inside = _inside(image)
    inside = inside.reshape(len(image), *(1,) * (logits.ndim - space - 1), *image.shape[2:])
    return torch.where(inside, logits, append_axes(background, space + 1))


def _inside(image: Tensor) -> Tensor:
    return image.amax(1, keepdim=True) > 0
