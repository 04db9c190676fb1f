"""Applying a checkpoint's calibration to a result; ``evaluation.calibration`` measures it.

The calibration has two parts, both measured on validation cases that were held out from training.

Temperature scaling (Guo et al., arXiv 1706.04599) of the mean probability p over the N samples:
p -> softmax(log p / T), with T > 1 for an overconfident model. It keeps the order of the classes.

Split conformal prediction (Lei et al., JASA 113, 2018) of each class's volume. With m and s the mean
and the scale of the volume over the samples, the interval is m - q s .. m + q s, where the factor q
is the ceil((n + 1) level)-th smallest of the n validation cases' scores |V_expert - m| / s. If a new
case is exchangeable with them (same kind of scans, same readers), its expert's volume is inside the
interval with a probability between level and level + 1 / (n + 1) over the draw of all n + 1 cases, for
any errors of the model. This holds for each class separately, not jointly. Where a patient has several
cases, each counts as a fraction of one (``evaluation.calibration.conformal_factors``), and the
probability for a random case of a new patient is at least level.
"""

from __future__ import annotations

import numpy as np

from ..checkpoint.metadata import MIN_CASES_FOR_INTERVALS, Calibration
from ..utils.text import count_text

SMALLEST_PROBABILITY = 1e-6
SMALLEST_SCALE = 0.02
LEAST_RANK_CORRELATION = 0.5


def apply_temperature(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log p / T) of p (classes, ...), float32; p is clipped to at least 1e-6."""
    logits = np.log(np.maximum(probability, SMALLEST_PROBABILITY)) / np.float32(temperature)
    powers = np.exp(logits - logits.max(0))
    return (powers / powers.sum(0)).astype(np.float32, copy=False)


def volume_scale(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean m and scale s per class of the sample volumes (N, classes), all in voxels.

    s is their SD, but at least 2 % of m and one voxel: samples that agree by chance must not give an
    interval of zero width, or a score that dominates the others.
    """
    mean = voxels.mean(0)
    return mean, np.maximum(voxels.std(0), np.maximum(SMALLEST_SCALE * mean, 1.0))


def volume_interval(voxels: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return the intervals max(m - q s, 0) to m + q s for the factors q, (classes, 2), in voxels."""
    mean, scale = volume_scale(voxels)
    half_width = factors * scale
    return np.stack([np.maximum(mean - half_width, 0), mean + half_width], axis=1)


def reason_not_calibrated(
    calibration: Calibration | None, samples: int, steps: int | None, sampler: str
) -> str | None:
    """Return why ``calibration`` does not apply to such a result, in a few words; None if it does."""
    if calibration is None:
        return "this model has no calibration"
    expected = (calibration.samples, calibration.steps, calibration.sampler)
    actual = (samples, steps, sampler)
    if expected == actual:
        return None
    if expected[:2] == actual[:2]:
        return (
            f"the model was calibrated for the sampler {expected[2]}, this result is of {sampler}"
        )
    return (
        f"the model was calibrated for {count_text(expected[0], 'sample')} with {count_text(expected[1], 'step')}, this result has "
        f"{samples} with {steps}"
    )


def reason_intervals_not_calibrated(calibration: Calibration, frames: int) -> str | None:
    """Return why the volume intervals are not calibrated although ``calibration`` applies; or None."""
    if calibration.volume_factors is None:
        return f"{calibration.cases} validation patients are too few, {MIN_CASES_FOR_INTERVALS} are needed"
    if frames > 1:
        return "the model was calibrated on single images, this result is of several slices"
    return None


def describe_ranking(calibration: Calibration | None) -> str | None:
    """Return why the expected error is no order for a worklist; None if it is one, or that was not measured."""
    ranking = None if calibration is None else calibration.rank_correlation
    if calibration is None or ranking is None or ranking >= LEAST_RANK_CORRELATION:
        return None
    return (
        f"The expected error does not rank cases: its rank correlation with the true error was {ranking:.2f} "
        f"on the cases of {calibration.cases} {calibration.split} patients."
    )


def describe_intervals(calibration: Calibration | None, reason: str | None) -> str:
    """Return the meaning of volume intervals in one sentence; ``reason`` is why they are not calibrated."""
    if calibration is None or reason is not None:
        return f"Not calibrated: {reason}."
    if not calibration.claims_coverage:
        return (
            f"Calibrated, but on {calibration.cases} patients only: the coverage of the intervals is not "
            "known."
        )
    return (
        f"Calibrated: the expert's volume is in the interval for {calibration.level:.0%} of cases like "
        f"those of the {calibration.cases} patients it was measured on."
    )
