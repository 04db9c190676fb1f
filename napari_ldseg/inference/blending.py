"""Blending the tiles of one sample into its class probabilities, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Box = tuple[slice, ...]
MOST_ROWS = 32


class Blending:
    """Adds up weighted tiles and hands over each row as soon as all of its tiles are there.

    Rows are along the image's first axis. Only the rows between the first and the last tile of a few
    neighbouring rows of tiles are in memory, if the tiles come row by row.

    Parameters
    ----------
    shape
        The image's (*space).
    classes
        Number of classes; class 0 fills what no tile covers.
    boxes
        The part of the image that each tile covers.
    on_rows
        Called with the first row and the probabilities (classes, rows, *space[1:]), float32, 0 to 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        boxes: Sequence[Box],
        on_rows: Callable[[int, Tensor], None],
    ):
        self._shape, self._classes, self._on_rows = tuple(shape), classes, on_rows
        # Rows without tiles are handed over a few at a time, too.
        edges = {*range(0, shape[0], MOST_ROWS), shape[0]} | {
            e for box in boxes for e in (box[0].start, box[0].stop)
        }
        self._edges = sorted(edges)
        self._left = [
            sum(box[0].start < b and box[0].stop > a for box in boxes)
            for a, b in zip(self._edges, self._edges[1:], strict=False)
        ]
        self._sums: dict[int, Tensor] = {}
        for number, left in enumerate(self._left):
            if left == 0:
                self._finish(number)

    def add(self, box: Box, values: Tensor) -> None:
        """Add a tile: weighted probabilities of the classes from 1 on, and the weight, (classes, *box)."""
        first, last = np.searchsorted(self._edges, (box[0].start, box[0].stop))
        for number in range(first, last):
            a, b = self._edges[number], self._edges[number + 1]
            if number not in self._sums:
                self._sums[number] = torch.zeros(self._classes, b - a, *self._shape[1:])
            rows = values[:, a - box[0].start : b - box[0].start]
            self._sums[number][(slice(None), slice(None), *box[1:])] += rows
            self._left[number] -= 1
            if self._left[number] == 0:
                self._finish(number)

    def _finish(self, number: int) -> None:
        """Hand over the rows between two edges."""
        a, b = self._edges[number], self._edges[number + 1]
        sums = self._sums.pop(number, None)
        if sums is None:
            sums = torch.zeros(self._classes, b - a, *self._shape[1:])
        weight = sums[-1].clone()
        for c in range(self._classes - 1, 0, -1):
            sums[c] = torch.where(weight > 0, sums[c - 1] / weight, 0)
        sums[0] = 1 - sums[1:].sum(0)
        self._on_rows(a, sums.clamp_(0, 1))
