"""Frequency-aware fusion of a coarse and a fine feature map (FreqFusion, Chen et al., TPAMI 2024).

Shapes are (batch, channels, height, width).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import conv

LOW_PASS, HIGH_PASS = 5, 3


class FreqFusion(nn.Module):
    """Enlarge the coarse map with predicted low-pass kernels, sharpen the fine one, and add both.

    Both kernels of a fine pixel are predicted from the two maps. The fine map gets itself minus its
    low-pass added, which restores the edges that the coarse one lacks.
    """

    def __init__(self, width: int, kernel_width: int):
        super().__init__()
        self.compress_fine = conv(2, width, kernel_width, 1)
        self.compress_coarse = conv(2, width, kernel_width, 1)
        self.low_pass = conv(2, kernel_width, LOW_PASS**2)
        self.high_pass = conv(2, kernel_width, HIGH_PASS**2)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map (batch, width, h, w) and (batch, width, 2 h, 2 w) to (batch, width, 2 h, 2 w)."""
        detail, context = self.compress_fine(fine), self.compress_coarse(coarse)
        low = self.low_pass(detail) + _doubled(self.low_pass(context))
        high = self.high_pass(detail) + _doubled(self.high_pass(context))
        smooth = carafe(fine, _normalised(high, HIGH_PASS), HIGH_PASS)
        return carafe(coarse, _normalised(low, LOW_PASS), LOW_PASS, scale=2) + 2 * fine - smooth


class BilinearFusion(nn.Module):
    """The same without frequency awareness: bilinear enlargement and a sum."""

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Map (batch, width, h, w) and (batch, width, 2 h, 2 w) to (batch, width, 2 h, 2 w)."""
        enlarged = F.interpolate(coarse.contiguous(), fine.shape[2:], mode="bilinear")
        return enlarged + fine


def carafe(x: Tensor, kernels: Tensor, size: int, scale: int = 1) -> Tensor:
    """Reassemble ``x`` with a kernel per output pixel (CARAFE, Wang et al., ICCV 2019).

    Parameters
    ----------
    x
        (batch, channels, h, w).
    kernels
        (batch, size * size, scale * h, scale * w): the weights of the neighbours of the pixel of ``x``
        that contains the output pixel, row by row.
    size
        Neighbours per axis, odd.
    scale
        How many times larger the result is per axis.

    Returns
    -------
    Tensor
        (batch, channels, scale * h, scale * w). The border is repeated outward.
    """
    batch, channels, h, w = x.shape
    pad = size // 2
    neighbours = F.unfold(F.pad(x, (pad,) * 4, mode="replicate"), size)
    neighbours = neighbours.view(batch, channels, size * size, h * w)
    # The scale * scale outputs inside one pixel of x share its neighbours.
    weights = F.pixel_unshuffle(kernels, scale).view(batch, size * size, scale * scale, h * w)
    out = torch.stack(
        [(neighbours * weights[:, None, :, k]).sum(2) for k in range(scale * scale)], dim=2
    )
    return F.pixel_shuffle(out.view(batch, channels * scale * scale, h, w), scale)


def _normalised(logits: Tensor, size: int) -> Tensor:
    """Softmax times a Hamming window, summing to 1 over the ``size`` x ``size`` weights of a pixel."""
    window = torch.hamming_window(size, periodic=False, dtype=torch.float32, device=logits.device)
    weights = logits.float().softmax(1) * torch.outer(window, window).reshape(1, -1, 1, 1)
    return (weights / weights.sum(1, keepdim=True)).to(logits.dtype)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
