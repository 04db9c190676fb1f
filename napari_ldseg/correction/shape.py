"""Corrections of a class's shape: holes, smoothing, growing and shrinking in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import ndimage

from .change import Change, bounding_box, change_between, change_where, no_change
from .pieces import label_pieces

# Thin parts are those that smoothing would cut back by more than this many of its widths; the edge of
# a cube loses 1.0 and its corner 1.4.
THIN = 1.5


def fill_holes(labels: np.ndarray, value: int) -> Change:
    """Return the change that fills what class ``value`` encloses completely.

    Other classes inside stay; a hole that is open at the image's border is none. A 3D array is
    filled in 3D: a cavity must be closed on all sides.
    """
    mask = labels == value
    box = bounding_box(mask)
    if box is None:
        return no_change(labels)
    outside, count = ndimage.label(~mask[box])  # background is connected by faces alone
    if not count:
        return no_change(labels)
    open_ = np.zeros(count + 1, dtype=bool)
    for axis in range(labels.ndim):
        for end in (0, -1):
            open_[np.take(outside, end, axis)] = True
    open_[0] = True
    return change_where(labels, ~open_[outside] & (labels[box] == 0), value, box)


def grow(labels: np.ndarray, value: int, distance: float, spacing: Sequence[float]) -> Change:
    """Return the change that grows class ``value`` into background within ``distance`` mm.

    Distances are those between voxel centres, ``spacing`` mm apart along each axis.
    """
    mask = labels == value
    box = bounding_box(mask, tuple(_steps(distance, spacing)))
    if box is None:
        return no_change(labels)
    near = within(mask[box], distance, spacing)
    return change_where(labels, near & (labels[box] == 0), value, box)


def shrink(labels: np.ndarray, value: int, distance: float, spacing: Sequence[float]) -> Change:
    """Return the change that makes background of class ``value`` within ``distance`` mm of its border.

    The image's own border is none: beyond it the structure is taken to go on.
    """
    mask = labels == value
    box = bounding_box(mask, 1)
    if box is None:
        return no_change(labels)
    rim = within(~mask[box], distance, spacing)
    return change_where(labels, rim & mask[box], 0, box)


def smooth(labels: np.ndarray, value: int, width: float, spacing: Sequence[float]) -> Change:
    """Return the change that smooths the border of class ``value`` with a Gaussian of SD ``width`` mm.

    A voxel belongs to the class where the blurred class outweighs the blurred background; other
    classes weigh nothing and are never changed. Parts too thin for the Gaussian stay as they are,
    and no piece falls apart.
    """
    sigma = width / np.asarray(spacing, dtype=float)
    mask = labels == value
    box = bounding_box(mask, tuple(int(np.ceil(2 * s)) + 1 for s in sigma))
    if box is None:
        return no_change(labels)
    view, mask = labels[box], mask[box]
    mine = mask | (view == 0)
    inside = _blurred(mask, sigma)
    outside = 1 - inside
    others = bounding_box(~mine, tuple(int(np.ceil(3 * s)) for s in sigma))
    if others is not None:
        outside[others] -= _blurred(~mine[others], sigma)
    smoothed = (inside > outside) & mine
    smoothed = _with_thin_parts(mask, smoothed, THIN * width, spacing)
    smoothed = _with_bridges(mask, smoothed)
    new = np.where(mask, 0, view).astype(view.dtype)
    new[smoothed] = value
    return change_between(labels, new, box)


def within(mask: np.ndarray, distance: float, spacing: Sequence[float]) -> np.ndarray:
    """Return the voxels whose centre is at most ``distance`` mm from that of a true voxel.

    Exact squared Euclidean distances, axis after axis as in a separable distance transform, but only
    up to ``distance``: for the few voxels in question much quicker than the whole transform.
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


def _with_thin_parts(
    mask: np.ndarray, smoothed: np.ndarray, reach: float, spacing: Sequence[float]
) -> np.ndarray:
    """Give ``smoothed`` back the parts of ``mask`` that lie further than ``reach`` from what is sound in it."""
    # What is left of a part that all but vanished is no thicker than a third of the reach.
    core = ~within(~smoothed, reach / 3, spacing)
    sound = smoothed & within(core, 2 * reach / 3, spacing)
    lost = _beyond(np.argwhere(mask & ~sound), sound, reach, spacing)
    if not len(lost):
        return smoothed
    again = reach + max(spacing)
    ball = _ball(again, spacing)
    near = np.zeros_like(mask)
    if len(lost) * len(ball) < mask.size:  # few: much quicker one by one
        limits = np.array(mask.shape) - 1
        for offset in ball:
            near[tuple(np.clip(lost + offset, 0, limits).T)] = True
    else:
        near[tuple(lost.T)] = True
        near = within(near, again, spacing)
    return smoothed | (mask & near)


def _beyond(
    voxels: np.ndarray, mask: np.ndarray, distance: float, spacing: Sequence[float]
) -> np.ndarray:
    """Return those of ``voxels`` (n, ndim) further than ``distance`` mm from every true one of ``mask``.

    Most are beside one: looking at the nearest places first, few remain for the others.
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


def _with_bridges(mask: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    """Give ``smoothed`` back the removed parts of ``mask`` that joined what is now apart."""
    kept, count = label_pieces(smoothed)
    if count < 2:
        return smoothed
    removed, _ = label_pieces(mask & ~smoothed)
    voxels = np.nonzero(removed)
    part = removed[voxels]
    around = np.pad(kept, 1)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for offset in product((0, 1, 2), repeat=mask.ndim):
        piece = around[tuple(v + o for v, o in zip(voxels, offset, strict=True))]
        touching = np.stack([part[piece > 0], piece[piece > 0]], axis=1)
        pairs.append(np.unique(touching, axis=0))
    parts, touched = np.unique(np.unique(np.concatenate(pairs), axis=0)[:, 0], return_counts=True)
    bridges = np.zeros(removed.max() + 1, dtype=bool)
    bridges[parts[touched > 1]] = True
    return smoothed | bridges[removed] if bridges.any() else smoothed
