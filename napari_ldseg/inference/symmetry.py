"""The symmetries of a checkpoint's images: mirror images and quarter turns that it was trained with.

For images without a preferred direction, such as glands in histology, the networks' answer for the turned image,
turned back, is as good as that for the image itself, and the mean of all is better than either.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from torch import Tensor

from ..checkpoint.metadata import Metadata

QUARTER_TURN = math.pi / 2 - 0.01


@dataclass(frozen=True)
class Symmetry:
    """Mirrors the axes ``mirrored`` of arrays (..., *space) with ``dims`` axes of space; then swaps two, if ``swapped``."""

    dims: int
    mirrored: tuple[int, ...] = ()
    swapped: bool = False

    def apply(self, values: Tensor) -> Tensor:
        """Return ``values`` (..., *space) transformed."""
        values = values.flip(self._axes)
        return values.transpose(-1, -2) if self.swapped else values

    def undo(self, values: Tensor) -> Tensor:
        """Return ``values`` (..., *space) transformed back: ``undo(apply(x))`` is ``x``."""
        values = values.transpose(-1, -2) if self.swapped else values
        return values.flip(self._axes)

    @property
    def _axes(self) -> list[int]:
        return [axis - self.dims for axis in self.mirrored]


def symmetries(metadata: Metadata, size: tuple[int, ...]) -> list[Symmetry]:
    """Return the symmetries that the training augmentation had, on a grid of ``size``; the identity is the first.

    Mirroring of each axis that was mirrored, and in 2D on a square grid quarter turns, if rotations were of 90 degrees
    or more. Only the identity if the training record does not say.
    """
    dims = metadata.architecture.dims
    axes = metadata.training.mirrored_axes(dims)
    mirrored = [
        tuple(axes[i] for i in chosen)
        for count in range(len(axes) + 1)
        for chosen in itertools.combinations(range(len(axes)), count)
    ]
    if dims == 2 and metadata.training.rotation >= QUARTER_TURN and size[0] == size[1]:
        if not axes:
            turns = [((), False), ((0,), True), ((0, 1), False), ((1,), True)]
        else:
            every = ((), (0,), (1,), (0, 1))
            turns = [(one, swapped) for swapped in (False, True) for one in every]
        return [Symmetry(dims, one, swapped) for one, swapped in turns]
    return [Symmetry(dims, one) for one in mirrored]
