"""The networks of the authors' code, built from the project's blocks.

They differ from the paper's text and between 2D and 3D; all their peculiarities are in this file.
Shapes are (batch, channels, *space). Every norm has Keras' epsilon of 1e-3.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture
from .authors_sizes import CONV_GROUPS, HEADS, check_authors
from .blocks import (
    NORM_EPSILON,
    BatchNorm,
    ConvBlock,
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    Upsample,
    conv,
    time_embedding,
)
from .ldseg import Networks
from .networks import integer_label


def authors_networks(arch: Architecture, size: tuple[int, ...]) -> Networks:
    """Return the untrained networks for images of ``size`` (*space); they accept no other size.

    Raises
    ------
    ValueError
        If the authors' code could not build them.
    """
    check_authors(arch, size)
    networks = Networks(
        AuthorsLabelEncoder(arch, arch.latent_shape(size)),
        AuthorsLabelDecoder(arch),
        AuthorsImageEncoder(arch),
        AuthorsDenoiser(arch),
    )
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, GroupNorm):
                layer.eps = NORM_EPSILON
    return networks


class NormedSkipAttention(SelfAttention):
    """Single-head attention whose residual adds the normalised input, not the raw one."""

    def __init__(self, channels: int):
        super().__init__(channels, heads=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, *space) to the same shape."""
        normed = self.norm(x)
        return normed + self.mix(normed)


class ImageBlock(nn.Module):
    """Residual block of the image encoder that halves the size."""

    def __init__(self, dims: int, inputs: int, outputs: int, dropout: float):
        super().__init__()
        groups = 1 if dims == 2 else CONV_GROUPS
        self.shortcut = conv(dims, inputs, outputs, 1)
        self.conv1 = conv(dims, inputs, outputs, groups=groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv(dims, outputs, outputs, groups=groups)
        self.halve = EndPaddedConv(dims, outputs, outputs, 3, 2) if dims == 2 else nn.MaxPool3d(2)
        self.norm = GroupNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space / 2)."""
        h = F.silu(self.dropout(self.conv1(F.silu(x))))
        return self.norm(self.halve(F.silu(self.conv2(h) + self.shortcut(x))))


class AuthorsLabelEncoder(nn.Module):
    """f_le: takes the integer label as one float channel; layer norm over the whole latent."""

    def __init__(self, arch: Architecture, latent_shape: tuple[int, ...]):
        super().__init__()
        dims, widths = arch.dims, arch.label_widths
        self.size = tuple(n * arch.stride for n in latent_shape[1:])
        layers: list[nn.Module] = [ConvBlock(dims, 1, widths[0], arch.dropout)]
        for narrow, wide in pairwise(widths):
            layers.append(
                nn.MaxPool2d(2) if dims == 2 else EndPaddedConv(dims, narrow, narrow, 3, 2)
            )
            layers.append(ConvBlock(dims, narrow, wide, arch.dropout))
        self.pyramid = nn.Sequential(*layers)
        width = widths[-1]
        self.out = conv(dims, width, 1, 1) if dims == 2 else EndPaddedConv(dims, width, 1, 2, 1)
        self.norm = nn.LayerNorm(latent_shape, eps=NORM_EPSILON)

    def forward(self, label: Tensor) -> Tensor:
        """Map a one-hot label (batch, classes, *size) to z_l(0) (batch, 1, *latent size)."""
        if tuple(label.shape[2:]) != self.size:
            raise ValueError(f"the label's size must be {self.size}, not {tuple(label.shape[2:])}")
        values = integer_label(label).to(label.dtype)
        return self.norm(self.out(self.pyramid(values)).float())


class AuthorsLabelDecoder(nn.Module):
    """f_ld: latent to class logits; the authors' decoder returns their softmax."""

    def __init__(self, arch: Architecture):
        super().__init__()
        upsample = TransposedConv if arch.dims == 2 else Upsample
        layers: list[nn.Module] = []
        for inputs, width in pairwise((1, *arch.label_widths[:0:-1])):
            layers.append(upsample(arch.dims, inputs, width))
            layers.append(ConvBlock(arch.dims, width, width, arch.dropout))
        self.layers = nn.Sequential(*layers)
        self.out = conv(arch.dims, arch.label_widths[1], arch.classes, 1)
        self.norm = BatchNorm(arch.classes)

    def forward(self, z: Tensor) -> Tensor:
        """Map (batch, 1, *cells) to logits (batch, classes, *size), float32."""
        return self.norm(self.out(F.silu(self.layers(z)))).float()


