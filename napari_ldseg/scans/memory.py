"""Whether an image fits into this machine's memory, checked before anything is allocated."""

from __future__ import annotations

import math

import psutil

from ..errors import LDSegError

MAX_VOXELS = 2**31
MAX_EXPANSION = 1032  # of deflate


def check_size(name: str, shape: tuple[int, ...], bytes_per_voxel: int) -> None:
    """Raise LDSegError if the image ``name`` is too large to be read into memory."""
    voxels = math.prod(shape)
    if voxels > MAX_VOXELS:
        raise LDSegError(f"{name} has more than 2^31 voxels; crop it first.")
    check_available_memory(name, voxels * bytes_per_voxel, "crop it first")


def check_available_memory(
    what: str, needed: int, advice: str, available: float | None = None
) -> None:
    """Raise LDSegError if ``needed`` bytes for ``what`` are more than ``available``.

    ``available`` defaults to this machine's free memory.
    """
    if needed > (psutil.virtual_memory().available if available is None else available):
        raise LDSegError(f"{what} needs {needed / 2**30:.1f} GiB of memory; {advice}.")


def truncated(name: str, needed: int) -> LDSegError:
    """Return the error for a file that holds less than the ``needed`` bytes of its voxels."""
    return LDSegError(
        f"{name} is truncated: its header gives {needed / 2**20:.1f} MiB of voxels; copy the file again."
    )
