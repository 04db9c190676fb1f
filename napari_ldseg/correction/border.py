"""A drawn border: what a line along the true edge of a class changes on both of its sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.draw import line

from .change import Box, Change, bounding_box, change_between, no_change

REACH = 6  # pixels that the ends of a line may be away from the edge of the class
AROUND = 32  # pixels around the line that are looked at, at least; else as many as it is long
MOST = 0.5  # of its class that a piece may be to change sides


def redraw_border(labels: np.ndarray, points: np.ndarray, value: int) -> Change:
    """Return the change that makes a drawn line the outermost pixels of a class.

    The line has the class. A piece that it cuts off the class gets the class beside it; what is enclosed
    between the line and the class gets the class. The largest piece on either side stays as it is.

    Parameters
    ----------
    labels
        Integer classes of one slice, 2D.
    points
        The line, (n, 2) in pixels. Its ends are joined to the edge of the class if that is near.
    value
        The class.
    """
    drawn = _pixels(points, labels.shape)
    box = bounding_box(drawn)
    if box is None:
        return no_change(labels)
    box = bounding_box(drawn, max(AROUND, *(s.stop - s.start for s in box)))
    assert box is not None
    part, drawn = labels[box], drawn[box]
    inside = part == value
    barrier = drawn.copy()
    for end in (points[0], points[-1]):
        own = np.round(end).astype(int) - [s.start for s in box]
        barrier |= _way_to_edge(inside, own)
    open_ends = _cut_edges(box, labels.shape)
    most = MOST * np.count_nonzero(inside)
    new = part.copy()
    for piece in _cut_off(inside & ~barrier, barrier, open_ends, most):
        beside = ndimage.binary_dilation(piece) & ~inside & ~drawn
        if beside.any():
            new[piece] = np.bincount(part[beside]).argmax()
    for piece in _cut_off(~inside & ~barrier, barrier, open_ends, most):
        new[piece] = value
    new[drawn] = value
    return change_between(labels, new, box)


def _pixels(points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the pixels of the line through ``points`` in a slice of ``shape``, bool."""
    drawn = np.zeros(shape, bool)
    rounded = np.round(points).astype(int)
    for start, stop in zip(rounded, [*rounded[1:], rounded[-1]], strict=True):
        rows, columns = line(*start, *stop)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        drawn[rows[inside], columns[inside]] = True
    return drawn


def _cut_edges(box: Box, shape: Sequence[int]) -> np.ndarray:
    """Return the pixels of the box at edges where the slice goes on, bool."""
    edges = np.ones([s.stop - s.start for s in box], bool)
    edges[
        tuple(
            slice(int(s.start > 0), s.stop - s.start - int(s.stop < n))
            for s, n in zip(box, shape, strict=True)
        )
    ] = False
    return edges


def _cut_off(
    mask: np.ndarray, barrier: np.ndarray, open_ends: np.ndarray, most: float
) -> list[np.ndarray]:
    """Return the pieces of ``mask`` beside the barrier, without the largest and those that go on elsewhere.

    Pixels that touch at a corner are not connected, because a line may be such pixels.
    """
    pieces, count = ndimage.label(mask)
    beside = np.unique(pieces[ndimage.binary_dilation(barrier) & mask])
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    ordered = sorted(beside.tolist(), key=lambda i: -sizes[i])
    going_on = set(np.unique(pieces[open_ends]).tolist())
    return [pieces == i for i in ordered[1:] if sizes[i] <= most and i not in going_on]


def _way_to_edge(inside: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the straight way from ``end`` to the nearest pixel across the edge, if it is near, bool."""
    way = np.zeros(inside.shape, bool)
    if not all(0 <= e < n for e, n in zip(end, inside.shape, strict=True)):
        return way
    low = np.maximum(end - REACH, 0)
    box = tuple(slice(int(a), int(e) + REACH + 1) for a, e in zip(low, end, strict=True))
    across = np.argwhere(inside[box] != inside[tuple(end)]) + low
    if len(across):
        squared = ((across - end) ** 2).sum(1)
        if squared.min() <= REACH**2:
            way[line(*end, *across[squared.argmin()])] = True
    return way
