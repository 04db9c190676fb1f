"""Whether the uncertainty points at the errors, and whether the probabilities are true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics.calibration import calibration_binning
from scipy.ndimage import distance_transform_edt
from scipy.stats import rankdata
from skimage.segmentation import find_boundaries

from .bootstrap import Estimate, interval, patient_weights

BAND = 5
BINS = 15


def boundary_distance(label: np.ndarray) -> np.ndarray | None:
    """Return each voxel's distance in voxels to the boundary of ``label``, None if it has none.

    The boundary is every voxel with a face neighbour of another class, so both sides of it; their
    distance is 0.
    """
    boundary = find_boundaries(label, connectivity=1, mode="thick")
    return distance_transform_edt(~boundary) if boundary.any() else None


def near_boundary(label: np.ndarray, voxels: float = BAND) -> np.ndarray:
    """Return where ``label`` is within ``voxels`` of its boundary, bool; nowhere if it has none."""
    distance = boundary_distance(label)
    return np.zeros(label.shape, bool) if distance is None else distance <= voxels


def error_auroc(score: np.ndarray, error: np.ndarray) -> float:
    """Return the area under the ROC curve of ``score`` as a sign of ``error`` (bool), both (voxels,).

    The Mann-Whitney statistic: the chance that a wrong voxel scores higher than a right one, ties
    counted half. NaN if all voxels are wrong or none is.
    """
    wrong = int(error.sum())
    right = error.size - wrong
    if not wrong or not right:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[error].sum() - wrong * (wrong + 1) / 2) / (wrong * right))


def entropy(probability: np.ndarray) -> np.ndarray:
    """Return -sum p ln p over the classes (axis 0), in nats."""
    p = np.clip(probability, 1e-12, 1)
    return -(p * np.log(p)).sum(0)


def reliability_sums(probability: np.ndarray, expert: np.ndarray) -> np.ndarray:
    """Return per confidence bin the sums of confidence and of hits, and the count, (3, 15).

    Confidence is the largest of ``probability`` (classes, voxels), a hit a voxel whose most probable
    class is ``expert``'s (voxels,). The bins cut 0 to 1 into 15 equal parts.
    """
    confidence = torch.from_numpy(probability.max(0))
    hits = torch.from_numpy(probability.argmax(0) == expert)
    means = calibration_binning(confidence[None, None], hits[None, None], BINS)
    confidence_mean, hit_mean, counts = (m[0, 0].double().nan_to_num() for m in means)
    return torch.stack([confidence_mean * counts, hit_mean * counts, counts]).numpy()


class Reliability(NamedTuple):
    """Expected calibration error, and the reliability diagram: (3, 15) as ``reliability_sums``."""

    error: Estimate
    sums: np.ndarray


def reliability(sums: np.ndarray, patients: Sequence[str], seed: int = 0) -> Reliability | None:
    """Return the expected calibration error over all voxels of (cases, 3, 15) ``reliability_sums``.

    ECE = sum_b n_b / n |accuracy_b - confidence_b| (Guo et al., arXiv 1706.04599, eq. 3), its
    interval bootstrapped by patient. None if there is no voxel.
    """
    total = sums.sum(0)
    if not total[2].sum():
        return None

    def ece(pooled: np.ndarray) -> np.ndarray:
        return np.abs(pooled[..., 0, :] - pooled[..., 1, :]).sum(-1) / pooled[..., 2, :].sum(-1)

    number = len(set(patients))
    low, high = None, None
    if number > 1:
        weights = patient_weights(patients, seed)
        resampled = np.tensordot(weights, sums, 1)
        low, high = interval(ece(resampled[resampled[:, 2].sum(-1) > 0]))
    return Reliability(Estimate(float(ece(total)), low, high, len(sums), number), total)
