"""Faster copies of the networks with the same results, for inference only.

Batch norms are folded into the convolutions before them. An upsampling by two and the convolution
after it become small convolutions of the input, one per phase of the doubled grid. Activations work in
place, memory is channels-last, and encoder and decoder may compute in bfloat16. The full-size stages
run slab by slab, so that an image's activations stay in the cache and a volume's memory is bounded. The
denoiser is not changed.
"""

from __future__ import annotations

import copy
import itertools
import math
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .authors import (
    AuthorsImageEncoder,
    AuthorsLabelDecoder,
    EndPaddedConv,
    ImageBlock,
    TransposedConv,
)
from .base import SegmentationModel
from .blocks import CHANNELS_LAST, NORM_EPSILON, BatchNorm, ConvBlock, Upsample

Model = TypeVar("Model", bound=SegmentationModel)

SLAB_VOXELS = {2: 2**17, 3: 2**21}  # full-size voxels per slab

CONVOLUTION = {2: F.conv2d, 3: F.conv3d}

# Per phase of the doubled grid: the taps on the small grid (rows) as sums of the kernel's three (columns).
# Nearest upsampling, y[2i] = w0 x[i-1] + (w1 + w2) x[i], y[2i+1] = (w0 + w1) x[i] + w2 x[i+1]:
NEAREST_TAPS = (((1, 0, 0), (0, 1, 1)), ((1, 1, 0), (0, 0, 1)))
# Transposed convolution of stride 2, y[2i] = w2 x[i-1] + w0 x[i], y[2i+1] = w1 x[i]:
TRANSPOSED_TAPS = (((0, 0, 1), (1, 0, 0)), ((0, 1, 0),))


def inference_copy(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    """Return a model with the same results as ``model`` up to rounding, for inference only.

    ``dtype`` is the precision of its ``fast_networks``, which still return float32. The other networks are those
    of ``model``, which must be in evaluation mode. The faster networks of a frozen model are cached until its weights change.
    """
    weights = list(itertools.chain(model.parameters(), model.buffers()))
    frozen = not any(w.requires_grad or w.is_inference() for w in weights)
    # An in-place change raises a tensor's version; a replaced tensor has another address.
    state = [(w.data_ptr(), w._version) for w in weights] if frozen else []
    cached, networks = _cache.setdefault(model, {}).get(dtype, (None, {}))
    if not frozen or cached != state:
        networks = _fast_networks(model, dtype)
        if frozen:
            _cache[model][dtype] = (state, networks)
    result = copy.copy(model)
    result._modules = {**model._modules, **networks}
    return result


# The fast networks of frozen models, with the state of the weights they were made from.
_cache: weakref.WeakKeyDictionary[
    SegmentationModel, dict[torch.dtype, tuple[list, dict[str, nn.Module]]]
]
_cache = weakref.WeakKeyDictionary()


def _fast_networks(model: SegmentationModel, dtype: torch.dtype) -> dict[str, nn.Module]:
    _raise_mmap_threshold()
    memory_format = CHANNELS_LAST[model.architecture.dims]
    networks: dict[str, nn.Module] = {}
    for name in model.fast_networks:
        network = _fast_form(copy.deepcopy(getattr(model, name))).requires_grad_(False)
        networks[name] = CastNetwork(network, dtype, memory_format)
    return networks


def _raise_mmap_threshold() -> None:
    """Let glibc reuse up to 62 MiB of freed memory for the next tensors, which saves page faults.

    Freeing a block raises M_MMAP_THRESHOLD (mallopt(3)) to the block's size, at most 32 MiB. The block
    is never touched; with other C libraries this has no effect.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


class CastNetwork(nn.Module):
    """A network that computes in ``dtype`` and ``memory_format`` and returns contiguous float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format):
        super().__init__()
        self.network = network.to(dtype).to(memory_format=memory_format)  # type: ignore[call-overload]
        self.dtype, self.memory_format = dtype, memory_format

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's result, float32."""
        result = self.network(x.to(self.dtype, memory_format=self.memory_format))
        return result.to(torch.float32, memory_format=torch.contiguous_format)


