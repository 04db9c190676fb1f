"""The image diffusion network: a U-Net with a time. Shapes are (batch, channels, height, width)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import (
    TIME_FEATURES,
    GroupNorm,
    SelfAttention,
    append_axes,
    conv,
    time_embedding,
)
from .sizes import LEVELS, DiffDGSSSizes

DIMS = 2


class ImageUNet(nn.Module):
    """U-Net of images and times: predicts the clean image x_0 from a noised one x_t, both in [-1, 1].

    With ``outputs`` classes instead of image channels and without times it is the plain segmentation
    network that DiffDGSS is compared with.
    """

    def __init__(self, sizes: DiffDGSSSizes, outputs: int | None = None):
        super().__init__()
        self.patch, cell = sizes.patch, sizes.patch**2
        widths = sizes.widths
        self.time = nn.Sequential(
            nn.Linear(TIME_FEATURES, TIME_FEATURES),
            nn.SiLU(),
            nn.Linear(TIME_FEATURES, TIME_FEATURES),
        )
        self.stem = conv(DIMS, sizes.image_channels * cell, widths[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], []
        for level, outgoing in enumerate(widths):
            for _ in range(sizes.blocks):
                self.down.append(_TimedBlock(width, outgoing, level in sizes.attention))
                width = outgoing
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(conv(DIMS, width, width, stride=2))
        self.middle = _TimedBlock(width, width, len(widths) - 1 in sizes.attention)
        for level, outgoing in reversed(list(enumerate(widths))):
            if level < len(widths) - 1:
                self.up.append(nn.Upsample(scale_factor=2))
            for _ in range(sizes.blocks):
                self.up.append(_TimedBlock(width + skips.pop(), outgoing, level in sizes.attention))
                width = outgoing
        self.norm = GroupNorm(width)
        self.out = conv(DIMS, width, (outputs or sizes.image_channels) * cell)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map (batch, image channels, *size) and times (batch,) to (batch, outputs, *size), float32."""
        return self.run(x, t)[0]

    def features(self, x: Tensor, t: Tensor) -> list[Tensor]:
        """Return the outputs of the decoder's last three levels, from coarse to fine, each level's blocks
        concatenated: (batch, ``feature_widths``, *size / (4, 2 or 1 times the patch)).
        """
        return self.run(x, t)[1]

    def run(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return ``forward`` and ``features`` of one pass; ``size`` must divide by the stride."""
        time = F.silu(self.time(time_embedding(t)))
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips: list[Tensor] = []
        for layer in self.down:
            h = layer(h, time) if isinstance(layer, _TimedBlock) else layer(h)
            if isinstance(layer, _TimedBlock):
                skips.append(h)
        h = self.middle(h, time)
        levels: list[list[Tensor]] = [[]]
        for layer in self.up:
            if isinstance(layer, _TimedBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), time)
                levels[-1].append(h)
            else:
                h = layer(h)
                levels.append([])
        out = self.out(F.silu(self.norm(h))).float()
        return F.pixel_shuffle(out, self.patch), [torch.cat(b, 1) for b in levels[-LEVELS:]]


class _TimedBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the time (Dhariwal and Nichol)."""

    def __init__(self, inputs: int, outputs: int, attend: bool):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(inputs), conv(DIMS, inputs, outputs)
        self.time = nn.Linear(TIME_FEATURES, 2 * outputs)
        self.norm2, self.conv2 = GroupNorm(outputs), conv(DIMS, outputs, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else conv(DIMS, inputs, outputs, 1)
        self.attention = SelfAttention(outputs) if attend else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = append_axes(self.time(time), h.ndim).chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.attention(h + self.shortcut(x))