class AuthorsImageEncoder(nn.Module):
    """f_ie: image to z_i, with attention in 2D and without in 3D."""

    def __init__(self, arch: Architecture):
        super().__init__()
        dims, widths = arch.dims, arch.image_widths
        layers: list[nn.Module] = [conv(dims, arch.image_channels, widths[0])]
        layers += [ImageBlock(dims, *pair, arch.dropout) for pair in pairwise(widths)]
        if dims == 2:
            layers.insert(-1, SelfAttention(widths[-2], HEADS, HEADS))
            layers.append(SelfAttention(widths[-1], HEADS, HEADS))
            layers += [conv(dims, widths[-1], 1, 1), SelfAttention(1, 1, 1), nn.SiLU()]
        else:
            layers.append(conv(dims, widths[-1], 1))
        self.layers = nn.Sequential(*layers)
        self.norm = BatchNorm(1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, image_channels, *size) to (batch, 1, *latent size)."""
        return self.norm(self.layers(image))


class AuthorsDenoiser(nn.Module):
    """f_d: a U-Net. In 2D the stem and the down-samplings have skip connections too."""

    def __init__(self, arch: Architecture):
        super().__init__()
        dims, widths = arch.dims, arch.denoiser_widths
        self.features = 4 * widths[0]
        self.every_skip = dims == 2
        self.time = nn.Sequential(
            nn.Linear(self.features, self.features),
            nn.SiLU(),
            nn.Linear(self.features, self.features),
        )
        self.stem = conv(dims, 2, widths[0])
        width, skips = widths[0], [widths[0]] * self.every_skip
        self.down = nn.ModuleList()
        for level, outputs in enumerate(widths):
            for _ in range(arch.denoiser_blocks):
                self.down.append(ResidualBlock(dims, width, outputs, 0, self.features))
                if level in arch.denoiser_attention:
                    self.down.append(NormedSkipAttention(outputs))
                width = outputs
                skips.append(width)
            if level < len(widths) - 1:
                self.down.append(EndPaddedConv(dims, width, width, 3, 2))
                skips += [width] * self.every_skip
        self.middle = nn.ModuleList(
            [
                ResidualBlock(dims, width, width, 0, self.features),
                NormedSkipAttention(width),
                ResidualBlock(dims, width, width, 0, self.features),
            ]
        )
        self.up = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(widths))):
            for _ in range(arch.denoiser_blocks + self.every_skip):
                inputs = width + skips.pop()
                self.up.append(ResidualBlock(dims, inputs, outputs, 0, self.features))
                if level in arch.denoiser_attention:
                    self.up.append(NormedSkipAttention(outputs))
                width = outputs
            if level > 0:
                self.up.append(Upsample(dims, width, width))
        self.norm = GroupNorm(width)
        self.out = conv(dims, width, 1)

    def forward(self, z: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        """Return the predicted noise, shaped like ``z``; ``t`` is (batch,) with real times 0..T-1."""
        time = self.time(time_embedding(t, self.features).to(z.dtype))
        h = self.stem(torch.cat([z, z_i], dim=1))
        skips = [h] if self.every_skip else []
        for layer in self.down:
            if isinstance(layer, NormedSkipAttention):
                h = skips[-1] = layer(h)
                continue
            h = layer(h, time) if isinstance(layer, ResidualBlock) else layer(h)
            if isinstance(layer, ResidualBlock) or self.every_skip:
                skips.append(h)
        for layer in self.middle:
            h = layer(h, time) if isinstance(layer, ResidualBlock) else layer(h)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                h = layer(torch.cat([h, skips.pop()], dim=1), time)
            else:
                h = layer(h)
        return self.out(F.silu(self.norm(h))).float()


class TransposedConv(nn.Module):
    """Transposed convolution that doubles the size as TensorFlow does, without the last row and column."""

    def __init__(self, dims: int, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, y, x) to (batch, outputs, 2 y, 2 x)."""
        return self.conv(x)[..., :-1, :-1]


class EndPaddedConv(nn.Sequential):
    """A convolution padded at the end of each axis only: TensorFlow's "same" for an odd padding."""

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int, stride: int):
        pad = nn.ZeroPad2d((0, 1, 0, 1)) if dims == 2 else nn.ZeroPad3d((0, 1, 0, 1, 0, 1))
        super().__init__(pad, conv(dims, inputs, outputs, kernel, stride=stride, padding=0))
