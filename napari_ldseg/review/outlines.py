"""The distinct outlines among samples in one region, where all of them are nearly alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import average, fcluster
from scipy.spatial.distance import squareform

from ..evaluation.alternatives import Alternative, distances

MOST = 4  # outlines that a person compares at a glance
ALIKE = 0.05  # outlines with a distance 1 - IoU up to this count as one


def distinct_outlines(labels: Sequence[np.ndarray], classes: int) -> list[Alternative]:
    """Return at most ``MOST`` groups of label maps of one region, the largest group first.

    Groups are merged by average linkage on d = 1 - IoU (mean over the foreground classes) until the
    nearest two are further apart than ``ALIKE`` and no more than ``MOST`` are left. Other than
    ``evaluation.alternatives.find_alternatives``, which finds different readings, this also tells apart
    outlines of the same structure: those that a correction can choose from.
    """
    if len(labels) < 2:
        return [Alternative(i, (i,)) for i in range(len(labels))]
    distance = distances(labels, classes)
    tree = average(squareform(distance))
    group = fcluster(tree, ALIKE, criterion="distance")
    if group.max() > MOST:
        group = fcluster(tree, MOST, criterion="maxclust")
    found = []
    for number in np.unique(group):
        members = np.flatnonzero(group == number)
        sums = distance[np.ix_(members, members)].sum(1).round(9)
        found.append(Alternative(int(members[sums.argmin()]), tuple(members.tolist())))
    return sorted(found, key=lambda one: (-len(one.members), one.medoid))
