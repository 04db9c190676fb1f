"""Corrections of a class's shape: holes, smoothing, growing and shrinking in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from .change import Change, bounding_box, change_between, change_where, no_change
from .pieces import label_pieces

# Parts are thin if smoothing would shorten them by more than this many widths of the Gaussian; the edge
# of a cube loses 1.0 widths and its corner 1.4.
THIN_PART_WIDTHS = 1.5


def fill_holes(labels: np.ndarray, value: int) -> Change:
    """Return the change that fills the background enclosed by class ``value``.

    Other classes inside are kept, and background that reaches the image's border is not filled. In a
    3D array a hole must be closed on all sides.
    """
    mask = labels == value
    box = bounding_box(mask)
    if box is None:
        return no_change(labels)
    regions, count = ndimage.label(~mask[box])  # background is connected through faces only
    if not count:
        return no_change(labels)
    outside = np.zeros(count + 1, dtype=bool)
    for axis in range(labels.ndim):
        for end in (0, -1):
            outside[np.take(regions, end, axis)] = True
    outside[0] = True  # the class itself
    return change_where(labels, ~outside[regions] & (labels[box] == 0), value, box)


def grow(labels: np.ndarray, value: int, distance: float, spacing: Sequence[float]) -> Change:
    """Return the change that grows class ``value`` into background within ``distance`` mm.

    Distances are between voxel centres, which are ``spacing`` mm apart along each axis.
    """
    mask = labels == value
    box = bounding_box(mask, tuple(_steps(distance, spacing)))
    if box is None:
        return no_change(labels)
    near = within(mask[box], distance, spacing)
    return change_where(labels, near & (labels[box] == 0), value, box)


def shrink(labels: np.ndarray, value: int, distance: float, spacing: Sequence[float]) -> Change:
    """Return the change that removes class ``value`` within ``distance`` mm of its border.

    Nothing is removed at the image's border: the structure is assumed to continue beyond it.
    """
    mask = labels == value
    box = bounding_box(mask, 1)
    if box is None:
        return no_change(labels)
    rim = within(~mask[box], distance, spacing)
    return change_where(labels, rim & mask[box], 0, box)


def smooth(labels: np.ndarray, value: int, width: float, spacing: Sequence[float]) -> Change:
    """Return the change that smooths the border of class ``value`` with a Gaussian of SD ``width`` mm.

    A voxel belongs to the class where the blurred class is larger than the blurred background; other
    classes count as neither and are never changed. Parts too thin for the Gaussian are kept, and no
    piece is split.
    """
    sigma = width / np.asarray(spacing, dtype=float)
    mask = labels == value
    box = bounding_box(mask, tuple(int(np.ceil(2 * s)) + 1 for s in sigma))
    if box is None:
        return no_change(labels)
    view, mask = labels[box], mask[box]
    editable = mask | (view == 0)
    inside = _blurred(mask, sigma)
    outside = 1 - inside
    others = bounding_box(~editable, tuple(int(np.ceil(3 * s)) for s in sigma))
    if others is not None:
        outside[others] -= _blurred(~editable[others], sigma)
    smoothed = (inside > outside) & editable
    smoothed = _restore_thin_parts(mask, smoothed, THIN_PART_WIDTHS * width, spacing)
    smoothed = _restore_bridges(mask, smoothed)
    new = np.where(mask, 0, view).astype(view.dtype)
    new[smoothed] = value
    return change_between(labels, new, box)


def within(mask: np.ndarray, distance: float, spacing: Sequence[float]) -> np.ndarray:
    """Return the voxels whose centre is at most ``distance`` mm from that of a true voxel.

    Exact squared Euclidean distances, computed axis by axis as in a separable distance transform, but
    only up to ``distance``, which is much faster than the full transform.
    """
    steps = _steps(distance, spacing)
    if not any(steps):
        return mask.copy()
    squared = np.where(mask, np.float32(0), np.float32(np.inf))
    for axis, (count, size) in enumerate(zip(steps, spacing, strict=True)):
        before, squared = squared, squared.copy() if count else squared
        for k in range(1, min(count, mask.shape[axis] - 1) + 1):
            ahead = (slice(None),) * axis + (slice(k, None),)
            behind = (slice(None),) * axis + (slice(None, -k),)
            further = np.float32((k * size) ** 2)
            for to, source in ((ahead, behind), (behind, ahead)):
                np.minimum(squared[to], before[source] + further, out=squared[to])
    return squared <= np.float32(distance**2 * (1 + 1e-5))


def _steps(distance: float, spacing: Sequence[float]) -> list[int]:
    return [int(distance / size + 1e-5) for size in spacing]


def _blurred(mask: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest", truncate=3)


def _restore_thin_parts(
    mask: np.ndarray, smoothed: np.ndarray, reach: float, spacing: Sequence[float]
) -> np.ndarray:
    """Return ``smoothed`` with the parts of ``mask`` further than ``reach`` mm from its thick parts."""
    # The remains of a part that nearly vanished are at most a third of the reach thick.
    core = ~within(~smoothed, reach / 3, spacing)
    thick = smoothed & within(core, 2 * reach / 3, spacing)
    lost = _further_than(reach, np.argwhere(mask & ~thick), thick, spacing)
    if not len(lost):
        return smoothed
    radius = reach + max(spacing)
    ball = _ball(radius, spacing)
    near = np.zeros_like(mask)
    if len(lost) * len(ball) < mask.size:  # a few voxels are much faster one by one
        limits = np.array(mask.shape) - 1
        for offset in ball:
            near[tuple(np.clip(lost + offset, 0, limits).T)] = True
    else:
        near[tuple(lost.T)] = True
        near = within(near, radius, spacing)
    return smoothed | (mask & near)


def _further_than(
    distance: float, voxels: np.ndarray, mask: np.ndarray, spacing: Sequence[float]
) -> np.ndarray:
    """Return the ``voxels`` (n, ndim) further than ``distance`` mm from every true voxel of ``mask``.

    Most voxels have a close neighbour in ``mask``: searching the nearest offsets first leaves few
    voxels for the others.
    """
    margin = _steps(distance, spacing)
    around = np.pad(mask, [(n, n) for n in margin])
    voxels = voxels + margin
    for offset in _ball(distance, spacing):
        if not len(voxels):
            break
        voxels = voxels[~around[tuple((voxels + offset).T)]]
    return voxels - margin


def _ball(distance: float, spacing: Sequence[float]) -> np.ndarray:
    """Return the offsets (n, ndim) of the voxels within ``distance`` mm, nearest first."""
    steps = _steps(distance, spacing)
    offsets = np.indices([2 * n + 1 for n in steps]).reshape(len(steps), -1).T - steps
    lengths = np.linalg.norm(offsets * np.asarray(spacing), axis=1)
    order = np.argsort(lengths)
    return offsets[order][lengths[order] <= distance * (1 + 1e-5)]


def _restore_bridges(mask: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    """Return ``smoothed`` with the removed parts of ``mask`` that connected its separate pieces."""
    pieces, count = label_pieces(smoothed)
    if count < 2:
        return smoothed
    removed, _ = label_pieces(mask & ~smoothed)
    voxels = np.nonzero(removed)
    part = removed[voxels]
    padded = np.pad(pieces, 1)
    pairs = [np.empty((0, 2), dtype=np.int64)]  # (removed part, piece) that touch
    for offset in product((0, 1, 2), repeat=mask.ndim):
        piece = padded[tuple(v + o for v, o in zip(voxels, offset, strict=True))]
        touching = np.stack([part[piece > 0], piece[piece > 0]], axis=1)
        pairs.append(np.unique(touching, axis=0))
    parts, touched = np.unique(np.unique(np.concatenate(pairs), axis=0)[:, 0], return_counts=True)
    bridges = np.zeros(removed.max() + 1, dtype=bool)
    bridges[parts[touched > 1]] = True
    return smoothed | bridges[removed] if bridges.any() else smoothed
