"""Image files: NIfTI with its exact geometry, and pictures."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError

from ..errors import LDSegError
from ..utils.atomic import atomic_write
from .memory import check_size
from .raster import read_raster
from .scan import NiftiSource, Scan, checked_affine

DISPLAY_AXES = ("S", "P", "L")
# NIfTI's codes of length, in mm. A file without one counts as in mm too, unless it says UNCALIBRATED.
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
UNCALIBRATED = b"LDSeg: sizes in pixels, not in mm"


def read_scan(path: str | os.PathLike) -> Scan:
    """Read a NIfTI file (.nii, .nii.gz) or a 2D picture (PNG, TIFF, JPEG).

    Raises
    ------
    LDSegError
        If the file cannot be read as an image.
    """
    path = Path(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    try:
        array, channels = read_raster(path)
    except LDSegError:
        raise
    except Exception as error:
        raise LDSegError(f"{path.name} cannot be read as a picture: {_reason(error)}.") from error
    return Scan(array, channels=channels, calibrated=False, name=path.name)


def write_like(path: str | os.PathLike, array: np.ndarray, scan: Scan, intent: int = 0) -> Path:
    """Write ``array`` (shaped like ``scan.shape``) as NIfTI on the scan's own grid, atomically.

    If the scan came from a NIfTI file the result has that file's axes order, shape and affine,
    sform and qform included; booleans become uint8. ``intent`` is the NIfTI intent code
    (1002 marks labels).
    """
    if not str(path).lower().endswith((".nii", ".nii.gz")):
        raise LDSegError(f"{path} must end in .nii or .nii.gz.")
    array = np.asarray(array)
    if array.shape != scan.shape:
        raise LDSegError(
            f"{scan.name}: a result of shape {array.shape} is not on the image's grid."
        )
    array = array.astype(np.uint8) if array.dtype == bool else array
    source = scan.source
    if source is not None and math.prod(source.shape) == array.size:
        return _write_nifti(
            path, _to_file_axes(array, source), source.affine, source.header, intent
        )
    data = (array if scan.space == 3 else np.expand_dims(array, -3)).T
    affine = scan.affine[:, [2, 1, 0, 3]]
    return _write_nifti(path, data, affine, new_header(scan.calibrated), intent)


def new_header(calibrated: bool) -> nib.Nifti1Header:
    """Return the header of a NIfTI file that is not like another one; ``calibrated`` as in ``Scan``."""
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm" if calibrated else "unknown")
    if not calibrated:
        header["descrip"] = UNCALIBRATED
    return header


def read_like(path: str | os.PathLike, scan: Scan) -> np.ndarray:
    """Read what ``write_like`` wrote for ``scan``: an array shaped like ``scan.shape`` on its axes.

    Raises
    ------
    LDSegError
        If the file is no NIfTI or not on the scan's grid.
    """
    path = Path(path)
    data, affine, _, shape = _load(path)
    source = scan.source
    wanted = scan.shape if source is None else source.shape
    if _sizes(shape) != _sizes(wanted[::-1] if source is None else wanted):
        ours, theirs = (" x ".join(map(str, _sizes(s))) for s in (shape, wanted))
        raise LDSegError(
            f"{path.name} does not fit {scan.name}: it has {ours} voxels, the image {theirs}; choose "
            "the label that was made on this image."
        )
    if source is None:
        return data.T.reshape(scan.shape)
    step = np.linalg.norm(source.affine[:3, :3], axis=0).min()
    corners = np.array([[0, 0, 0, 1], [*(np.array((*shape, 1, 1, 1)[:3]) - 1), 1]])
    if np.abs((affine - source.affine) @ corners.T).max() > 0.1 * step:
        raise LDSegError(
            f"{path.name} does not lie on {scan.name}: their affines differ; choose the label that "
            "was made on this image."
        )
    return _to_display_axes(data, source).reshape(scan.shape)


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return ``shape`` without axes of size 1, which NIfTI adds and drops."""
    return tuple(n for n in shape if n > 1)


def _read_nifti(path: Path) -> Scan:
    data, affine, header, shape = _load(path)
    colours = data.dtype.names
    if colours is not None:
        data = np.stack([data[name] for name in colours[:3]], axis=-1)
    if data.dtype.kind not in "uif":
        raise LDSegError(f"{path.name} holds {data.dtype} values; only real numbers can be shown.")
    mm = MM_PER_UNIT.get(int(header["xyzt_units"]) % 8)
    calibrated = mm is not None or header["descrip"].item() != UNCALIBRATED
    source = NiftiSource(header, affine, shape, (), ())
    return on_display_axes(data, source, path.name, mm or 1.0, calibrated)


