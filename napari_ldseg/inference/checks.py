"""Checks before a run: each failure is one sentence with what to change."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TypeVar

import numpy as np

from ..checkpoint.metadata import FieldOfView, LargerImages, Metadata, TrainingSize
from ..errors import LDSegError
from ..scans.memory import check_available_memory
from ..scans.scan import Scan
from .orientation import orientation_change

Range = TypeVar("Range", FieldOfView, TrainingSize)
TOO_LARGE, TOO_SMALL = 1.5, 0.4
UNKNOWN_SIZE = {2: 320, 3: 128}  # of training images on the grid, where it is not known
USE_A_BOX = "draw a box around the structure and choose it under Region"


def check_fit(metadata: Metadata, scan: Scan, larger_allowed: bool = False) -> None:
    """Raise LDSegError if the checkpoint of ``metadata`` does not suit ``scan``.

    With ``larger_allowed``, a scan far larger than the training images does, because it is segmented in
    tiles; see ``tiles.tile_grid``.
    """
    _check_dimensions(metadata, scan)
    _check_intensity_type(scan)
    _check_channels(metadata, scan)
    _check_field_of_view(metadata, scan, larger_allowed)


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
    return _range(FieldOfView, metadata.field_of_view, [extent_mm(metadata, s) for s in volumes])


def training_size(metadata: Metadata, scans: Iterable[Scan]) -> TrainingSize | None:
    """Return the checkpoint's training size, extended by that of ``scans``; None in 3D.

    The sizes are those of ``metadata.TrainingSize``; of a volume, those of its slices.
    """
    if metadata.architecture.dims == 3:
        return metadata.training_size
    fixed = metadata.grid.size is not None
    sizes = [scan.shape[-2:] if fixed else on_grid(metadata, scan) for scan in scans]
    return _range(TrainingSize, metadata.training_size, sizes)


def _range(
    kind: type[Range], known: Range | None, sizes: Sequence[Sequence[float]]
) -> Range | None:
    """Return the smallest and the largest of ``sizes`` and of the ``known`` range; None without any."""
    found = [*sizes] if known is None else [*sizes, known.smallest, known.largest]
    if not found:
        return None
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    return kind(smallest=tuple(low.tolist()), largest=tuple(high.tolist()))


def on_grid(metadata: Metadata, scan: Scan) -> tuple[int, ...]:
    """Return the scan's size on the networks' grid of fixed spacing, in voxels, without padding."""
    extent = extent_mm(metadata, scan)
    spacing = metadata.grid.spacing or ()
    return tuple(max(1, round(e / s)) for e, s in zip(extent, spacing, strict=True))


def larger_images(metadata: Metadata) -> LargerImages:
    """Return what to do with images that are far larger than the training images.

    Where the checkpoint does not say it: 3D training images with a known field of view count as crops
    ("find"); images that are resized to a fixed size are taken as a whole; others are tiled.
    """
    if metadata.larger_images is not None:
        return metadata.larger_images
    if metadata.architecture.dims == 3 and metadata.field_of_view is not None:
        return "find"
    return "resize" if metadata.grid.size is not None else "tile"


def trained_sizes(
    metadata: Metadata, scan: Scan
) -> tuple[Sequence[float], Sequence[float], Sequence[float]] | None:
    """Return the scan's size along the checkpoint's axes, and the smallest and largest one in training.

    All in mm or in pixels, whichever the checkpoint has; None if they are not known and not needed.
    """
    dims = metadata.architecture.dims
    if metadata.field_of_view is not None:
        fov = metadata.field_of_view
        return extent_mm(metadata, scan), fov.smallest, fov.largest
    if metadata.grid.size is None:
        lengths = on_grid(metadata, scan)
    else:
        order, _ = orientation_change(metadata, scan.affine)
        lengths = tuple(scan.shape[len(scan.shape) - dims :][axis] for axis in order)
    if metadata.training_size is not None:
        return lengths, metadata.training_size.smallest, metadata.training_size.largest
    unknown = (UNKNOWN_SIZE[dims],) * dims
    return None if metadata.grid.size is not None else (lengths, unknown, unknown)


def is_larger(metadata: Metadata, scan: Scan) -> bool:
    """Return whether ``scan`` is far larger than the training images, so that it needs tiles."""
    sizes = trained_sizes(metadata, scan)
    if sizes is None or larger_images(metadata) == "resize":
        return False
    lengths = sizes[0]
    if metadata.field_of_view is None and metadata.training_size is None:
        # A fine grid alone does not make a small image a large one.
        order, _ = orientation_change(metadata, scan.affine)
        own = scan.shape[len(scan.shape) - len(order) :]
        lengths = [min(n, own[axis]) for n, axis in zip(lengths, order, strict=True)]
    return any(n > TOO_LARGE * high for n, high in zip(lengths, sizes[2], strict=True))


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


def _check_field_of_view(metadata: Metadata, scan: Scan, larger_allowed: bool) -> None:
    problem = outside_field_of_view(metadata, scan)
    larger = larger_allowed and larger_images(metadata) != "resize"
    if problem is not None and not (larger and problem[1] == USE_A_BOX):
        raise LDSegError("; ".join(problem) + ".")


def check_memory(
    metadata: Metadata, scan: Scan, available: float | None = None, in_tiles: bool = False
) -> None:
    """Raise LDSegError if the posterior of ``scan``, perhaps ``in_tiles``, does not fit into ``available`` bytes.

    ``available`` defaults to this machine's free memory.
    """
    dims, classes = metadata.architecture.dims, metadata.architecture.classes
    # float32: the running mean and squares of all frames and, half as large, the label map's estimate; and three
    # arrays for the current sample, of which tiles need only some rows.
    all_frames, one_frame = math.prod(scan.shape), math.prod(scan.shape[-dims:])
    needed = 2 * classes * (5 * all_frames + (0 if in_tiles else 6) * one_frame)
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
