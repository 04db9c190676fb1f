"""Two label maps of one grid compared: numbers per class, and where they differ.

Importing this loads torch, which the metrics need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..correction.change import bounding_box
from ..evaluation.overlap import overlap
from ..evaluation.surface import surface_metrics

SAME, ONLY_FIRST, ONLY_SECOND, OTHER_CLASS = range(4)
KINDS = ("same", "only in the first", "only in the second", "another class")


@dataclass(frozen=True)
class ClassComparison:
    """One class in two label maps.

    Attributes
    ----------
    value
        The label value.
    dsc
        0 to 1; 0 if only one of them has the class.
    hd95
        95th percentile Hausdorff distance in the unit of the spacing, over frames their mean; None if
        no frame has the class in both.
    first, second
        Volume or area in each, in the spacing's unit, all frames together.
    """

    value: int
    dsc: float
    hd95: float | None
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Size in the second minus size in the first."""
        return self.second - self.first


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two label maps compared.

    Attributes
    ----------
    classes
        Every label value above 0 that either has, in order.
    difference
        uint8, shaped like the label maps: the index in ``KINDS`` of each voxel.
    """

    classes: tuple[ClassComparison, ...]
    difference: np.ndarray


def compare(
    first: np.ndarray,
    second: np.ndarray,
    spacing: Sequence[float],
    voxel_size: float | None = None,
) -> Comparison:
    """Compare two label maps; classes are the same if they have the same value.

    Parameters
    ----------
    first, second
        Integer, (*frames, *space), 0 is background.
    spacing
        Voxel size of each spatial axis, the last ``len(spacing)`` axes; 1 where it is not known.
    voxel_size
        Volume (area) of a voxel, by default the product of ``spacing``; it is less in a sheared scan.

    Raises
    ------
    ValueError
        If they differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"label maps of {first.shape} and {second.shape} cannot be compared")
    values = np.union1d(np.unique(first), np.unique(second))
    size = math.prod(spacing) if voxel_size is None else voxel_size
    classes = tuple(
        _compare_class(int(v), first == v, second == v, spacing, size) for v in values if v
    )
    return Comparison(classes, difference_kinds(first, second))


def difference_kinds(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return for each voxel how two label maps differ: uint8, indices in ``KINDS``."""
    kinds = np.where(first == second, SAME, OTHER_CLASS).astype(np.uint8)
    kinds[(first != 0) & (second == 0)] = ONLY_FIRST
    kinds[(first == 0) & (second != 0)] = ONLY_SECOND
    return kinds


def _compare_class(
    value: int, first: np.ndarray, second: np.ndarray, spacing: Sequence[float], size: float
) -> ClassComparison:
    sizes = int(first.sum()) * size, int(second.sum()) * size
    # The margin keeps the surfaces as in the full array.
    box = bounding_box(first | second, 1)
    assert box is not None
    a, b = (mask[box].astype(np.uint8) for mask in (first, second))
    dsc = float(overlap(a, b, 2)[0, 0])
    distances = [
        float(surface_metrics(a[frame], b[frame], 2, spacing, 1.0)[0, 0])
        for frame in np.ndindex(*a.shape[: a.ndim - len(spacing)])
        if a[frame].any() and b[frame].any()
    ]
    hd95 = float(np.mean(distances)) if distances else None
    return ClassComparison(value, dsc, hd95, *sizes)
