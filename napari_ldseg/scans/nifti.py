"""NIfTI files with their exact geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from ..errors import LDSegError
from ..utils.atomic import atomic_write
from ..utils.text import one_line
from .display_axes import on_display_axes
from .memory import check_size
from .scan import NiftiSource, Scan, checked_affine

NIFTI_SUFFIXES = (".nii.gz", ".nii")
LABEL_INTENT = 1002
# Millimetres per unit code. A file without a unit counts as in mm, unless its description is UNCALIBRATED.
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
UNCALIBRATED = b"LDSeg: sizes in pixels, not in mm"


def read_nifti(path: Path) -> Scan:
    """Read a NIfTI file onto display axes. Raises LDSegError."""
    data, affine, header = load_nifti(path)
    shape = data.shape
    if data.dtype.names is not None:  # a structured type: RGB or RGBA
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
    if data.dtype.kind not in "uif":
        raise LDSegError(
            f"{path.name} holds {data.dtype} values; convert them to real numbers first."
        )
    mm = MM_PER_UNIT.get(int(header["xyzt_units"]) % 8)
    calibrated = mm is not None or header["descrip"].item() != UNCALIBRATED
    source = NiftiSource(header, affine, shape, (), ())
    return on_display_axes(data, source, path.name, mm or 1.0, calibrated)


def load_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header]:
    """Return a file's array (x, y, z, *frames), checked affine and header. Raises LDSegError."""
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
        reason = one_line(error).rstrip(".?")
        raise LDSegError(f"{path.name} cannot be read as NIfTI: {reason}.") from error
    return data, checked_affine(affine, path.name), image.header.copy()


def _bytes_per_voxel(image: Any, path: Path) -> int:
    """Return the memory that reading needs: for a compressed or scaled array; others are mapped."""
    compressed = path.name.lower().endswith(".gz")
    steps = (image.dataobj.slope != 1) + (image.dataobj.inter != 0)
    return image.get_data_dtype().itemsize * compressed + steps * np.dtype(float).itemsize


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
    kind = nib.Nifti2Image if isinstance(like, nib.Nifti2Header) else nib.Nifti1Image
    try:
        image = kind(data, affine, like, dtype=data.dtype)
    except HeaderDataError as error:
        reason = one_line(error).rstrip(".?")
        raise LDSegError(f"{path.name} cannot be written as NIfTI: {reason}.") from error
    image.header.set_slope_inter(1, 0)
    image.header.set_intent(intent, allow_unknown=True)
    image.header["cal_max"] = image.header["cal_min"] = 0
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
