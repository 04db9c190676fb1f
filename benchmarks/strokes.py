"""Where a brush has to go to make labels those of an expert: pieces of errors, a stroke, a line along an edge."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.measure import approximate_polygon

from napari_ldseg.evaluation.overlap import mean_dsc

STRAIGHT = 0.7  # voxels that a stroke's straight parts may be beside its path
CONNECTED = np.ones((3, 3))


class Brush:
    """napari's round brush, ``size`` voxels wide, in the slices of ``expert`` (2D or 3D, integer).

    Attributes
    ----------
    disc
        The voxels it paints, bool.
    centres, paintable
        By class: where the brush is inside the expert's structure, and what it covers from there.
    best
        The mean DSC of perfect painting: every voxel that the brush can cover is right.
    """

    def __init__(self, expert: np.ndarray, start: np.ndarray, classes: int, size: int):
        self.expert, self.classes, self.size = expert, classes, size
        offsets = np.arange(-(size // 2), size // 2 + 1)
        self.disc = offsets[:, None] ** 2 + offsets**2 <= (size // 2 + 0.5) ** 2
        disc = self.disc.reshape((1,) * (expert.ndim - 2) + self.disc.shape)
        self.centres = {
            c: ndimage.binary_erosion(expert == c, disc, border_value=1) for c in range(classes)
        }
        self.paintable = {c: ndimage.binary_dilation(m, disc) for c, m in self.centres.items()}
        painted = start.copy()
        for c, where in self.paintable.items():
            painted[where] = c
        self.best = self.dsc(painted)

    def dsc(self, labels: np.ndarray) -> float:
        """Return the mean DSC of ``labels``."""
        return mean_dsc(labels, self.expert, self.classes)

    def pieces(
        self,
        labels: np.ndarray,
        frame: tuple[int, ...],
        least: float,
        visible: np.ndarray | None = None,
        near: np.ndarray | None = None,
    ) -> list[tuple[int, np.ndarray]]:
        """Return the pieces of errors in a slice that a brush can repair: (class, mask), the largest first.

        A piece has at least ``least`` voxels where the slice is ``visible``, and a part of ``near``.
        """
        labels, expert = labels[frame], self.expert[frame]
        found = []
        for c in range(self.classes):
            wrong = (labels != c) & (expert == c) & self.paintable[c][frame]
            if visible is not None:
                wrong &= visible
            pieces, count = ndimage.label(wrong, CONNECTED)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)
            touched = range(1, count + 1) if near is None else np.unique(pieces[near])
            found += [(sizes[i], c, pieces == i) for i in touched if i and sizes[i] >= least]
        return [one[1:] for one in sorted(found, key=lambda one: -one[0])]

    def path(
        self, value: int, frame: tuple[int, ...], piece: np.ndarray, visible: np.ndarray
    ) -> list[tuple[int, int]]:
        """Return the pixels of a stroke of class ``value`` along ``piece``.

        It runs between the ends of the centres at which the brush stays inside the structure, where it
        repairs most.
        """
        repairs = ndimage.convolve(piece.astype(int), self.disc.astype(int), mode="constant")
        usable = self.centres[value][frame] & (repairs > 0)
        if (usable & visible).any():
            usable &= visible
        parts, count = ndimage.label(usable, CONNECTED)
        gains = ndimage.sum_labels(repairs, parts, range(1, count + 1))
        inside = parts == 1 + int(np.argmax(gains))
        start = np.unravel_index(np.where(inside, repairs, 0).argmax(), inside.shape)
        length = np.where(inside, 1.0, np.inf)
        for _ in range(2):  # the farthest from anywhere is an end, that from it the other one
            other, start = start, farthest(length, start)
        finder = MCP_Geometric(np.where(inside, 1 / np.maximum(repairs, 1) ** 2, np.inf))
        finder.find_costs([other])
        line = approximate_polygon(np.array(finder.traceback(start)), STRAIGHT)
        return [tuple(int(i) for i in place) for place in line]


def edge_lines(
    labels: np.ndarray, expert: np.ndarray, classes: int, where: np.ndarray
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return lines along the expert's edges of the foreground classes: (class, pixels).

    In ``where`` (bool, one slice), each runs on the outermost pixels of a structure from the first to the last
    of them that touch an error of this class.
    """
    found = []
    for c in range(1, classes):
        inside = expert == c
        edge = inside & ~ndimage.binary_erosion(inside, border_value=1) & where
        wrong = (labels != expert) & (inside | (labels == c)) & where
        beside = ndimage.binary_dilation(wrong) & edge
        parts, count = ndimage.label(edge, CONNECTED)
        for i in range(1, count + 1):
            ends = beside & (parts == i)
            if ends.sum() < 3:
                continue
            length = np.where(parts == i, 1.0, np.inf)
            start = tuple(np.argwhere(ends)[0])
            for _ in range(2):
                other, start = start, farthest(length, start, ends)
            finder = MCP_Geometric(length)
            finder.find_costs([other])
            way = np.array(finder.traceback(start))
            if len(way) > 2:
                line = approximate_polygon(way, STRAIGHT)
                found.append((c, [tuple(int(i) for i in place) for place in line]))
    return found


def farthest(
    cost: np.ndarray, start: tuple[int, ...], among: np.ndarray | bool = True
) -> tuple[int, ...]:
    """Return the reachable pixel, of those ``among``, with the longest way from ``start``."""
    costs, _ = MCP_Geometric(cost).find_costs([start])
    return np.unravel_index(np.where(np.isfinite(costs) & among, costs, -1).argmax(), costs.shape)