def on_display_axes(
    data: np.ndarray,
    source: NiftiSource,
    name: str,
    mm_per_unit: float = 1.0,
    calibrated: bool = True,
) -> Scan:
    """Return the scan of ``data``, shaped as a file holds it, on its nearest anatomical axes.

    Parameters
    ----------
    data
        (x, y, z, *frames), up to three spatial axes, or with one more axis of channels.
    source
        The file's header, shape and affine (to RAS+); its order and flips are found here.
    name, calibrated
        As in ``Scan``.
    mm_per_unit
        Millimetres per unit of the affine.
    """
    affine, shape = source.affine, source.shape
    channels = data.ndim > len(shape)
    space = shape + (1,) * (3 - len(shape))
    data = data.reshape(space + data.shape[len(shape) :])
    to_display = ornt_transform(io_orientation(affine), axcodes2ornt(DISPLAY_AXES))
    order = tuple(int(i) for i in np.argsort(to_display[:, 0]))
    flips = tuple(int(to_display[i, 1]) for i in order)
    shown = apply_orientation(data, to_display)
    affine_shown = affine @ inv_ornt_aff(to_display, space[:3])
    # A single slice goes in front, whichever way it was cut.
    flat = [axis for axis in range(3) if shown.shape[axis] == 1]
    if flat and flat[0] != 0:
        rest = [axis for axis in range(3) if axis != flat[0]]
        shown = np.moveaxis(shown, flat[0], 0)
        affine_shown = affine_shown[:, [flat[0], *rest, 3]]
        order = tuple(order[axis] for axis in (flat[0], *rest))
        flips = tuple(flips[axis] for axis in (flat[0], *rest))
    frames = [axis for axis in range(3, len(space)) if space[axis] > 1]
    shown = shown.reshape(
        shown.shape[:3] + tuple(space[a] for a in frames) + shown.shape[len(space) :]
    )
    for leading in range(len(frames)):
        shown = np.moveaxis(shown, 3 + leading, 0)
    if flat:
        shown = np.squeeze(shown, axis=len(frames))
    return Scan(
        shown,
        np.diag([mm_per_unit] * 3 + [1]) @ affine_shown,
        channels,
        calibrated,
        name,
        replace(source, order=order, flips=flips),
        flat=bool(flat),
    )


def _load(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header, tuple[int, ...]]:
    """Return the file's array, checked affine, header and shape."""
    try:
        image: Any = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise LDSegError(
                f"{path.name} is a {type(image).__name__}, not a NIfTI image of voxels; choose another file."
            )
        check_size(path.name, image.shape, _bytes_per_voxel(image, path))
        data = np.asanyarray(image.dataobj)
        affine = np.asarray(image.affine, dtype=np.float64)
    except LDSegError:
        raise
    except Exception as error:
        raise LDSegError(f"{path.name} cannot be read as NIfTI: {_reason(error)}.") from error
    return data, checked_affine(affine, path.name), image.header.copy(), tuple(image.shape)


def _bytes_per_voxel(image: Any, path: Path) -> int:
    """Return the memory that reading takes: a scaled array, or a compressed file's own; else it is mapped."""
    compressed = path.name.lower().endswith(".gz")
    steps = (image.dataobj.slope != 1) + (image.dataobj.inter != 0)
    return image.get_data_dtype().itemsize * compressed + steps * np.dtype(float).itemsize


def _reason(error: Exception) -> str:
    """Return a library's message on one line, without its full stop, and not too long."""
    return " ".join(str(error).split()).rstrip(".?")[:200]


def _to_file_axes(array: np.ndarray, source: NiftiSource) -> np.ndarray:
    """Undo the reading: from display axes, frames first, to the file's own axes."""
    space = source.shape + (1,) * (3 - len(source.shape))
    frames = [n for n in space[3:] if n > 1]
    shown = array.reshape(tuple(reversed(frames)) + tuple(space[i] for i in source.order))
    shown = np.moveaxis(shown, range(len(frames)), range(-1, -1 - len(frames), -1))
    for axis, flip in enumerate(source.flips):
        shown = np.flip(shown, axis) if flip < 0 else shown
    data = np.moveaxis(shown, (0, 1, 2), source.order)
    return data.reshape(source.shape)


def _to_display_axes(data: np.ndarray, source: NiftiSource) -> np.ndarray:
    """Undo ``_to_file_axes``."""
    space = source.shape + (1,) * (3 - len(source.shape))
    frames = [n for n in space[3:] if n > 1]
    shown = np.moveaxis(data.reshape(*space[:3], *frames), source.order, (0, 1, 2))
    for axis, flip in enumerate(source.flips):
        shown = np.flip(shown, axis) if flip < 0 else shown
    return np.moveaxis(shown, range(-1, -1 - len(frames), -1), range(len(frames)))


def _write_nifti(
    path: str | os.PathLike,
    data: np.ndarray,
    affine: np.ndarray,
    like: nib.Nifti1Header,
    intent: int,
) -> Path:
    path = Path(path)
    data = _storable(data)
    kind = nib.Nifti2Image if isinstance(like, nib.Nifti2Header) else nib.Nifti1Image
    try:
        image = kind(data, affine, like, dtype=data.dtype)
    except HeaderDataError as error:
        raise LDSegError(f"{path.name} cannot be written as NIfTI: {_reason(error)}.") from error
    image.header.set_slope_inter(1, 0)
    image.header.set_intent(intent, allow_unknown=True)
    image.header["cal_max"] = image.header["cal_min"] = 0
    if like["sform_code"] or like["qform_code"]:
        image.header["sform_code"], image.header["qform_code"] = (
            like["sform_code"],
            like["qform_code"],
        )
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    try:
        with atomic_write(path, suffix) as temporary:
            nib.save(image, temporary)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def _storable(data: np.ndarray) -> np.ndarray:
    """Return ``data`` in a type that NIfTI viewers read, without losing a value."""
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        for smaller in (np.uint8, np.int16, np.int32):
            limits = np.iinfo(smaller)
            if data.size == 0 or (data.min() >= limits.min and data.max() <= limits.max):
                return data.astype(smaller)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    return data
