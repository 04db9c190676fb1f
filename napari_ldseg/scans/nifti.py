"""NIfTI files with their exact geometry."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError

from ..errors import LDSegError
from ..utils.atomic import atomic_write
from ..utils.text import reason_of
from .colours import plain_samples
from .display_axes import on_display_axes
from .memory import MAX_EXPANSION, check_size, truncated
from .nifti_header import UNCALIBRATED, read_header, usable_affine
from .scan import MAX_SHIFT, Scan, Source, corner_distance

NIFTI_SUFFIXES = (".nii.gz", ".nii")
# Displacement, vector, RGB and RGBA vector: their components are dim[5].
RGBA_INTENT = 2004
VECTOR_INTENTS = (1006, 1007, 2003, RGBA_INTENT)
# Millimetres per unit code. A file without a unit counts as in mm, unless its description is UNCALIBRATED.
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file onto display axes; vectors (dim[5]) and RGB become channels. Raises LDSegError."""
    data, affine, header = load_nifti(path)
    shape = data.shape
    if data.dtype.names is not None:  # a structured type: RGB or RGBA
        data, _ = plain_samples(np.stack([data[name] for name in data.dtype.names[:3]], axis=-1))
    elif data.ndim == 5 and int(header["intent_code"]) in VECTOR_INTENTS:
        data, shape = _with_components_last(data, int(header["intent_code"]))
    if data.dtype.kind not in "uif":
        raise LDSegError(
            f"{path.name} holds {data.dtype} values; convert them to real numbers first."
        )
    mm = MM_PER_UNIT.get(int(header["xyzt_units"]) % 8)
    calibrated = mm is not None or header["descrip"].item() != UNCALIBRATED
    source = Source(affine, shape, header=header)
    return on_display_axes(data, source, path.name, mm or 1.0, calibrated)


def _with_components_last(data: np.ndarray, intent: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return (x, y, z[, t][, channels]) of a vector image (x, y, z, t, components), and its shape without channels."""
    shape = data.shape[:3] if data.shape[3] == 1 else data.shape[:4]
    components = 3 if intent == RGBA_INTENT else data.shape[4]
    data = data[..., :components].reshape(*shape, components)
    return (data[..., 0] if components == 1 else data), shape


def load_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header]:
    """Return a file's array (x, y, z, *frames), checked affine and header. Raises LDSegError.

    The header is as nibabel repairs it; an empty sform counts as none.
    """
    try:
        with np.errstate(all="raise", under="ignore"):
            header = read_header(path)
            affine = usable_affine(header, path.name)
        array: Any = ArrayProxy(str(path), header)
        check_size(path.name, array.shape, _bytes_per_voxel(array, path))
        _check_not_truncated(path, array)
        with np.errstate(over="raise", invalid="ignore"):  # NaN is a value
            data = np.asanyarray(array)
    except LDSegError:
        raise
    except FloatingPointError as error:
        raise LDSegError(
            f"{path.name} has numbers in its header (scl_slope, scl_inter, affine) with which its voxels cannot "
            "be computed; correct the header."
        ) from error
    except Exception as error:
        reason = reason_of(error)
        raise LDSegError(f"{path.name} cannot be read as NIfTI: {reason}.") from error
    return data, affine, header


def _bytes_per_voxel(array: Any, path: Path) -> int:
    """Return the memory that reading needs: for a compressed or scaled array; others are mapped."""
    compressed = path.name.lower().endswith(".gz")
    steps = (array.slope != 1) + (array.inter != 0)
    return array.dtype.itemsize * compressed + steps * np.dtype(float).itemsize


def _check_not_truncated(path: Path, array: Any) -> None:
    """Raise LDSegError if the file cannot hold the voxels of its header."""
    needed = array.offset + math.prod(array.shape) * array.dtype.itemsize
    expansion = MAX_EXPANSION if path.name.lower().endswith(".gz") else 1
    if needed > path.stat().st_size * expansion:
        raise truncated(path.name, needed)


def new_header(calibrated: bool) -> nib.Nifti1Header:
    """Return the header of a new NIfTI file; ``calibrated`` as in ``Scan``."""
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm" if calibrated else "unknown")
    if not calibrated:
        header["descrip"] = UNCALIBRATED
    return header


def save_nifti(
    path: Path, data: np.ndarray, affine: np.ndarray, like: nib.Nifti1Header, intent: int
) -> Path:
    """Write ``data`` (x, y, z, *frames) with the header ``like``, atomically. Raises LDSegError."""
    data = _storable(data)
    if not _fits_float32(affine, data.shape):
        raise LDSegError(
            f"{path.name} cannot be written as NIfTI: the affine has values too large for the format; "
            "correct the header of the image."
        )
    kind = nib.Nifti2Image if isinstance(like, nib.Nifti2Header) else nib.Nifti1Image
    try:
        image = kind(data, affine, like, dtype=data.dtype)
    except HeaderDataError as error:
        reason = reason_of(error)
        raise LDSegError(f"{path.name} cannot be written as NIfTI: {reason}.") from error
    image.header.set_slope_inter(1, 0)
    image.header.set_intent(intent, allow_unknown=True)
    image.header["cal_max"] = image.header["cal_min"] = 0
    _forget_texts(image.header)
    if like["sform_code"] or like["qform_code"]:
        for code in ("sform_code", "qform_code"):
            image.header[code] = like[code]
    suffix = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    try:
        with atomic_write(path, suffix) as temporary:
            nib.save(image, temporary)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def _forget_texts(header: nib.Nifti1Header) -> None:
    """Remove what somebody wrote into the image's file, which may name the patient."""
    if header["descrip"].item() != UNCALIBRATED:
        header["descrip"] = b""
    for name in {"aux_file", "db_name", "intent_name"} & set(header.keys()):
        header[name] = b""
    header.extensions.clear()


def _fits_float32(affine: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Return whether the affine, rounded as NIfTI stores it, leaves every voxel of ``shape`` in its place."""
    if not (np.abs(affine) < np.finfo(np.float32).max / 2).all():
        return False
    x, y, z = (*shape, 1, 1)[:3]
    moved = corner_distance(affine, affine.astype(np.float32), (x, y, z))
    return moved <= MAX_SHIFT * np.linalg.norm(affine[:3, :3], axis=0).min()


def _storable(data: np.ndarray) -> np.ndarray:
    """Return ``data`` in a type that NIfTI viewers read, without changing a value."""
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        for smaller in (np.uint8, np.int16, np.int32):
            limits = np.iinfo(smaller)
            if data.size == 0 or (data.min() >= limits.min and data.max() <= limits.max):
                return data.astype(smaller)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    return data
