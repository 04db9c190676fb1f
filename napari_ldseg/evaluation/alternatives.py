"""The distinct alternatives among the samples of one case: how many modes the posterior shows."""

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
DIFFERENT = 0.5  # d = 1 - IoU above which two outlines are different, see group_alike


class Alternative(NamedTuple):
    """Label maps that stand for one outline.

    ``shown`` is the number of the one in their middle, ``members`` the numbers of all of them. If not
    ``alike``, they agree only on which classes there are.
    """

    shown: int
    members: tuple[int, ...]
    alike: bool = True


def find_alternatives(samples: Sequence[np.ndarray], classes: int) -> list[Alternative]:
    """Return the alternatives among the samples of one case, the most frequent first.

    - The groups of ``group_alike`` with two samples or more. A mode is where samples gather; one
      sample that is like no other does not tell a mode from the tail of a broad one.
    - Of the samples left over, those that have the same classes, two or more, if no group has these:
      where some samples show a structure and the others none, that is an alternative even if no two
      of them agree on the outline.
    - If there is neither, the sample in the middle of all.
    """
    order, distance = _compared(samples, classes)
    groups = _grouped(order, distance)
    found = [group for group in groups if len(group.members) > 1]
    present = [frozenset(np.unique(label).tolist()) for label in samples]
    known = {present[member] for group in found for member in group.members}
    alone: dict[frozenset, list[int]] = {}
    for group in groups:
        if len(group.members) == 1 and present[group.shown] not in known:
            alone.setdefault(present[group.shown], []).append(group.shown)
    found += [_around_medoid(order, distance, m, alike=False) for m in alone.values() if m[1:]]
    if not found:
        middle = _around_medoid(order, distance, order).shown
        found = [Alternative(middle, (middle,))]
    return sorted(found, key=lambda one: -len(one.members))


def group_alike(labels: Sequence[np.ndarray], classes: int) -> list[Alternative]:
    """Return label maps of one case grouped by likeness, the largest group first.

    Groups are joined by average linkage (UPGMA) on d = 1 - IoU (mean over the foreground classes,
    the IoU of two empty masks is 1) until the nearest two are further apart than ``DIFFERENT``; d of
    two groups is the mean over their pairs. The label map shown is the medoid, which has the least
    sum of d to the others of its group.

    ``DIFFERENT`` is 0.5: two outlines are different if they share less than half of what they cover
    together, and certainly if only one of them is empty (d = 1). Outlines of one structure share more
    even where their boundaries jitter: of two discs 10 pixels wide, one may lie 2 pixels beside the
    other; of two readers who both outlined a lung nodule of LIDC-IDRI, four of five pairs do. So

    - there is one group if all pairs share at least half;
    - the members of two groups share on average less than half. Complete linkage would cut one broad
      mode in two wherever its ends are far apart; single linkage would join two modes through one
      label map between them.

    The order of ``labels`` does not matter: they are sorted by content, and equal ones are
    interchangeable.
    """
    return _grouped(*_compared(labels, classes))


def distances(labels: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """Return d = 1 - IoU of every pair of label maps, symmetric and 0 on the diagonal."""
    distance = np.clip(1 - pairwise_iou(labels, labels, classes), 0, 1)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    return distance


def mean_distance(labels: Sequence[np.ndarray], classes: int) -> float:
    """Return the mean d = 1 - IoU over the pairs of two label maps; 0 if there is only one."""
    return float(squareform(distances(labels, classes)).mean()) if len(labels) > 1 else 0.0


def share_empty(labels: Sequence[np.ndarray]) -> float:
    """Return the share of the label maps that show no structure at all."""
    return float(np.mean([not label.any() for label in labels]))


def share_covered(
    readers: Sequence[np.ndarray], outlines: Sequence[np.ndarray], classes: int
) -> float:
    """Return the share of the readers whose label shares at least half with one of ``outlines``."""
    return float((1 - pairwise_iou(readers, outlines, classes).max(1) <= DIFFERENT).mean())


def alternative_metrics(
    found: Sequence[Alternative],
    samples: Sequence[np.ndarray],
    readers: Sequence[np.ndarray],
    classes: int,
) -> dict[tuple[str, str | None], float]:
    """Return the figures of one case by name and detail, as docs/evaluate.md defines them.

    ``found`` are the alternatives among ``samples``.
    """
    outlines = [samples[one.shown] for one in found]
    gathered = sum(len(one.members) for one in found)
    return {
        (ALTERNATIVES, None): len(found),
        ("cases with", "one alternative"): len(found) == 1,
        ("cases with", "two alternatives"): len(found) == 2,
        ("cases with", "more alternatives"): len(found) > 2,
        ("single samples", None): 1 - gathered / len(samples),
        (READINGS, None): len(group_alike(readers, classes)),
        ("readers covered", "by the first alternative"): share_covered(
            readers, outlines[:1], classes
        ),
        ("readers covered", "by any alternative"): share_covered(readers, outlines, classes),
        (DISTANCE, BETWEEN_SAMPLES): mean_distance(samples, classes),
        (DISTANCE, BETWEEN_READERS): mean_distance(readers, classes),
        (EMPTY, OF_SAMPLES): share_empty(samples),
        (EMPTY, OF_READERS): share_empty(readers),
    }


def _compared(labels: Sequence[np.ndarray], classes: int) -> tuple[list[int], np.ndarray]:
    """Return the label maps' numbers in an order that only their content decides, and their distances."""
    order = sorted(range(len(labels)), key=lambda i: np.ascontiguousarray(labels[i]).tobytes())
    return order, distances([labels[i] for i in order], classes)


def _grouped(order: Sequence[int], distance: np.ndarray) -> list[Alternative]:
    """See ``group_alike``; arguments as ``_compared`` returns them."""
    group = np.ones(len(order), dtype=int)
    if len(order) > 1:
        group = fcluster(average(squareform(distance)), DIFFERENT, criterion="distance")
    found = [
        _around_medoid(
            order, distance, [i for i, g in zip(order, group, strict=True) if g == number]
        )
        for number in dict.fromkeys(group.tolist())
    ]
    return sorted(found, key=lambda one: -len(one.members))


def _around_medoid(
    order: Sequence[int], distance: np.ndarray, members: Sequence[int], alike: bool = True
) -> Alternative:
    """Return ``members`` with the one that has the least sum of d to the others."""
    places = [place for place, number in enumerate(order) if number in members]
    sums = distance[np.ix_(places, places)].sum(1)
    # Rounded, so that of equal sums the first is taken in whatever order they were added.
    return Alternative(order[places[int(sums.round(9).argmin())]], tuple(sorted(members)), alike)
