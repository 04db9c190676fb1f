"""Whether the uncertainty detects the errors, and whether the probabilities are calibrated."""

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

    The boundary is all voxels with a face neighbour of another class, on both sides; their distance
    is 0.
    """
    boundary = find_boundaries(label, connectivity=1, mode="thick")
    return distance_transform_edt(~boundary) if boundary.any() else None


def near_boundary(label: np.ndarray, voxels: float = BAND) -> np.ndarray:
    """Return the voxels within ``voxels`` of the boundary of ``label``, bool; none without a boundary."""
    distance = boundary_distance(label)
    return np.zeros(label.shape, bool) if distance is None else distance <= voxels


def error_auroc(score: np.ndarray, error: np.ndarray) -> float:
    """Return the area under the ROC curve of ``score`` as a detector of ``error`` (bool), both (voxels,).

    The Mann-Whitney statistic: the probability that a wrong voxel has a higher score than a correct
    one, where ties count half. NaN if all voxels are wrong or none is.
    """
    wrong = int(error.sum())
    correct = error.size - wrong
    if not wrong or not correct:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[error].sum() - wrong * (wrong + 1) / 2) / (wrong * correct))


def entropy(probability: np.ndarray) -> np.ndarray:
    """Return -sum p ln p over the classes (axis 0), in nats."""
    p = np.clip(probability, 1e-12, 1)
    return -(p * np.log(p)).sum(0)


def reliability_sums(probability: np.ndarray, expert: np.ndarray) -> np.ndarray:
    """Return for each confidence bin the sums of confidence and of hits, and the voxels, (3, 15).

    Confidence is the largest of ``probability`` (classes, voxels); a hit is a voxel whose most probable
    class is that of ``expert`` (voxels,). The bins divide 0 to 1 into 15 equal parts.
    """
    confidence = torch.from_numpy(probability.max(0))
    hits = torch.from_numpy(probability.argmax(0) == expert)
    means = calibration_binning(confidence[None, None], hits[None, None], BINS)
    confidence_mean, hit_mean, counts = (m[0, 0].double().nan_to_num() for m in means)
    return torch.stack([confidence_mean * counts, hit_mean * counts, counts]).numpy()


class Reliability(NamedTuple):
    """Expected calibration error, and the reliability diagram (3, 15) as in ``reliability_sums``."""

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
