"""The alternatives among the samples of one case: the modes of the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import squareform

from .readers import pairwise_iou

DISTANCE, BETWEEN_SAMPLES, BETWEEN_READERS = "distance", "between samples", "between readers"
ALTERNATIVES, READINGS = "alternatives", "different readings"
EMPTY, OF_SAMPLES, OF_READERS = "empty label maps", "of the samples", "of the readers"
DIFFERENT = 0.5  # two outlines are different if d = 1 - IoU is larger, see group_similar


class Alternative(NamedTuple):
    """A group of label maps that count as one outline.

    ``members`` are their indices, ``medoid`` the index of the one in their middle. If not ``similar``,
    they have only their classes in common.
    """

    medoid: int
    members: tuple[int, ...]
    similar: bool = True


def find_alternatives(samples: Sequence[np.ndarray], classes: int) -> list[Alternative]:
    """Return the alternatives among the samples of one case, the most frequent first.

    - The groups of ``group_similar`` with two or more samples. A single sample unlike all others may be
      in the tail of a broad mode and is no alternative.
    - Of the remaining samples, two or more with the same classes, if no group has these classes. For
      example, where some samples have a structure and the others none, this is an alternative even if
      no two of them agree on the outline.
    - If there is neither, the medoid of all samples.
    """
    order, distance = _sorted_distances(samples, classes)
    groups = _grouped(order, distance)
    found = [group for group in groups if len(group.members) > 1]
    present = [frozenset(np.unique(label).tolist()) for label in samples]
    known = {present[member] for group in found for member in group.members}
    single: dict[frozenset, list[int]] = {}
    for group in groups:
        if len(group.members) == 1 and present[group.medoid] not in known:
            single.setdefault(present[group.medoid], []).append(group.medoid)
    found += [_with_medoid(order, distance, m, similar=False) for m in single.values() if m[1:]]
    if not found:
        medoid = _with_medoid(order, distance, order).medoid
        found = [Alternative(medoid, (medoid,))]
    return sorted(found, key=lambda one: -len(one.members))


def group_similar(labels: Sequence[np.ndarray], classes: int) -> list[Alternative]:
    """Return the label maps of one case grouped by similarity, the largest group first.

    Groups are merged by average linkage (UPGMA) on d = 1 - IoU (mean over the foreground classes,
    the IoU of two empty masks is 1) until the nearest two are further apart than ``DIFFERENT``; d of
    two groups is the mean over their pairs. A group's medoid has the least sum of d to the others.

    ``DIFFERENT`` is 0.5: two outlines are different if their intersection is less than half of their
    union, and always if only one of them is empty (d = 1). Outlines of one structure have a larger
    intersection even with some jitter: two discs 10 pixels wide may be 2 pixels apart, and of the pairs of
    readers who both outlined a lung nodule of LIDC-IDRI four of five are not different. So

    - there is one group if no pair is different;
    - the members of two groups are different on average. Complete linkage would split one broad mode
      whose ends are far apart; single linkage would merge two modes through one label map between them.

    The order of ``labels`` does not matter: they are sorted by content, and equal ones are
    interchangeable.
    """
    return _grouped(*_sorted_distances(labels, classes))


def distances(labels: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Return the matrix of d = 1 - IoU of all pairs of label maps, symmetric and 0 on the diagonal."""
    distance = np.clip(1 - pairwise_iou(labels, labels, classes), 0, 1)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    return distance


def mean_distance(labels: Sequence[np.ndarray], classes: int) -> float:
    """Return the mean d = 1 - IoU over the pairs of label maps; 0 if there is only one."""
    return float(squareform(distances(labels, classes)).mean()) if len(labels) > 1 else 0.0


def share_empty(labels: Sequence[np.ndarray]) -> float:
    """Return the share of the label maps without any structure."""
    return float(np.mean([not label.any() for label in labels]))


def share_covered(
    readers: Sequence[np.ndarray], outlines: Sequence[np.ndarray], classes: int
) -> float:
    """Return the share of the readers whose label is not different from one of ``outlines``."""
    return float((1 - pairwise_iou(readers, outlines, classes).max(1) <= DIFFERENT).mean())


def alternative_metrics(
    found: Sequence[Alternative],
    samples: Sequence[np.ndarray],
    readers: Sequence[np.ndarray],
    classes: int,
) -> dict[tuple[str, str | None], float]:
    """Return the metrics of one case by name and detail; docs/reference/metrics.md defines them.

    ``found`` are the alternatives among ``samples``.
    """
    outlines = [samples[one.medoid] for one in found]
    grouped = sum(len(one.members) for one in found)
    return {
        (ALTERNATIVES, None): len(found),
        ("cases with", "one alternative"): len(found) == 1,
        ("cases with", "two alternatives"): len(found) == 2,
        ("cases with", "more alternatives"): len(found) > 2,
        ("single samples", None): 1 - grouped / len(samples),
        (READINGS, None): len(group_similar(readers, classes)),
        ("readers covered", "by the first alternative"): share_covered(
            readers, outlines[:1], classes
        ),
        ("readers covered", "by any alternative"): share_covered(readers, outlines, classes),
        (DISTANCE, BETWEEN_SAMPLES): mean_distance(samples, classes),
        (DISTANCE, BETWEEN_READERS): mean_distance(readers, classes),
        (EMPTY, OF_SAMPLES): share_empty(samples),
        (EMPTY, OF_READERS): share_empty(readers),
    }


def _sorted_distances(labels: Sequence[np.ndarray], classes: int) -> tuple[list[int], np.ndarray]:
    """Return the indices of the label maps, sorted by content, and their distances in this order."""
    order = sorted(range(len(labels)), key=lambda i: np.ascontiguousarray(labels[i]).tobytes())
    return order, distances([labels[i] for i in order], classes)


def _grouped(order: Sequence[int], distance: np.ndarray) -> list[Alternative]:
    """Return the groups of ``group_similar`` from the result of ``_sorted_distances``."""
    group = np.ones(len(order), dtype=int)
    if len(order) > 1:
        group = fcluster(average(squareform(distance)), DIFFERENT, criterion="distance")
    found = [
        _with_medoid(order, distance, [i for i, g in zip(order, group, strict=True) if g == number])
        for number in dict.fromkeys(group.tolist())
    ]
    return sorted(found, key=lambda one: -len(one.members))


def _with_medoid(
    order: Sequence[int], distance: np.ndarray, members: Sequence[int], similar: bool = True
) -> Alternative:
    """Return ``members`` as an alternative; its medoid has the least sum of d to the others."""
    rows = [row for row, index in enumerate(order) if index in members]
    sums = distance[np.ix_(rows, rows)].sum(1)
    # Rounded, so that the first of equal sums is taken for any order of summation.
    return Alternative(order[rows[int(sums.round(9).argmin())]], tuple(sorted(members)), similar)
