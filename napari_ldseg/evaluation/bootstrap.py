"""Means over cases with bootstrap intervals by patient, because cases of one patient are dependent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (None below two patients) and what it was measured on."""

    value: float
    low: float | None
    high: float | None
    cases: int
    patients: int


def patient_weights(patients: Sequence[str], seed: int = 0) -> np.ndarray:
    """Return the weight of each case in each of 2000 bootstrap samples, int (2000, cases).

    Every sample draws as many patients as there are, with replacement, with all their cases.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
    )
    return draws[:, index]


def mean_by_patient(
    values: Sequence[float], patients: Sequence[str], seed: int = 0
) -> Estimate | None:
    """Return the mean over the cases with a value (not NaN); None if there are none.

    The interval is that of the percentile bootstrap over patients (Efron and Tibshirani 1993, chapter 13).
    """
    array = np.asarray(values, dtype=float)
    valid = np.isfinite(array)
    array, owners = array[valid], np.asarray(patients)[valid]
    if not array.size:
        return None
    number = len(set(owners.tolist()))
    low, high = None, None
    if number > 1:
        weights = patient_weights(owners.tolist(), seed)
        low, high = interval(weights @ array / weights.sum(1))
    return Estimate(float(array.mean()), low, high, len(array), number)


def rank_correlation_by_patient(
    first: Sequence[float], second: Sequence[float], patients: Sequence[str], seed: int = 0
) -> Estimate | None:
    """Return Spearman's rank correlation over cases, -1 to 1; None if either is constant.

    Ties have their mean rank. The interval is bootstrapped as in ``mean_by_patient``, without the
    resamples in which either is constant.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if not _varies(x) or not _varies(y):
        return None
    number = len(set(patients))
    low, high = None, None
    if number > 1:
        resamples = (np.repeat(np.arange(len(x)), w) for w in patient_weights(patients, seed))
        low, high = interval(
            np.array([spearman(x[i], y[i]) for i in resamples if _varies(x[i]) and _varies(y[i])])
        )
    return Estimate(spearman(x, y), low, high, len(x), number)


def _varies(values: np.ndarray) -> bool:
    return values.size > 1 and float(np.ptp(values)) > 0


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation of two arrays (values,), -1 to 1; NaN if either is constant."""
    from scipy.stats import spearmanr  # takes a second to import

    return float(spearmanr(x, y).statistic)


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of bootstrapped values (resamples,)."""
    low, high = np.nanpercentile(resampled, INTERVAL)
    return float(low), float(high)
