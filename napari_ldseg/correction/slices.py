"""Corrections across slices: shapes between painted slices, and a slice copied to the next one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from .change import Change, bounding_box, change_between, change_where, no_change
from .pieces import label_pieces


def fill_between(labels: np.ndarray, value: int, axis: int, spacing: Sequence[float]) -> Change:
    """Return the change that fills the gaps of class ``value`` along ``axis`` of a 3D label image.

    The slices without the class between two slices with it are filled by interpolating the signed
    distances (mm) to the two outlines (Raya and Udupa 1990). If both outlines are a single piece, the
    shapes move along the straight line between their centres. Only background is changed.
    """
    mask = labels == value
    box = bounding_box(mask)
    if box is None:
        return no_change(labels)
    inside = np.moveaxis(mask[box], axis, 0)
    plane = [size for a, size in enumerate(spacing) if a != axis]
    filled = np.zeros_like(inside)
    painted = np.flatnonzero(inside.any(axis=(1, 2))).tolist()
    for first, last in pairwise(painted):
        if last - first > 1:
            shapes = _interpolated(inside[first], inside[last], last - first - 1, plane)
            for position, shape in enumerate(shapes, start=first + 1):
                filled[position] = shape
    filled = np.moveaxis(filled, 0, axis)
    return change_where(labels, filled & (labels[box] == 0), value, box)


def copy_slice(labels: np.ndarray, value: int, axis: int, source: int, target: int) -> Change:
    """Return the change that copies class ``value`` from slice ``source`` to slice ``target``.

    The target's other voxels of the class become background; other classes are not changed.
    """
    box = tuple(
        slice(target, target + 1) if a == axis else slice(0, size)
        for a, size in enumerate(labels.shape)
    )
    old = labels[box]
    copied = np.expand_dims(np.take(labels, source, axis) == value, axis)
    new = np.where(old == value, 0, old).astype(labels.dtype)
    new[copied & (new == 0)] = value
    return change_between(labels, new, box)


def _interpolated(
    first: np.ndarray, last: np.ndarray, count: int, spacing: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield ``count`` shapes between the outlines of two masks."""
    box = bounding_box(first | last, 1)
    assert box is not None
    start, end = _signed_distance(first[box], spacing), _signed_distance(last[box], spacing)
    offset = np.zeros(2)
    if label_pieces(first[box])[1] == label_pieces(last[box])[1] == 1:
        offset = np.subtract(ndimage.center_of_mass(last[box]), ndimage.center_of_mass(first[box]))
    for step in range(1, count + 1):
        t = step / (count + 1)
        a, b = _shifted(start, t * offset), _shifted(end, (t - 1) * offset)
        shape = np.zeros_like(first)
        shape[box] = (1 - t) * a + t * b > 0
        yield shape


def _signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance in mm to the outline, negative outside."""
    # Padded with background, so that a shape at the border of its box has an outline there.
    padded = np.pad(mask, 1)
    signed = ndimage.distance_transform_edt(padded, spacing)
    signed -= ndimage.distance_transform_edt(~padded, spacing)
    signed -= np.where(padded, 0.5, -0.5) * min(spacing)  # the outline is between two voxels
    return signed[1:-1, 1:-1].astype(np.float32)


def _shifted(signed: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return ``signed`` shifted by ``offset`` voxels; shifts below a quarter voxel are ignored."""
    if np.abs(offset).max() < 0.25:
        return signed
    return ndimage.shift(signed, offset, order=1, mode="nearest")