class FoldedBlock(nn.Module):
    """A ``ConvBlock`` whose batch norms are part of its convolutions."""

    def __init__(self, block: ConvBlock):
        super().__init__()
        self.conv1 = fold_batch_norm(block.conv1, block.norm1)
        self.conv2 = fold_batch_norm(block.conv2, block.norm2)
        self.shortcut = fold_batch_norm(block.shortcut, block.shortcut_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space)."""
        h = self.conv2(F.silu(self.conv1(x), inplace=True))
        h += self.shortcut(x)
        return F.silu(h, inplace=True)


class InPlaceImageBlock(nn.Module):
    """An ``ImageBlock`` that overwrites its input; ``local`` is the part without a global norm."""

    def __init__(self, block: ImageBlock):
        super().__init__()
        self.conv1, self.conv2, self.shortcut = block.conv1, block.conv2, block.shortcut
        self.halve: nn.Module = block.halve
        self.norm = block.norm
        if isinstance(block.halve, EndPaddedConv):
            self.halve = HalvingConv(block.halve)

    def local(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space / 2), not yet normalised."""
        h = self.shortcut(x)
        h += self.conv2(F.silu(self.conv1(F.silu(x, inplace=True)), inplace=True))
        return self.halve(F.silu(h, inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space / 2)."""
        h = self.local(x)
        return self.norm(h.contiguous(memory_format=CHANNELS_LAST[h.ndim - 2]))


class HalvingConv(nn.Module):
    """An ``EndPaddedConv`` of kernel 3 and stride 2 without a padded copy of its input.

    Padding by two on both sides gives one more output, the first, which is dropped.
    """

    def __init__(self, padded: EndPaddedConv):
        super().__init__()
        conv: Any = padded[1]
        conv.padding = (2,) * (conv.weight.ndim - 2)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *space / 2)."""
        y = self.conv(x)
        for axis in range(2, y.ndim):
            y = y.narrow(axis, 1, y.shape[axis] - 1)
        return y


class SlabImageEncoder(nn.Module):
    """An ``AuthorsImageEncoder`` that computes its full-size stage in slabs."""

    def __init__(self, encoder: AuthorsImageEncoder):
        super().__init__()
        self.stem: Any = encoder.layers[0]
        self.first: Any = encoder.layers[1]
        self.layers: Any = encoder.layers[2:]
        self.norm = encoder.norm

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, image_channels, *size) to (batch, 1, *latent size)."""

        def full_size(x: Tensor) -> Tensor:
            return self.first.local(self.stem(x))

        # The stem and two convolutions reach three voxels, the strided convolution one more.
        h = in_slabs(full_size, image, halo=4, factor=0.5)
        return self.norm(self.layers(self.first.norm(h)))


class SlabLabelDecoder(nn.Module):
    """An ``AuthorsLabelDecoder`` that computes its full-size stage in slabs; float32 logits."""

    def __init__(self, decoder: AuthorsLabelDecoder):
        super().__init__()
        self.head, self.tail = decoder.layers[:-2], decoder.layers[-2:]
        self.out = fold_batch_norm(decoder.out, decoder.norm)

    def forward(self, z: Tensor) -> Tensor:
        """Map (batch, 1, *cells) to logits (batch, classes, *size), float32."""

        def full_size(h: Tensor) -> Tensor:
            return self.out(F.silu(self.tail(h), inplace=True)).float()

        # The upsampling and two convolutions reach three voxels, two cells of the half-size grid.
        return in_slabs(full_size, self.head(z), halo=2, factor=2)


class PhaseConv(nn.Module):
    """Upsampling by two and convolution in one: one convolution of the input per phase, interleaved.

    ``kernel`` is (outputs, inputs, 3, ...), ``taps`` one of the tables above.
    """

    def __init__(self, kernel: Any, bias: Any, taps: tuple):
        super().__init__()
        dims = kernel.ndim - 2
        self.phases = list(itertools.product((0, 1), repeat=dims))
        kernels = []
        for phase in self.phases:
            part = kernel.double()
            for axis, p in enumerate(phase, start=2):
                rows = torch.tensor(taps[p], dtype=part.dtype)
                part = torch.tensordot(part, rows, dims=([axis], [1])).movedim(-1, axis)
            kernels.append(nn.Parameter(part.float(), requires_grad=False))
        self.kernels = nn.ParameterList(kernels)
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)
        # Two taps are at i-1 and i; if both phases have two, those of the second are at i and i+1.
        self.starts = (0, len(taps[1]) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, *space) to (batch, outputs, *(2 space))."""
        convolve = CONVOLUTION[x.ndim - 2]
        doubled = (len(x), len(self.bias), *(2 * n for n in x.shape[2:]))
        result = torch.empty(
            doubled, dtype=x.dtype, device=x.device, memory_format=CHANNELS_LAST[x.ndim - 2]
        )
        for phase, kernel in zip(self.phases, self.kernels, strict=True):
            part = convolve(x, kernel, self.bias, padding=[k - 1 for k in kernel.shape[2:]])
            for axis, p in enumerate(phase, start=2):
                part = part.narrow(axis, self.starts[p], x.shape[axis])
            at: Any = (..., *(slice(p, None, 2) for p in phase))
            result[at] = part
        return result


