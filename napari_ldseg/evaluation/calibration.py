"""Measuring a checkpoint's calibration on held-out cases.

``inference.calibration`` has the equations and their guarantees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import (
    MIN_CASES_FOR_COVERAGE,
    MIN_CASES_FOR_INTERVALS,
    Calibration,
)
from ..datasets.case import Case
from ..errors import LDSegError
from ..inference.calibration import SMALLEST_PROBABILITY, volume_scale
from ..inference.segment import segment
from .bootstrap import spearman
from .overlap import mean_dsc
from .uncertainty import near_boundary

LEVEL = 0.95
MAX_VOXELS_PER_CASE = 50_000
TEMPERATURES = (0.1, 10.0)
FOLDS = 5
STANDARD_ERRORS = 2

# Mean probabilities (classes, voxels) near the predicted boundary of a case, and the expert's labels (voxels,).
BoundaryVoxels = tuple[np.ndarray, np.ndarray]


def measure_calibration(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    n: int = 10,
    steps: int | None = None,
    device: str = "auto",
    split: str = "validation",
    on_case: Callable[[], None] = lambda: None,
) -> Calibration:
    """Return the calibration of results with ``n`` samples and ``steps`` steps.

    All cases take part, and each patient counts once, however many cases it has: patients are
    independent, their cases are not. Each case is sampled with a different seed, so that the factors do
    not depend on one noise.

    Parameters
    ----------
    checkpoint
        Trained, with its ``posterior_steps``.
    cases
        Held out from training, like the images that the model is meant for. With fewer than 19 patients
        there are no volume factors: the 95 % quantile of n scores exists only for n >= 19.
    n
        Samples per case; the calibration applies to results with the same number.
    steps
        By default the checkpoint's ``posterior_steps``, or ``label_steps`` for one sample.
    device
        As in ``segment``.
    split
        Name of the cases' split, for the metadata.
    on_case
        Called after every case.

    Raises
    ------
    LDSegError
        If there are no cases, or one cannot be read.
    """
    if not cases:
        raise LDSegError(
            "There are no validation cases to calibrate on; hold out some of the training cases."
        )
    classes = checkpoint.metadata.architecture.classes
    near: dict[str, list[BoundaryVoxels]] = {}
    scores: dict[str, list[np.ndarray]] = {}
    expected, true = [], []
    for seed, case in enumerate(cases):
        scan, expert = case.read()
        posterior = segment(checkpoint, scan, n, seed=seed, steps=steps, device=device)
        band = near_boundary(posterior.labels)
        voxels = _subsample(posterior.mean_probability[:, band], expert[band])
        near.setdefault(case.patient, []).append(voxels)
        mean, scale = volume_scale(posterior.voxel_counts())
        volume = np.bincount(expert.ravel().astype(np.int64), minlength=classes)
        scores.setdefault(case.patient, []).append((np.abs(volume - mean) / scale)[1:])
        expected.append(posterior.expected_error())
        true.append(1 - mean_dsc(posterior.labels, expert, classes))
        on_case()
    ranking = None
    if len(scores) >= MIN_CASES_FOR_COVERAGE and np.ptp(expected) > 0 and np.ptp(true) > 0:
        ranking = round(spearman(np.array(expected), np.array(true)), 3)
    factors = conformal_factors([np.array(owned) for owned in scores.values()], LEVEL)
    return Calibration(
        samples=n,
        steps=posterior.provenance["steps"],
        sampler=posterior.provenance["sampler"],
        split=split,
        cases=len(scores),
        temperature=round(validated_temperature([_joined(owned) for owned in near.values()]), 4),
        level=LEVEL,
        volume_factors=None if factors is None else tuple(float(q) for q in factors),
        rank_correlation=ranking,
    )


def validated_temperature(near: Sequence[BoundaryVoxels]) -> float:
    """Return ``fit_temperature(near)`` if it passes cross-validation, else 1.

    Each fifth of the patients is evaluated with the temperature of the others: the mean gain in negative
    log likelihood must be more than two standard errors. This avoids overfitting to few patients.
    """
    near = [(p, label) for p, label in near if label.size]
    gains = []
    for fold in range(min(FOLDS, len(near))):
        others = [case for i, case in enumerate(near) if i % FOLDS != fold]
        temperature = fit_temperature(others)
        for p, label in near[fold::FOLDS]:
            logs, label = _logs(p, label)
            gains.append(_loss(logs, label, 1.0) - _loss(logs, label, 1 / temperature))
    if len(gains) < 2:
        return 1.0
    error = np.std(gains, ddof=1) / math.sqrt(len(gains))
    return fit_temperature(near) if np.mean(gains) > STANDARD_ERRORS * error else 1.0


def fit_temperature(near: Sequence[BoundaryVoxels]) -> float:
    """Return T in 0.1..10 with the least negative log likelihood of the experts' labels.

    Only voxels near the predicted boundary are used: the many voxels far from it are nearly all certain
    and correct and would dominate. The band depends on the prediction only, so T applies to a new case
    without its label. Every patient has the same weight. The sum is convex in 1 / T, so there is one
    minimum.
    """
    cases = [_logs(p, label) for p, label in near if label.size]
    if not cases:
        return 1.0

    def loss(log_temperature: float) -> float:
        inverse = math.exp(-log_temperature)
        return float(np.mean([_loss(logs, label, inverse) for logs, label in cases]))

    low, high = TEMPERATURES
    found = minimize_scalar(loss, bounds=(math.log(low), math.log(high)), method="bounded")
    return float(np.clip(math.exp(found.x), low, high))


def _logs(probability: np.ndarray, label: np.ndarray) -> BoundaryVoxels:
    """Return log p (classes, voxels), float64, and the labels as indices."""
    logs = np.log(np.maximum(probability, SMALLEST_PROBABILITY)).astype(np.float64)
    return logs, label.astype(np.int64)


def _loss(logs: np.ndarray, label: np.ndarray, inverse: float) -> float:
    """Return the mean negative log likelihood of ``label`` at the temperature 1 / ``inverse``."""
    chosen = logs[label, np.arange(label.size)]
    return float((logsumexp(inverse * logs, axis=0) - inverse * chosen).mean())


def conformal_factors(scores: Sequence[np.ndarray], level: float) -> np.ndarray | None:
    """Return the factor of each class from the ``scores`` (cases, classes) of each of n patients.

    The smallest score q so that the weights of all scores up to q are at least (n + 1) level, where each
    of a patient's scores has the weight 1 / (its number of cases): hierarchical conformal prediction (Lee,
    Barber and Willett, arXiv 2306.06342). With one case per patient, the ceil((n + 1) level)-th smallest.

    None below 19 patients, or if (n + 1) level > n.
    """
    n = len(scores)
    needed = round((n + 1) * level, 9)
    if n < MIN_CASES_FOR_INTERVALS or needed > n:
        return None
    values = np.concatenate(scores)
    weights = np.concatenate([np.full(len(owned), 1 / len(owned)) for owned in scores])
    order = np.argsort(values, axis=0)
    reached = np.cumsum(weights[order], axis=0).round(9) >= needed
    return np.take_along_axis(values, order, 0)[reached.argmax(0), range(values.shape[1])]


def _joined(owned: Sequence[BoundaryVoxels]) -> BoundaryVoxels:
    """Return the voxels of all cases of a patient."""
    probabilities, labels = zip(*owned, strict=True)
    return np.concatenate(probabilities, axis=1), np.concatenate(labels)


def _subsample(probability: np.ndarray, label: np.ndarray) -> BoundaryVoxels:
    """Return at most 50,000 voxels, evenly spread over the band."""
    step = -(-label.size // MAX_VOXELS_PER_CASE) or 1
    return probability[:, ::step].copy(), label[::step].copy()
