"""What a new segmentation would change in a label, and what it must not change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Update:
    """The voxels that would change: their indices per axis, new labels, and counts per class.

    ``gained`` and ``lost`` are (classes,) voxel counts; ``kept`` counts the protected voxels in which the
    new segmentation differs.
    """

    indices: tuple[np.ndarray, ...]
    labels: np.ndarray
    gained: np.ndarray
    lost: np.ndarray
    kept: int

    def __len__(self) -> int:
        return len(self.labels)


def propose(
    label: np.ndarray,
    new: np.ndarray,
    protected: np.ndarray,
    box: tuple[slice, ...],
    classes: int,
) -> Update:
    """Return how ``new`` would change ``label`` in ``box`` outside ``protected``.

    All arrays have one shape; ``protected`` is bool.
    """
    differs = label[box] != new[box]
    kept = int(np.count_nonzero(differs & protected[box]))
    where = np.nonzero(differs & ~protected[box])
    indices = tuple(i + (axis.start or 0) for i, axis in zip(where, box, strict=True))
    labels, before = new[indices], label[indices]
    return Update(
        indices,
        labels,
        np.bincount(labels, minlength=classes)[:classes],
        np.bincount(np.clip(before, 0, classes - 1), minlength=classes)[:classes],
        kept,
    )
