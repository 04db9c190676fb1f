"""The four networks of LDSeg. Shapes are (batch, channels, *space); sizes divide by the stride."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from .architecture import Architecture
from .blocks import (
    TIME_FEATURES,
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    Upsample,
    conv,
    standardise,
    time_embedding,
)

AVERAGE = {2: F.avg_pool2d, 3: F.avg_pool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
TRUNCATION = 8  # cells, of signed distances


class LabelEncoder(nn.Module):
    """f_le: one-hot label (batch, classes, *size) to the standardised embedding z_l(0)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.stride = arch.label_stride
        self.pyramid = _pyramid(arch.dims, arch.classes, arch.label_widths, arch.dropout)
        self.out = conv(arch.dims, arch.label_widths[-1], arch.latent_channels, 1)

    def forward(self, label: Tensor) -> Tensor:
        """Return (batch, latent_channels, *latent size) with mean 0 and SD 1 per sample."""
        if self.stride > 1:
            label = AVERAGE[label.ndim - 2](label, self.stride)
        return standardise(self.out(self.pyramid(label)).float())


class NearestLabel(nn.Module):
    """The ablation's f_le: the label at the centre of each latent cell, standardised."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.stride, self.one_hot = arch.stride, arch.latent_channels > 1

    def forward(self, label: Tensor) -> Tensor:
        """Return (batch, latent_channels, *latent size): one-hot, or the integer label as one channel."""
        cells = _cell_centres(label, self.stride)
        return standardise(cells.float() if self.one_hot else integer_label(cells))


class SignedDistanceLabel(nn.Module):
    """f_le without weights: each class's signed distance to its boundary, as SDF-DDPM has, standardised."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.stride = arch.stride

    def forward(self, label: Tensor) -> Tensor:
        """Return (batch, classes, *latent size) with mean 0 and SD 1 per sample; without a gradient."""
        cells = _cell_centres(label, self.stride)
        values = integer_label(cells)[:, 0].cpu().numpy()
        maps = np.array([signed_distances(value, label.shape[1]) for value in values])
        return standardise(torch.from_numpy(maps).to(label.device))


class NearestImage(nn.Module):
    """The ablation's f_ie: the image at the centre of each latent cell."""

    def __init__(self, arch: Architecture):
        super().__init__()
        self.stride = arch.stride

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, image_channels, *latent size)."""
        return _cell_centres(image, self.stride)


class LabelDecoder(nn.Module):
    """f_ld: latent to class logits at full size (softmax gives the probabilities)."""

    def __init__(self, arch: Architecture):
        super().__init__()
        widths = arch.label_widths[::-1]
        self.stride = arch.label_stride
        layers = [conv(arch.dims, arch.latent_channels, widths[0])]
        layers.append(ResidualBlock(arch.dims, widths[0], widths[0], arch.dropout))
        for wide, narrow in pairwise(widths):
            layers.append(Upsample(arch.dims, wide, narrow))
            layers.append(ResidualBlock(arch.dims, narrow, narrow, arch.dropout))
        self.layers = nn.Sequential(*layers)
        self.norm = GroupNorm(widths[-1])
        self.out = conv(arch.dims, widths[-1], arch.classes, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (batch, classes, *size), size = stride times the latent's."""
        logits = self.out(F.silu(self.norm(self.layers(z)))).float()
        if self.stride == 1:
            return logits
        # With few channels, interpolation is several times faster in the contiguous layout.
        return F.interpolate(logits.contiguous(), scale_factor=self.stride, mode=LINEAR[z.ndim - 2])


