"""Measuring the number of sampling steps that a checkpoint needs, on held-out cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..checkpoint.file import Checkpoint
from ..datasets.case import Case
from ..inference.sampler import PosteriorSampler
from .overlap import evaluate

REFERENCE_STEPS = 250
SPREAD_RATIO = (0.9, 1.1)
DSC_TOLERANCE = 0.005
CANDIDATE_STEPS = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 75, 100, 150)


def measure_posterior_steps(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    n: int = 32,
    device: str = "auto",
    on_case: Callable[[], None] = lambda: None,
) -> tuple[int, dict[int, float]]:
    """Return the smallest K whose latent spread is within 10 % of that at K = 250, and all spreads.

    K = 2 is not a candidate: an exact denoiser then returns the posterior mean, so any spread is an
    error of the denoiser. This error also explains spreads above the reference at few steps.

    The spread is the SD over ``n`` samples of each latent element, root mean square over elements
    and cases. ``on_case`` is called after every case and K.
    """
    scans = [case.read()[0] for case in cases]

    def spread(steps: int) -> float:
        variances = []
        for scan in scans:
            sampler = PosteriorSampler(checkpoint, scan, steps=steps, device=device)
            latents = sampler.latents(n)
            variances.append(latents.var(dim=0, correction=0).mean().item())
            on_case()
        return float(np.sqrt(np.mean(variances)))

    spreads = {REFERENCE_STEPS: spread(REFERENCE_STEPS)}
    for steps in CANDIDATE_STEPS:
        spreads[steps] = spread(steps)
        if SPREAD_RATIO[0] <= spreads[steps] / spreads[REFERENCE_STEPS] <= SPREAD_RATIO[1]:
            return steps, spreads
    return REFERENCE_STEPS, spreads


def measure_label_steps(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    device: str = "auto",
    on_case: Callable[[], None] = lambda: None,
) -> int:
    """Return the smallest K whose mean DSC of one sample is at most 0.005 below that at K = 50.

    50 if neither expert nor model has any structure. ``on_case`` is called after every segmentation.
    """

    def mean_dsc(steps: int) -> float:
        found = evaluate(checkpoint, cases, 1, steps, device, on_case)[:, 0]
        return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else math.nan

    reference = mean_dsc(50)
    if math.isnan(reference):
        return 50
    for steps in (2, 3, 5, 10, 20):
        if mean_dsc(steps) >= reference - DSC_TOLERANCE:
            return steps
    return 50
