"""Checks before a run: each failure is one sentence with what to change."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from numbers import Integral

import numpy as np

from ..checkpoint.metadata import FieldOfView, Metadata
from ..errors import LDSegError
from ..scans.memory import check_available_memory
from ..scans.scan import Scan
from .orientation import orientation_change

TOO_LARGE, TOO_SMALL = 1.5, 0.4
USE_A_BOX = "draw a box around the structure and choose it under Region"


def check_fit(metadata: Metadata, scan: Scan) -> None:
    """Raise LDSegError if the checkpoint of ``metadata`` does not suit ``scan``."""
    _check_dimensions(metadata, scan)
    _check_intensity_type(scan)
    _check_channels(metadata, scan)
    _check_field_of_view(metadata, scan)


def warn_of_unknown_size(metadata: Metadata, scan: Scan) -> None:
    """Warn if a 3D checkpoint is used on voxels whose size is not known, as the networks depend on it."""
    if metadata.architecture.dims == 3 and not scan.calibrated:
        warnings.warn(
            f"{scan.name} does not give its voxel size in a unit of length: 1 was taken as 1 mm for "
            f"{metadata.name}; check the result, or write the true size into the file.",
            stacklevel=2,
        )


def check_integer(what: str, value: object, least: int) -> None:
    """Raise LDSegError if ``value`` is not an integer of at least ``least``."""
    if not isinstance(value, Integral) or int(value) < least:
        raise LDSegError(f"{what} must be an integer of at least {least}, not {value!r}.")


def extent_mm(metadata: Metadata, scan: Scan) -> tuple[float, ...]:
    """Return the scan's extent along the axes of the checkpoint in mm."""
    dims = metadata.architecture.dims
    extent = np.asarray(scan.shape[-dims:]) * np.asarray(scan.spacing[-dims:])
    extent = extent[list(orientation_change(metadata, scan.affine)[0])]
    return tuple(float(e) for e in extent)


def field_of_view(metadata: Metadata, scans: Iterable[Scan]) -> FieldOfView | None:
    """Return the checkpoint's field of view, extended by that of the calibrated ``scans``; None in 2D."""
    if metadata.architecture.dims == 2:
        return metadata.field_of_view
    volumes = (scan for scan in scans if scan.calibrated and len(scan.shape) >= 3)
    extents = [extent_mm(metadata, scan) for scan in volumes]
    if metadata.field_of_view is not None:
        extents += [metadata.field_of_view.smallest, metadata.field_of_view.largest]
    if not extents:
        return None
    smallest, largest = np.min(extents, axis=0), np.max(extents, axis=0)
    return FieldOfView(smallest=tuple(smallest.tolist()), largest=tuple(largest.tolist()))


def outside_field_of_view(metadata: Metadata, scan: Scan) -> tuple[str, str] | None:
    """Return what is wrong with a scan far larger or smaller than the training images, and what to do.

    None if its size is in the usual range or the range is not known.
    """
    fov = metadata.field_of_view
    if fov is None:
        return None
    extent = extent_mm(metadata, scan)
    large = any(e > TOO_LARGE * high for e, high in zip(extent, fov.largest, strict=True))
    small = any(e < TOO_SMALL * low for e, low in zip(extent, fov.smallest, strict=True))
    if not large and not small:
        return None
    size = " x ".join(f"{e:.0f}" for e in extent)
    usual = " x ".join(
        f"{low:.0f}-{high:.0f}" for low, high in zip(fov.smallest, fov.largest, strict=True)
    )
    assumed = "" if scan.calibrated else " (its units are not known and were taken as mm)"
    trained = f"{assumed}, but {metadata.name} was trained on {usual} mm"
    if large:
        return f"{scan.name} covers {size} mm{trained}", USE_A_BOX
    return f"{scan.name} covers only {size} mm{trained}", "use a larger part of the scan"


def extent_mismatch(metadata: Metadata, scan: Scan) -> float:
    """Return how far the scan's extent is outside the field of view: the largest |log ratio|, 0 inside."""
    fov = metadata.field_of_view
    if fov is None or not scan.calibrated:
        return 0.0
    per_axis = zip(extent_mm(metadata, scan), fov.smallest, fov.largest, strict=True)
    return max(abs(math.log(e / min(max(e, low), high))) for e, low, high in per_axis)


def _check_dimensions(metadata: Metadata, scan: Scan) -> None:
    if scan.space < metadata.architecture.dims:
        kind = "a single 2D image" if len(scan.shape) == 2 else "a loop of 2D images"
        raise LDSegError(
            f"{metadata.name} segments 3D volumes, but {scan.name} is {kind}; choose a 2D checkpoint."
        )
    if min(scan.shape) < 1:
        raise LDSegError(f"{scan.name} is empty; choose another image.")


def _check_intensity_type(scan: Scan) -> None:
    dtype = np.dtype(scan.array.dtype)
    if dtype.kind not in "buif":
        raise LDSegError(f"{scan.name} holds {dtype} values; convert it to real numbers first.")


def _check_channels(metadata: Metadata, scan: Scan) -> None:
    channels = metadata.architecture.image_channels
    if scan.channel_count == channels:
        return
    if channels == 1:
        raise LDSegError(
            f"{metadata.name} needs a grey image, but {scan.name} is in colour; convert it (in napari: "
            "right-click the layer, choose Split RGB and select one of the new layers)."
        )
    raise LDSegError(
        f"{metadata.name} needs {channels} channels ({', '.join(metadata.channels)}), but "
        f"{scan.name} has {scan.channel_count}; choose another image or checkpoint."
    )


def _check_field_of_view(metadata: Metadata, scan: Scan) -> None:
    problem = outside_field_of_view(metadata, scan)
    if problem is not None:
        raise LDSegError("; ".join(problem) + ".")


def check_memory(metadata: Metadata, scan: Scan, available: float | None = None) -> None:
    """Raise LDSegError if the posterior of ``scan`` does not fit into ``available`` bytes.

    ``available`` defaults to this machine's free memory.
    """
    dims, classes = metadata.architecture.dims, metadata.architecture.classes
    # float32: the running mean and squares of all frames, and three arrays for the current sample.
    all_frames, one_frame = math.prod(scan.shape), math.prod(scan.shape[-dims:])
    needed = 4 * classes * (2 * all_frames + 3 * one_frame)
    check_available_memory(f"The result on {scan.name}", needed, USE_A_BOX, available)


def check_grid_memory(
    metadata: Metadata, grid: tuple[int, ...], available: float | None = None
) -> None:
    """Raise LDSegError if images on the networks' ``grid`` (voxels per axis) do not fit into memory.

    Counts the input, the class probabilities twice, and one layer of each full-size network.
    """
    arch = metadata.architecture
    layers = arch.image_widths[0] + arch.label_widths[0]
    values = arch.image_channels + 2 * arch.classes + layers
    size = " x ".join(map(str, grid))
    check_available_memory(
        f"{metadata.name} on its grid of {size} voxels",
        4 * values * math.prod(grid),
        "use a checkpoint with a smaller grid or a larger spacing",
        available,
    )
