"""A box of an image, and the way of its results back onto the whole image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import LDSegError
from .scan import Scan


@dataclass(frozen=True)
class Region:
    """A box in index space: ``start`` inclusive, ``stop`` exclusive, one entry per axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as slices."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


def whole(scan: Scan) -> Region:
    """Return the region that covers all of ``scan``."""
    return Region((0,) * len(scan.shape), scan.shape)


def clipped(start: np.ndarray, stop: np.ndarray, scan: Scan) -> Region:
    """Return the box from ``start`` to ``stop`` (real indices), rounded outwards and inside ``scan``.

    Raises
    ------
    LDSegError
        If the box does not overlap the image.
    """
    low = np.maximum(np.floor(start + 0.5), 0).astype(int)
    high = np.minimum(np.ceil(stop + 0.5), scan.shape).astype(int)
    if (high - low < 1).any():
        raise LDSegError(f"The box lies outside {scan.name}; draw it over the structure.")
    return Region(tuple(low.tolist()), tuple(high.tolist()))


def crop(scan: Scan, region: Region) -> Scan:
    """Return the part of ``scan`` inside ``region``; its affine still points at the same world."""
    space = min(3, len(scan.shape))
    offset = np.zeros(4)
    offset[3 - space : 3] = region.start[-space:]
    affine = np.array(scan.affine)
    affine[:3, 3] += affine[:3, :3] @ offset[:3]
    return replace(scan, array=scan.array[region.slices], affine=affine, source=None)
