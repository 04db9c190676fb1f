"""The noise of samples: one field per sample, the same for every slice, frame and tile of an image."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

BLOCK = 16  # latent cells per axis of the blocks that a large field is made of
FIRST_BLOCK = 2**20  # keeps the numbers of blocks before the image's first cell positive


def sample_noise(seed: int, sample: int, shape: tuple[int, ...], step: int = -1) -> Tensor:
    """Return standard normal noise of ``shape``, float32 on the CPU.

    ``step`` -1 is the initial noise z_l(T) of sample number ``sample``; 0 and up are the steps of an
    ancestral sampler. It is the same for every slice of a volume, and does not depend on batch size,
    device or order.
    """
    return _normal([seed, sample, step + 1], shape)


def field_noise(seed: int, sample: int, start: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Return a part of the initial noise z_l(T) of a large image, float32 on the CPU.

    The field is made block by block, each from (seed, sample, block), so that overlapping parts have the
    same noise where they overlap and no part needs the complete field.

    Parameters
    ----------
    seed, sample
        Of the whole field.
    start
        The first latent cell of the part per axis; it may be negative.
    shape
        (latent_channels, *cells) of the part.
    """
    channels, *cells = shape
    stop = [a + n for a, n in zip(start, cells, strict=True)]
    part = torch.empty(shape)
    numbers = (range(a // BLOCK, -(-b // BLOCK)) for a, b in zip(start, stop, strict=True))
    for block in itertools.product(*numbers):
        key = [seed, sample, 0, *(FIRST_BLOCK + b for b in block)]
        noise = _normal(key, (channels, *(BLOCK,) * len(cells)))
        here, there = [slice(None)], [slice(None)]
        for b, first, last in zip(block, start, stop, strict=True):
            low, high = max(first, b * BLOCK), min(last, (b + 1) * BLOCK)
            here.append(slice(low - first, high - first))
            there.append(slice(low - b * BLOCK, high - b * BLOCK))
        part[tuple(here)] = noise[tuple(there)]
    return part


def _normal(key: list[int], shape: tuple[int, ...]) -> Tensor:
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state))
    return torch.randn(shape, generator=generator)
