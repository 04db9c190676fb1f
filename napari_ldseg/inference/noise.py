"""Noise that depends on (seed, sample, step) alone: on no batch size, device or order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sample_noise(seed: int, sample: int, shape: tuple[int, ...], step: int = -1) -> Tensor:
    """Return standard normal noise of ``shape``, float32 on the CPU.

    ``step`` -1 is the initial noise z_l(T) of sample number ``sample``; 0 and up are the per-step
    noises of an ancestral sampler. The same field serves every slice of a volume.
    """
    state = np.random.SeedSequence([seed, sample, step + 1]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state))
    return torch.randn(shape, generator=generator)
