"""The voxels under a brush, and which of them are in an intensity range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from skimage.draw import polygon

Indices = tuple[np.ndarray, ...]


def brush_voxels(
    centre: Sequence[int],
    size: float,
    axes: Sequence[int],
    shape: Sequence[int],
    scale: Sequence[float],
) -> Indices:
    """Return the voxels under a round brush at ``centre``, the same as of napari's own brush.

    Parameters
    ----------
    centre
        Voxel index, one number per axis of the image.
    size
        Diameter in voxels of the finest painted axis.
    axes
        The axes along which the brush extends; on the others it covers the centre only.
    shape, scale
        Sizes and voxel spacings of all axes of the image.
    """
    axes = sorted(axes)
    radius = np.floor(size / 2) + 0.5
    relative = np.abs([scale[a] for a in axes]) / np.min(np.abs([scale[a] for a in axes]))
    ranges = [
        np.arange(
            max(0, centre[a] - int(radius / r)), min(shape[a], centre[a] + int(radius / r) + 1)
        )
        for a, r in zip(axes, relative, strict=True)
    ]
    if any(not 0 <= centre[a] < n for a, n in enumerate(shape) if a not in axes):
        return (np.empty(0, np.intp),) * len(shape)
    grid = np.meshgrid(*ranges, indexing="ij", sparse=True)
    squared = sum(((g - centre[a]) * r) ** 2 for g, a, r in zip(grid, axes, relative, strict=True))
    inside = np.nonzero(squared <= radius**2)
    painted = {a: values[i] for a, values, i in zip(axes, ranges, inside, strict=True)}
    return _on_all_axes(painted, centre, len(inside[0]))


def polygon_voxels(points: np.ndarray, axes: Sequence[int], shape: Sequence[int]) -> Indices:
    """Return the voxels inside the polygon ``points`` (n, ndim) in the plane of the two ``axes``."""
    a, b = sorted(axes)
    rows, columns = polygon(points[:, a], points[:, b], (shape[a], shape[b]))
    return _on_all_axes({a: rows, b: columns}, [int(p) for p in points[0]], len(rows))


def in_range(image: Any, indices: Indices, low: float, high: float) -> np.ndarray:
    """Return for each voxel whether ``low`` <= intensity <= ``high``.

    ``image`` may be a lazy array: only the box around the voxels is read.
    """
    if not len(indices[0]):
        return np.empty(0, dtype=bool)
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in indices)
    values = np.asarray(image[box])[tuple(i - s.start for i, s in zip(indices, box, strict=True))]
    return (values >= low) & (values <= high)


def _on_all_axes(painted: dict[int, np.ndarray], centre: Sequence[int], count: int) -> Indices:
    """Return ``painted`` (axis to ``count`` indices) with the centre's position on all other axes."""
    return tuple(
        painted[a] if a in painted else np.full(count, position)
        for a, position in enumerate(centre)
    )
