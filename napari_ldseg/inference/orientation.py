"""The axes of an image in the orientation of a checkpoint; imports no torch, for the GUI thread."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from ..checkpoint.metadata import Metadata


def orientation_change(
    metadata: Metadata, affine: np.ndarray
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return for each axis of the checkpoint the image's axis along it and its direction (1 or -1)."""
    dims = metadata.architecture.dims
    if not metadata.orientation:
        return tuple(range(dims)), (1,) * dims
    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(metadata.orientation)))
    order = tuple(int(i) for i in np.argsort(change[:, 0]))
    return order, tuple(int(change[i, 1]) for i in order)
