"""Corrections of pieces: connected components, with voxels that touch at a corner connected."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .change import Change, bounding_box, change_where, no_change


def keep_largest(labels: np.ndarray, value: int) -> Change:
    """Return the change that removes all pieces of class ``value`` except the largest.

    Parameters
    ----------
    labels
        2D or 3D label image.
    value
        The class; its removed voxels become background (0).
    """
    mask = labels == value
    box = bounding_box(mask)
    if box is None:
        return no_change(labels)
    pieces, count = label_pieces(mask[box])
    if count < 2:
        return no_change(labels)
    sizes = np.bincount(pieces.ravel())
    largest = 1 + int(np.argmax(sizes[1:]))
    return change_where(labels, (pieces > 0) & (pieces != largest), 0, box)


def relabel_piece(labels: np.ndarray, index: tuple[int, ...], value: int) -> Change:
    """Return the change that sets the piece at ``index`` to the class ``value``, 0 to erase it.

    Empty if there is background at ``index``.
    """
    old = labels[index]
    if old == 0 or old == value:
        return no_change(labels)
    mask = labels == old
    box = bounding_box(mask)
    assert box is not None
    pieces, _ = label_pieces(mask[box])
    piece = pieces[tuple(i - s.start for i, s in zip(index, box, strict=True))]
    return change_where(labels, pieces == piece, value, box)


def label_pieces(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the pieces of ``mask``, numbered from 1, and their number."""
    return ndimage.label(mask, np.ones((3,) * mask.ndim, dtype=bool))
