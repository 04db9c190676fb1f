"""What must hold before a run: each failure is one sentence that says what to change."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np

from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from .memory import check_room
from .orientation import orientation_change
from .scan import Scan

TOO_LARGE, TOO_SMALL = 1.5, 0.4


def check_fit(metadata: Metadata, scan: Scan) -> None:
    """Raise LDSegError if ``metadata``'s checkpoint cannot sensibly segment ``scan``."""
    _check_dimensions(metadata, scan)
    _check_intensity_type(scan)
    _check_channels(metadata, scan)
    _check_field_of_view(metadata, scan)


def check_whole(what: str, value: object, least: int) -> None:
    """Raise LDSegError if ``value`` is not a whole number of at least ``least``."""
    if not isinstance(value, Integral) or int(value) < least:
        raise LDSegError(f"{what} must be a whole number of at least {least}, not {value!r}.")


def extent_mm(metadata: Metadata, scan: Scan) -> tuple[float, ...]:
    """Return the scan's extent along the checkpoint's axes in mm."""
    dims = metadata.architecture.dims
    extent = np.asarray(scan.shape[-dims:]) * np.asarray(scan.spacing[-dims:])
    extent = extent[list(orientation_change(metadata, scan.affine)[0])]
    return tuple(float(e) for e in extent)


def extent_mismatch(metadata: Metadata, scan: Scan) -> float:
    """Return how far the scan's extent is outside the field of view: the largest |log ratio|, 0 inside."""
    seen = metadata.field_of_view
    if seen is None or not scan.calibrated:
        return 0.0
    pairs = zip(extent_mm(metadata, scan), seen.smallest, seen.largest, strict=True)
    return max(abs(math.log(e / min(max(e, low), high))) for e, low, high in pairs)


def _check_dimensions(metadata: Metadata, scan: Scan) -> None:
    if scan.space < metadata.architecture.dims:
        found = "a single 2D image" if len(scan.shape) == 2 else "a loop of 2D images"
        raise LDSegError(
            f"{metadata.name} segments 3D volumes, but {scan.name} is {found}; choose a 2D checkpoint."
        )
    if min(scan.shape) < 1:
        raise LDSegError(f"{scan.name} is empty; choose another image.")


def _check_intensity_type(scan: Scan) -> None:
    dtype = np.dtype(scan.array.dtype)
    if dtype.kind not in "buif":
        raise LDSegError(f"{scan.name} holds {dtype} values; convert it to real numbers first.")


def _check_channels(metadata: Metadata, scan: Scan) -> None:
    wanted = metadata.architecture.image_channels
    if scan.channel_count == wanted:
        return
    if wanted == 1:
        raise LDSegError(
            f"{metadata.name} needs a grey image, but {scan.name} is in colour; right-click the "
            "layer, choose Split RGB and select one of the new layers."
        )
    raise LDSegError(
        f"{metadata.name} needs {wanted} channels ({', '.join(metadata.channels)}), but "
        f"{scan.name} has {scan.channel_count}; choose another image or checkpoint."
    )


def _check_field_of_view(metadata: Metadata, scan: Scan) -> None:
    fov = metadata.field_of_view
    if fov is None:
        return
    extent = extent_mm(metadata, scan)
    shown = " x ".join(f"{e:.0f}" for e in extent)
    usual = " x ".join(
        f"{low:.0f}-{high:.0f}" for low, high in zip(fov.smallest, fov.largest, strict=True)
    )
    advice = "" if scan.calibrated else " (its units are not known and were taken as mm)"
    if any(e > TOO_LARGE * high for e, high in zip(extent, fov.largest, strict=True)):
        raise LDSegError(
            f"{scan.name} covers {shown} mm{advice}, but {metadata.name} was trained on {usual} mm; "
            "draw a box around the structure and choose it under Region."
        )
    if any(e < TOO_SMALL * low for e, low in zip(extent, fov.smallest, strict=True)):
        raise LDSegError(
            f"{scan.name} covers only {shown} mm{advice}, but {metadata.name} was trained on "
            f"{usual} mm; use a larger part of the scan."
        )


def check_memory(metadata: Metadata, scan: Scan, available: float | None = None) -> None:
    """Raise LDSegError if the posterior on ``scan`` would not fit in ``available`` bytes.

    By default that is the memory this machine has left.
    """
    dims, classes = metadata.architecture.dims, metadata.architecture.classes
    running, one_sample = math.prod(scan.shape), math.prod(scan.shape[-dims:])
    needed = 4 * classes * (2 * running + 3 * one_sample)
    advice = "draw a box around the structure and choose it under Region"
    check_room(f"The result on {scan.name}", needed, advice, available)
