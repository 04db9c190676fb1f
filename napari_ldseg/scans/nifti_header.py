"""NIfTI headers, also those that another program left half empty: what they mean, or which field to repair."""

from __future__ import annotations

import gzip
import warnings
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np

from ..errors import LDSegError
from .scan import checked_affine

# The description of a file whose sizes are in pixels.
UNCALIBRATED = b"LDSeg: sizes in pixels, not in mm"
MAX_HEADER_BYTES = 2**26  # with extensions
VOXELS_AT = 352  # where the voxels begin at the earliest in a NIfTI-1 file
CIFTI_INTENTS = range(3000, 3100)


def read_header(path: Path) -> nib.Nifti1Header:
    """Return the header of a NIfTI file (1 or 2) with its extensions, with what is missing filled in.

    Voxel sizes of 0 become 1 pixel, with a warning, if they give the geometry.

    Raises
    ------
    LDSegError
        If it is not one of a single-file NIfTI image of voxels, or has too large extensions.
    Exception
        Of nibabel, for fields that mean nothing.
    """
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        block = bytearray(file.read(nib.Nifti2Header.sizeof_hdr + 4))
        kind = nib.Nifti2Header if block[4:8] == b"n+2\0" else nib.Nifti1Header
        if len(block) < kind.sizeof_hdr:
            raise LDSegError(f"{path.name} is truncated: it ends within its header.")
        raw = kind(bytes(block[: kind.sizeof_hdr]), check=False)
        start = float(raw["vox_offset"])
        if start == 0:
            raw["vox_offset"] = start = max(kind.sizeof_hdr + 4, VOXELS_AT)
        if start > MAX_HEADER_BYTES:
            raise LDSegError(
                f"{path.name} has {start / 2**20:.0f} MiB before its voxels (vox_offset), more than any header "
                "needs; remove its extensions."
            )
        block += file.read(max(0, int(start) - len(block)))
    # nibabel reads extensions from these bytes alone, whatever sizes they claim.
    block[: kind.sizeof_hdr] = raw.binaryblock
    header = kind.from_fileobj(BytesIO(bytes(block[: int(start)])))
    if kind is nib.Nifti2Header and int(header["intent_code"]) in CIFTI_INTENTS:
        raise LDSegError(
            f"{path.name} is a Cifti2Image, not a NIfTI image of voxels; choose another file."
        )
    _check_scaling(header, path.name)
    _settle_forms(header, raw, path.name)
    return header


def usable_affine(header: nib.Nifti1Header, name: str) -> np.ndarray:
    """Return the 4x4 affine to RAS+ that ``header`` gives; raise LDSegError that names the bad fields."""
    if int(header["sform_code"]):
        fields, repair = (
            "sform (srow_x, srow_y, srow_z)",
            "set sform_code to 0 if the qform is right",
        )
    elif int(header["qform_code"]):
        fields = "qform (quatern_b, quatern_c, quatern_d, qoffset, pixdim)"
        repair = "set qform_code to 0 if pixdim is right"
    else:
        fields, repair = "voxel size (pixdim)", "write the true size into it"
    try:
        return checked_affine(header.get_best_affine(), name)
    except (ValueError, LDSegError) as error:
        raise LDSegError(
            f"{name} has an invalid affine: its {fields} gives voxels without volume or place; {repair}."
        ) from error


def _check_scaling(header: nib.Nifti1Header, name: str) -> None:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and slope != 0 and not np.isfinite(inter):
        raise LDSegError(f"{name} has no number in scl_inter; set it to 0 in the header.")


def _settle_forms(header: nib.Nifti1Header, raw: nib.Nifti1Header, name: str) -> None:
    """Drop an empty sform from ``header``; warn where only pixdim is left, or not even that."""
    rows = np.stack([header[f"srow_{axis}"][:3] for axis in "xyz"])
    if int(header["sform_code"]) and not rows.any():
        header["sform_code"] = 0
    if int(header["sform_code"]):
        return
    if not int(header["qform_code"]):
        warnings.warn(
            f"{name} does not give its orientation (sform_code and qform_code are 0): its axes were taken as "
            "left, anterior and superior.",
            stacklevel=2,
        )
    shape = header.get_data_shape()[:3]
    missing = [i for i, n in enumerate(shape) if n > 1 and raw["pixdim"][i + 1] == 0]
    if missing:
        header["xyzt_units"] = int(header["xyzt_units"]) & ~7
        header["descrip"] = UNCALIBRATED
        fields = ", ".join(f"pixdim[{i + 1}]" for i in missing)
        warnings.warn(
            f"{name} does not give its voxel size ({fields} is 0): it was taken as 1 pixel; write the true "
            "size into the header.",
            stacklevel=2,
        )
