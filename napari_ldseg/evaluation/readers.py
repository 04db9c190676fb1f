"""A distribution of segmentations against the labels of several readers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def consensus(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the class that most readers chose per voxel; of equally many the highest class.

    So with two of four readers a voxel is part of the structure.
    """
    stack = np.stack(labels)
    classes = range(int(stack.max()), -1, -1)
    votes = np.stack([(stack == c).sum(0) for c in classes])
    return (len(votes) - 1 - votes.argmax(0)).astype(np.uint8)


def pairwise_iou(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], classes: int
) -> np.ndarray:
    """Return the mean IoU over foreground classes of every pair, (len(first), len(second)).

    The IoU of two empty masks is 1.
    """
    total = np.zeros((len(first), len(second)))
    for c in range(1, classes):
        a, b = (np.stack([(x == c).ravel() for x in labels]) for labels in (first, second))
        common = a.astype(np.float32) @ b.astype(np.float32).T
        union = a.sum(1)[:, None] + b.sum(1)[None] - common
        total += np.where(union > 0, common / np.maximum(union, 1), 1.0)
    return total / (classes - 1)


def energy_distance(
    samples: Sequence[np.ndarray], readers: Sequence[np.ndarray], classes: int
) -> float:
    """Return the squared generalised energy distance (Kohl et al., arXiv 1806.05034).

    GED^2 = 2 E d(S, Y) - E d(S, S') - E d(Y, Y') with d = 1 - IoU; S, S' run over all pairs of
    samples and Y, Y' over all pairs of readers, pairs of equals included. 0 is best.
    """

    def d(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
        return float(1 - pairwise_iou(a, b, classes).mean())

    return 2 * d(samples, readers) - d(samples, samples) - d(readers, readers)


def matched_iou(
    samples: Sequence[np.ndarray], readers: Sequence[np.ndarray], classes: int
) -> float:
    """Return the Hungarian-matched IoU: the mean over the best one-to-one matching.

    Samples and readers are repeated to their least common multiple first (Kohl et al.,
    arXiv 1905.13077). 1 is best.
    """
    iou = pairwise_iou(samples, readers, classes)
    number = math.lcm(*iou.shape)
    repeated = np.tile(iou, (number // iou.shape[0], number // iou.shape[1]))
    rows, columns = linear_sum_assignment(repeated, maximize=True)
    return float(repeated[rows, columns].mean())