def in_slabs(local: Callable[[Tensor], Tensor], x: Tensor, halo: int, factor: float) -> Tensor:
    """Return ``local(x)``, computed in slabs along the longest axis of (batch, channels, *space).

    ``local`` multiplies the size by ``factor`` (2 or 0.5) and depends on at most ``halo`` neighbours of
    each voxel. The result equals ``local(x)`` up to the rounding of other kernels.
    """
    space = x.shape[2:]
    full = math.prod(space) * max(1.0, factor) ** len(space)
    axis = 2 + max(range(len(space)), key=lambda a: space[a])
    length = x.shape[axis]
    step = -(-length // math.ceil(len(x) * full / SLAB_VOXELS[len(space)]))
    step += step % 2
    parts = []
    for start in range(0, length, step):
        stop = min(start + step, length)
        low, high = max(0, start - halo), min(length, stop + halo)
        part = local(x.narrow(axis, low, high - low))
        parts.append(
            part.narrow(axis, int((start - low) * factor), int((stop - start) * factor)).contiguous(
                memory_format=CHANNELS_LAST[len(space)] if factor < 1 else torch.contiguous_format
            )
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def fold_batch_norm(conv: Any, norm: BatchNorm) -> nn.Module:
    """Fold the batch norm that follows ``conv`` into it and return ``conv``."""
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        NORM_EPSILON,
        norm.weight,
        norm.bias,
    )
    return conv.requires_grad_(False)


def _fast_form(module: Any) -> nn.Module:
    """Return ``module`` with every part replaced that has a faster form."""
    if isinstance(module, ConvBlock):
        return FoldedBlock(module)
    if isinstance(module, Upsample):
        return PhaseConv(module.conv.weight, module.conv.bias, NEAREST_TAPS)
    if isinstance(module, TransposedConv):
        return PhaseConv(module.conv.weight.transpose(0, 1), module.conv.bias, TRANSPOSED_TAPS)
    if isinstance(module, ImageBlock):
        return InPlaceImageBlock(module)
    for name, child in module.named_children():
        setattr(module, name, _fast_form(child))
    if isinstance(module, AuthorsImageEncoder):
        return SlabImageEncoder(module)
    if isinstance(module, AuthorsLabelDecoder):
        return SlabLabelDecoder(module)
    return module
