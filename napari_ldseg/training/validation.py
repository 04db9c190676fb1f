"""Figures on cases that were kept out of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_iou

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Metric
from ..inference.segment import PosteriorSampler, segment
from .data import TrainingCase

REFERENCE_STEPS = 250
SPREAD_RATIO = (0.9, 1.1)
DSC_TOLERANCE = 0.005
CANDIDATE_STEPS = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 75, 100, 150)


def overlap(label: np.ndarray, expert: np.ndarray, classes: int) -> np.ndarray:
    """Return DSC and IoU per foreground class, (2, classes - 1); NaN where the expert has none."""
    ours, theirs = (
        torch.from_numpy(np.arange(1, classes).reshape(-1, *(1,) * label.ndim) == array)[
            None
        ].float()
        for array in (label, expert)
    )
    dice = compute_dice(ours, theirs, include_background=True)
    iou = compute_iou(ours, theirs, include_background=True)
    return torch.cat([dice, iou]).numpy()


def evaluate(
    checkpoint: Checkpoint,
    cases: Sequence[TrainingCase],
    n: int = 1,
    steps: int | None = None,
    device: str = "auto",
) -> np.ndarray:
    """Segment ``cases`` on their own grids; return (cases, 2, classes - 1): DSC and IoU per class."""
    results = []
    for case in cases:
        scan, expert = case.read()
        posterior = segment(checkpoint, scan, n, steps=steps, device=device)
        results.append(overlap(posterior.labels, expert, checkpoint.metadata.architecture.classes))
    return np.array(results)


def measure_posterior_steps(
    checkpoint: Checkpoint, cases: Sequence[TrainingCase], n: int = 32, device: str = "auto"
) -> tuple[int, dict[int, float]]:
    """Return the smallest K whose latent spread is within 10 % of that at K = 250, and all spreads.

    K = 2 is no candidate: there an exact denoiser gives the posterior mean, so any spread is its
    error. That error also explains spreads above the reference at few steps.

    The spread is the SD over ``n`` samples of each latent element, root mean square over elements
    and cases.
    """
    scans = [case.read()[0] for case in cases]

    def spread(steps: int) -> float:
        variances = []
        for scan in scans:
            sampler = PosteriorSampler(checkpoint, scan, steps=steps, device=device)
            latents = sampler.latents(n)
            variances.append(latents.var(dim=0, correction=0).mean().item())
        return float(np.sqrt(np.mean(variances)))

    spreads = {REFERENCE_STEPS: spread(REFERENCE_STEPS)}
    for steps in CANDIDATE_STEPS:
        spreads[steps] = spread(steps)
        if SPREAD_RATIO[0] <= spreads[steps] / spreads[REFERENCE_STEPS] <= SPREAD_RATIO[1]:
            return steps, spreads
    return REFERENCE_STEPS, spreads


def measure_label_steps(
    checkpoint: Checkpoint, cases: Sequence[TrainingCase], device: str = "auto"
) -> int:
    """Return the smallest K whose single-sample mean DSC is within 0.005 of that at K = 50."""
    reference = np.nanmean(evaluate(checkpoint, cases, 1, 50, device)[:, 0])
    for steps in (2, 3, 5, 10, 20):
        if (
            np.nanmean(evaluate(checkpoint, cases, 1, steps, device)[:, 0])
            >= reference - DSC_TOLERANCE
        ):
            return steps
    return 50


def metrics(
    results: np.ndarray, checkpoint: Checkpoint, split: str, n: int, steps: int
) -> tuple[Metric, ...]:
    """Return ``evaluate``'s results as the mean over cases of DSC and IoU per foreground class."""
    names = [c.name for c in checkpoint.metadata.classes][1:]
    means = np.nanmean(results, axis=0)
    return tuple(
        Metric(
            name=figure,
            class_name=name,
            value=round(float(means[row, column]), 4),
            split=split,
            cases=len(results),
            samples=n,
            steps=steps,
        )
        for row, figure in enumerate(("DSC", "IoU"))
        for column, name in enumerate(names)
    )