class ImageEncoder(nn.Module):
    """f_ie: the source image (batch, image_channels, *size) to the image embedding z_i."""

    def __init__(self, arch: Architecture):
        super().__init__()
        width = arch.image_widths[-1]
        self.pyramid = _pyramid(arch.dims, arch.image_channels, arch.image_widths, arch.dropout)
        self.attention = SelfAttention(width) if arch.image_attention else nn.Identity()
        self.norm = GroupNorm(width)
        self.out = conv(arch.dims, width, arch.embedding_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, embedding_channels, *latent size)."""
        return self.out(F.silu(self.norm(self.attention(self.pyramid(image)))))


class Denoiser(nn.Module):
    """f_d: a U-Net over the latent with z_l(t) and z_i concatenated, and the time t."""

    def __init__(self, arch: Architecture):
        super().__init__()
        dims, widths = arch.dims, arch.denoiser_widths
        self.time = nn.Sequential(
            nn.Linear(TIME_FEATURES, TIME_FEATURES),
            nn.SiLU(),
            nn.Linear(TIME_FEATURES, TIME_FEATURES),
        )
        self.stem = conv(dims, arch.latent_channels + arch.embedding_channels, widths[0])
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        skips = []
        width = widths[0]
        for level, outputs in enumerate(widths):
            attend = level in arch.denoiser_attention
            for _ in range(arch.denoiser_blocks):
                self.down.append(_DenoiserBlock(dims, width, outputs, attend, arch.dropout))
                width = outputs
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(conv(dims, width, width, stride=2))
        self.middle = _DenoiserBlock(dims, width, width, True, arch.dropout)
        for level, outputs in reversed(list(enumerate(widths))):
            attend = level in arch.denoiser_attention
            if level < len(widths) - 1:
                self.up.append(Upsample(dims, width, width))
            for _ in range(arch.denoiser_blocks):
                inputs = width + skips.pop()
                self.up.append(_DenoiserBlock(dims, inputs, outputs, attend, arch.dropout))
                width = outputs
        self.norm = GroupNorm(width)
        self.out = conv(dims, width, arch.latent_channels)

    def forward(self, z: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        """Return the prediction, shaped like ``z``; ``t`` is (batch,) with real times 0..T-1."""
        time = self.time(time_embedding(t))
        h = self.stem(torch.cat([z, z_i], dim=1))
        skips = []
        for layer in self.down:
            if isinstance(layer, _DenoiserBlock):
                h = layer(h, time)
                skips.append(h)
            else:
                h = layer(h)
        h = self.middle(h, time)
        for layer in self.up:
            if isinstance(layer, _DenoiserBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), time)
            else:
                h = layer(h, skips[-1].shape[2:])
        return self.out(F.silu(self.norm(h))).float()


class _DenoiserBlock(nn.Module):
    def __init__(self, dims: int, inputs: int, outputs: int, attend: bool, dropout: float):
        super().__init__()
        self.residual = ResidualBlock(dims, inputs, outputs, dropout, TIME_FEATURES)
        self.attention = SelfAttention(outputs) if attend else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return self.attention(self.residual(x, time))


def _pyramid(dims: int, inputs: int, widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """One residual block per level, halved in between by a strided convolution."""
    layers = [conv(dims, inputs, widths[0]), ResidualBlock(dims, widths[0], widths[0], dropout)]
    for narrow, wide in pairwise(widths):
        layers.append(conv(dims, narrow, wide, stride=2))
        layers.append(ResidualBlock(dims, wide, wide, dropout))
    return nn.Sequential(*layers)


def integer_label(one_hot: Tensor) -> Tensor:
    """Return the label values of (batch, classes, *size) as one float channel (batch, 1, *size)."""
    return one_hot.argmax(1, keepdim=True).float()


def signed_distances(label: np.ndarray, classes: int) -> np.ndarray:
    """Return the distance to each class's boundary, float32 (classes, *space) in [-1, 1].

    The boundary is half way between a cell of the class and its nearest neighbour of another one. Distances are
    Euclidean in cells, positive inside, truncated at ``TRUNCATION`` cells and divided by it. A class that
    ``label`` (*space) lacks is -1 everywhere, one that fills it is 1.
    """
    maps = np.empty((classes, *label.shape), np.float32)
    for value in range(classes):
        inside = label == value
        if inside.all() or not inside.any():
            maps[value] = 1 if inside.all() else -1
            continue
        # One of the two is 0 everywhere; the centres of neighbours across the boundary are 1/2 from it.
        distance = distance_transform_edt(inside) - distance_transform_edt(~inside)
        maps[value] = np.clip((distance - np.sign(distance) / 2) / TRUNCATION, -1, 1)
    return maps


def _cell_centres(x: Tensor, stride: int) -> Tensor:
    """Return (batch, channels, *space) at the centres of cells of ``stride`` pixels per axis."""
    space = (slice(stride // 2, None, stride),) * (x.ndim - 2)
    return x[(slice(None), slice(None), *space)]
