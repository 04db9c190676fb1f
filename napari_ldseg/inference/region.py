"""A box of an image, and the scan inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from ..scans.scan import Scan
from .orientation import orientation_change


@dataclass(frozen=True)
class Region:
    """A box in index space: ``start`` inclusive, ``stop`` exclusive, one entry per axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as slices."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))


def full_region(scan: Scan) -> Region:
    """Return the region that covers the complete ``scan``."""
    return Region((0,) * len(scan.shape), scan.shape)


def bounding_region(points: np.ndarray, scan: Scan, metadata: Metadata) -> Region:
    """Return the box around ``points`` (n, axes), in real indices, rounded outwards and clipped to ``scan``.

    On an axis where all points are equal, the box has the extent that a 3D model was trained on, centred
    on the points; for a 2D model it has the image's extent.

    Raises
    ------
    LDSegError
        If the box does not overlap the image.
    """
    start, stop = points.min(0), points.max(0)
    leading = len(scan.shape) - metadata.architecture.dims
    order, _ = orientation_change(metadata, scan.affine)
    for axis in np.flatnonzero(stop - start < 1e-6):
        if metadata.field_of_view is None or axis < leading or metadata.architecture.dims != 3:
            start[axis], stop[axis] = -0.5, scan.shape[axis] - 0.5
            continue
        extent = metadata.field_of_view.largest[order.index(axis - leading)]
        half = extent / scan.spacing[axis - leading] / 2
        start[axis], stop[axis] = start[axis] - half, stop[axis] + half
    low = np.maximum(np.floor(start + 0.5), 0).astype(int)
    high = np.minimum(np.ceil(stop + 0.5), scan.shape).astype(int)
    if (high - low < 1).any():
        raise LDSegError(f"The box is outside {scan.name}; draw it over the structure.")
    return Region(tuple(low.tolist()), tuple(high.tolist()))


def crop(scan: Scan, region: Region) -> Scan:
    """Return the part of ``scan`` inside ``region``, at the same position in the world."""
    space = scan.space
    offset = np.zeros(4)
    offset[3 - space : 3] = region.start[-space:]
    affine = np.array(scan.affine)
    affine[:3, 3] += affine[:3, :3] @ offset[:3]
    return replace(scan, array=scan.array[region.slices], affine=affine, source=None)
