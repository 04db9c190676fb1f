"""Building blocks shared by the four networks, in 2D and 3D. Shapes are (batch, channels, *space)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_FEATURES = 64
LANES = 16  # float32 values in a vector register
NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.01  # Keras' defaults; its momentum is 1 - torch's
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def conv(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    padding: int | None = None,
    groups: int = 1,
) -> nn.Module:
    """Return a convolution that keeps the size at stride 1 and halves it (rounding up) at stride 2.

    This holds for the default ``padding`` of kernel // 2 on both sides.
    """
    layer = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    padding = kernel // 2 if padding is None else padding
    return layer(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups)


class GroupNorm(nn.GroupNorm):
    """Group norm with gcd(``groups``, ``channels``) groups."""

    def __init__(self, channels: int, groups: int = 4):
        super().__init__(math.gcd(groups, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, *space)."""
        training = torch.is_grad_enabled() and x.dtype != torch.float32
        if x.device.type != "cpu" or x.ndim < 4 or x.is_contiguous() or not training:
            return super().forward(x)
        # On a CPU the half-precision backward pass is slower channels-last than two layout changes.
        normed = super().forward(x.contiguous())
        return normed.contiguous(memory_format=CHANNELS_LAST[x.ndim - 2])


class ResidualBlock(nn.Module):
    """Norm, SiLU, conv, norm, SiLU, dropout, conv, added to the (projected) input.

    With ``time_features`` a projection of the time embedding shifts the first convolution's output.
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, dropout: float = 0.0, time_features: int = 0
    ):
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(inputs), conv(dims, inputs, outputs)
        self.norm2, self.conv2 = GroupNorm(outputs), conv(dims, outputs, outputs)
        self.time = nn.Linear(time_features, outputs) if time_features else None
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Identity() if inputs == outputs else conv(dims, inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space); ``time`` is (batch, time_features)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None and time is not None:
            h = h + append_axes(self.time(F.silu(time)), h.ndim)
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + self.shortcut(x)


class BatchNorm(nn.Module):
    """Batch norm over all axes but the channels, in 2D and 3D, without torch's integer counter."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channels, *space)."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            NORM_MOMENTUM,
            NORM_EPSILON,
        )


class ConvBlock(nn.Module):
    """Residual block with batch norms after the convolutions and SiLU after the sum."""

    def __init__(self, dims: int, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.conv1, self.norm1 = conv(dims, inputs, outputs), BatchNorm(outputs)
        self.conv2, self.norm2 = conv(dims, outputs, outputs), BatchNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.shortcut, self.shortcut_norm = conv(dims, inputs, outputs, 1), BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space)."""
        h = F.silu(self.norm1(self.conv1(x)))
        h = self.dropout(self.norm2(self.conv2(h)))
        return F.silu(self.shortcut_norm(self.shortcut(x)) + h)


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions, added to its input."""

    def __init__(self, channels: int, heads: int = 4, groups: int = 4):
        super().__init__()
        self.heads = math.gcd(heads, channels)
        self.norm = GroupNorm(channels, groups)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, *space) to the same shape."""
        return x + self.mix(self.norm(x))

    def mix(self, normed: Tensor) -> Tensor:
        """Return what attention adds, for a normalised (batch, channels, *space)."""
        tokens = normed.flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        width, dtype = q.shape[-1], q.dtype
        if q.device.type == "cpu" and width < LANES:
            # Narrower products are slower, and in half precision slower than in float32.
            q, k, v = (F.pad(part.float(), (0, LANES - width)) for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=width**-0.5)[..., :width]
        mixed = mixed.to(dtype).transpose(1, 2).flatten(2)
        return self.out(mixed).transpose(1, 2).reshape(normed.shape)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by two (or to a given size) and a convolution."""

    def __init__(self, dims: int, inputs: int, outputs: int):
        super().__init__()
        self.conv = conv(dims, inputs, outputs)

    def forward(self, x: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *size), by default twice as large."""
        size = size or tuple(2 * n for n in x.shape[2:])
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


def time_embedding(t: Tensor, features: int = TIME_FEATURES) -> Tensor:
    """Return sinusoidal features (batch, features) of the real times ``t`` (batch,)."""
    half = features // 2
    rates = torch.exp(
        -math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / (half - 1)
    )
    angles = t.to(torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def append_axes(x: Tensor, ndim: int) -> Tensor:
    """Append axes of length one until ``x`` has ``ndim`` axes."""
    return x.reshape(*x.shape, *(1,) * (ndim - x.ndim))


def standardise(z: Tensor) -> Tensor:
    """Return each sample of (batch, ...) with mean 0 and SD 1 over all its other axes."""
    axes = tuple(range(1, z.ndim))
    mean = z.mean(dim=axes, keepdim=True)
    return (z - mean) / (z.std(dim=axes, correction=0, keepdim=True) + 1e-5)


def pad_to_stride(x: Tensor, stride: int) -> Tensor:
    """Pad (batch, channels, *size) around its centre to multiples of ``stride`` by repeating the border."""
    pads: list[int] = []
    for n in reversed(x.shape[2:]):
        missing = -n % stride
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads, mode="replicate") if any(pads) else x


def crop_to_size(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Undo ``pad_to_stride``: crop (batch, channels, *padded size) to the central ``size``."""
    for axis, n in enumerate(size, start=2):
        x = x.narrow(axis, (x.shape[axis] - n) // 2, n)
    return x
