"""T&S-FreqAgg: from features over scales and times to a segmentation.

One expert, shared by all times, aggregates the scales; then each pixel weights the times.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks import GroupNorm, append_axes, conv
from .freq_fusion import BilinearFusion, FreqFusion
from .sizes import DiffDGSSSizes


class Interpreter(nn.Module):
    """The expert and the weights over times."""

    def __init__(self, sizes: DiffDGSSSizes):
        super().__init__()
        self.expert = ScaleExpert(sizes)
        self.weighting = TimeWeighting(len(sizes.times), sizes.classes)


class ScaleExpert(nn.Module):
    """Features of one time at three scales to class logits at full size."""

    def __init__(self, sizes: DiffDGSSSizes):
        super().__init__()
        width, count = sizes.expert_width, len(sizes.times)
        self.patch = sizes.patch
        self.enter = nn.ModuleList(
            _LevelEntry(inputs, width, count, sizes.dropout) for inputs in sizes.feature_widths
        )
        steps = len(sizes.feature_widths) - 1
        self.fuse = nn.ModuleList(
            FreqFusion(width, sizes.kernel_width) if sizes.frequency_aware else BilinearFusion()
            for _ in range(steps)
        )
        self.refine = nn.ModuleList(_RefineBlock(width, sizes.dropout) for _ in range(steps))
        self.norm = GroupNorm(width)
        self.out = conv(2, width, sizes.classes * sizes.patch**2, 1)

    def forward(self, features: list[Tensor], k: Tensor) -> Tensor:
        """Map features, coarse to fine, to logits (batch, classes, *size), float32.

        ``k`` (batch,) is the index of each sample's time among the K times.
        """
        levels = [enter(f, k) for enter, f in zip(self.enter, features, strict=True)]
        h = levels[0]
        for fuse, refine, fine in zip(self.fuse, self.refine, levels[1:], strict=True):
            h = refine(fuse(h, fine))
        return F.pixel_shuffle(self.out(F.relu(self.norm(h))).float(), self.patch)


class TimeWeighting(nn.Module):
    """Per pixel weights of the K times, from all their logits; equal weights before training."""

    def __init__(self, times: int, classes: int):
        super().__init__()
        self.weigh = conv(2, times * classes, times, 1)
        for weights in self.weigh.parameters():
            nn.init.zeros_(weights)

    def forward(self, logits: Tensor) -> Tensor:
        """Map (batch, K, classes, *size) to the weighted sum (batch, classes, *size)."""
        weights = self.weigh(logits.flatten(1, 2)).softmax(1)
        return (weights[:, :, None] * logits).sum(1)


class TimeNorm(nn.Module):
    """Group norm with a gain 1 + W onehot(t) and a bias V onehot(t).

    Not batch norm: running statistics over several times would fit none of them.
    """

    def __init__(self, channels: int, times: int):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.gain, self.bias = nn.Embedding(times, channels), nn.Embedding(times, channels)
        for table in (self.gain, self.bias):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """Normalise (batch, channels, h, w) for the times with the indices ``k`` (batch,)."""
        gain, bias = (append_axes(table(k), x.ndim) for table in (self.gain, self.bias))
        return self.norm(x) * (1 + gain) + bias


class _LevelEntry(nn.Module):
    """Depthwise 3 x 3, time norm, ReLU, channel dropout, 1 x 1."""

    def __init__(self, inputs: int, outputs: int, times: int, dropout: float):
        super().__init__()
        self.depthwise = conv(2, inputs, inputs, groups=inputs)
        self.norm = TimeNorm(inputs, times)
        self.dropout = nn.Dropout2d(dropout)
        self.project = conv(2, inputs, outputs, 1)

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        return self.project(self.dropout(F.relu(self.norm(self.depthwise(x), k))))


class _RefineBlock(nn.Module):
    """Norm, ReLU, 3 x 3 twice, added to the input; dropped as a whole per sample (drop path)."""

    def __init__(self, width: int, drop: float):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(width), conv(2, width, width)
        self.norm2, self.conv2 = GroupNorm(width), conv(2, width, width)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        if self.training and self.drop:
            keep = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            h = h * keep / (1 - self.drop)
        return x + h
