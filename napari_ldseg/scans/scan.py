"""An image with its geometry.

Arrays are on their nearest anatomical axes: the last three axes run towards superior, posterior and
left, so that an axial slice is displayed as radiologists expect. The affine is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..errors import LDSegError

# From RAS+ to the world of DICOM and ITK, towards left, posterior, superior; and back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_SHIFT = 0.1  # of the smallest voxel size, between images on the same grid


@dataclass(frozen=True)
class Scan:
    """An image array and its position in the world.

    Parameters
    ----------
    array
        (*leading, *space) or, with ``channels``, (*leading, *space, channels). Space is (y, x) or
        (z, y, x); leading axes are frames. Anything that numpy can index and convert.
    affine
        4x4, from the index of the last three spatial axes to mm in RAS+ world coordinates (a 2D
        image counts as one slice). The default is (z, y, x) towards superior, posterior, left in
        steps of 1 mm.
    channels
        Whether the last axis holds channels (RGB, several sequences).
    calibrated
        Whether the affine is known to be in millimetres, not only assumed.
    name
        The image's name in messages and in the provenance.
    source
        What is needed of the file it was read from to write a result like it.
    flat
        Whether space is (y, x) for any number of axes: all axes before them are frames of one slice.
    modality
        What DICOM calls it, such as CT, MR or US; "" where it is not known.

    Raises
    ------
    LDSegError
        If the affine is not an invertible 4x4 matrix.
    """

    array: Any
    affine: np.ndarray = None  # type: ignore[assignment]  # set in __post_init__
    channels: bool = False
    calibrated: bool = True
    name: str = "image"
    source: Source | None = None
    flat: bool = False
    modality: str = ""

    def __post_init__(self) -> None:
        if self.affine is None:
            object.__setattr__(self, "calibrated", False)
            object.__setattr__(self, "affine", default_affine((1.0, 1.0, 1.0)))
        object.__setattr__(self, "affine", checked_affine(self.affine, self.name))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes except the channels."""
        return tuple(self.array.shape[: self.array.ndim - self.channels])

    @property
    def space(self) -> int:
        """Number of spatial axes, 3 or 2; the axes before them are frames."""
        return min(2 if self.flat else 3, len(self.shape))

    @property
    def size(self) -> tuple[int, int, int]:
        """Numbers of voxels along the axes of the affine; 1 along the first for a single slice."""
        z, y, x = ((1,) * (3 - self.space) + self.shape[-self.space :])[-3:]
        return z, y, x

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel sizes of the last three axes in mm."""
        z, y, x = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel(self) -> tuple[float, ...]:
        """Size of a voxel along each spatial axis, in mm; 1 each where the image is not calibrated."""
        return self.spacing[-self.space :] if self.calibrated else (1.0,) * self.space

    @property
    def voxel_size(self) -> float:
        """mm^3 per voxel (mm^2 per pixel of a single slice), 1 where the image is not calibrated."""
        if not self.calibrated:
            return 1.0
        # Of a sheared scan (a tilted gantry) it is less than the product of the spacing.
        z, y, x = self.affine[:3, :3].T
        area = np.cross(y, x)
        return float(abs(z @ area) if self.space == 3 else np.linalg.norm(area))

    @property
    def channel_count(self) -> int:
        """Number of channels, 1 if there is no channel axis."""
        return self.array.shape[-1] if self.channels else 1


@dataclass(frozen=True)
class Source:
    """What a result needs of the file or files that its image was read from, to be written like them.

    Display axis i is the file's axis ``order[i]``, reversed where ``flips[i]`` is -1.

    Parameters
    ----------
    affine
        4x4, from the indices of the file's first three axes to RAS+ world coordinates.
    shape
        (x, y, z, *frames) as in the file, without channels.
    order, flips
        Set by ``display_axes.on_display_axes``.
    format
        The name of the file's format.
    header
        The header of a NIfTI file.
    files
        The files of an image that is made of several, such as the slices of a DICOM series, in the order of
        the last axis of space, then of time.
    window
        The smallest and the largest value to show, as the file proposes.
    """

    affine: np.ndarray
    shape: tuple[int, ...]
    order: tuple[int, ...] = ()
    flips: tuple[int, ...] = ()
    format: str = "NIfTI"
    header: nib.Nifti1Header | None = None
    files: tuple[Path, ...] = ()
    window: tuple[float, float] | None = None


def default_affine(spacing: tuple[float, float, float]) -> np.ndarray:
    """Return the affine of (z, y, x) axes towards superior, posterior and left, ``spacing`` in mm."""
    z, y, x = spacing
    return np.array([[0, 0, -x, 0], [0, -y, 0, 0], [z, 0, 0, 0], [0, 0, 0, 1]], dtype=float)


def corner_distance(affine: np.ndarray, other: np.ndarray, size: tuple[int, int, int]) -> float:
    """Return how far apart, in mm, two 4x4 affines put a corner voxel of an image of ``size`` at most."""
    corners = np.array(np.meshgrid(*([0, n - 1] for n in size))).reshape(3, -1)
    difference = np.asarray(affine) - np.asarray(other)
    distances = np.linalg.norm(difference[:3, :3] @ corners + difference[:3, 3:], axis=0)
    return float(distances.max())


def checked_affine(affine: Any, name: str) -> np.ndarray:
    """Return ``affine`` as float; raise LDSegError if it is not an invertible 4x4 matrix."""
    affine = np.asarray(affine, dtype=float)
    if affine.shape != (4, 4):
        raise LDSegError(f"{name}: the affine must be 4x4, not {affine.shape}.")
    # Of unit vectors, because voxels may have any size in any unit.
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / np.where(lengths > 0, lengths, 1)
    if not np.isfinite(affine).all() or abs(np.linalg.det(directions)) < 1e-6:
        raise LDSegError(
            f"{name} has an invalid affine (its voxels have no volume); correct the header."
        )
    return affine
