"""A small, fast U-Net that segments thin structures at full size: deterministic, in 2D and 3D."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture
from .blocks import ConvBlock, Upsample, conv
from .deterministic import Deterministic


class UNet(Deterministic):
    """U-Net of ``image_widths`` and ``patch``; the other sizes in ``architecture`` are not used."""

    fast_networks = ("unet",)

    def __init__(self, architecture: Architecture, surround: bool = False):
        super().__init__(architecture, _Levels(architecture), surround)


class _Levels(nn.Module):
    """One residual block with batch norms per level on the way down and on the way up.

    Batch norms, because the statistics of a training patch are not those of a complete image.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        dims, widths, self.patch = arch.dims, arch.image_widths, arch.patch
        width, folded = arch.image_channels * self.patch**dims, self.patch**dims
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.enlarge = nn.ModuleList(), nn.ModuleList()
        for level, outputs in enumerate(widths):
            if level:
                self.shrink.append(conv(dims, width, width, stride=2))
            self.down.append(ConvBlock(dims, width, outputs, arch.dropout))
            width = outputs
        for outputs in widths[-2::-1]:
            self.enlarge.append(Upsample(dims, width, outputs))
            self.up.append(ConvBlock(dims, 2 * outputs, outputs, arch.dropout))
            width = outputs
        self.out = conv(dims, width, arch.classes * folded, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, image_channels, *size) to logits (batch, classes, *size)."""
        h = self.down[0](F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        skips = [h]
        for shrink, block in zip(self.shrink, self.down[1:], strict=True):
            h = block(shrink(h))
            skips.append(h)
        skips.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            h = block(torch.cat([enlarge(h), skips.pop()], dim=1))
        out = self.out(h)
        return F.pixel_shuffle(out, self.patch) if self.patch > 1 else out
