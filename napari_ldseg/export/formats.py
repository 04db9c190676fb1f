"""The formats that a result can be exported in, which of them fit it, and writing it in one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import LDSegError, sentence
from ..scans.files import write_like
from ..scans.labels import LABEL_INTENT
from . import dicom, metaimage, nrrd_file, picture, zarr_labels
from .result import Result

SAME = "same"


class Format(NamedTuple):
    """One format.

    Attributes
    ----------
    title
        Its name for people.
    suffix, map_suffix
        The endings of files of labels and of maps.
    write_labels, write_map
        Functions of (path, result) and of (path, array, result).
    reason_not
        A function of the result: why it does not fit, None if it does.
    reason_no_map
        The same of a map of a result that fits.
    """

    title: str
    suffix: str
    map_suffix: str
    write_labels: Callable[[Path, Result], Any]
    write_map: Callable[[Path, np.ndarray, Result], Any]
    reason_not: Callable[[Result], str | None] = lambda result: None
    reason_no_map: Callable[[Result], str | None] = lambda result: None


def _write_nifti(path: Path, result: Result) -> None:
    write_like(path, result.stored_labels(), result.scan, LABEL_INTENT)


def _write_nifti_map(path: Path, array: np.ndarray, result: Result) -> None:
    write_like(path, np.asarray(array, np.float32), result.scan)


def _not_a_picture(result: Result) -> str | None:
    if result.scan.source is not None:
        return "the image is not a 2D image file, and its position would be lost"
    return None if len(result.scan.shape) == 2 else "it has more than one slice"


def _not_pages(result: Result) -> str | None:
    if result.scan.source is not None:
        return "the image is not a 2D image file or a stack, and its position would be lost"
    return None


FORMATS = {
    "nifti": Format("NIfTI", ".nii.gz", ".nii.gz", _write_nifti, _write_nifti_map),
    "nrrd": Format(
        "NRRD (3D Slicer)", ".seg.nrrd", ".nrrd", nrrd_file.write_labels, nrrd_file.write_map
    ),
    "mha": Format("MetaImage", ".mha", ".mha", metaimage.write_labels, metaimage.write_map),
    "png": Format("PNG", ".png", ".tif", picture.write_png, picture.write_tiff_map, _not_a_picture),
    "tiff": Format("TIFF", ".tif", ".tif", picture.write_tiff, picture.write_tiff_map, _not_pages),
    "zarr": Format(
        "OME-Zarr",
        ".ome.zarr",
        ".ome.zarr",
        zarr_labels.write_labels,
        zarr_labels.write_map,
        lambda result: zarr_labels.reason_not(result.scan),
    ),
    "dicom-seg": Format(
        "DICOM Segmentation",
        ".dcm",
        ".dcm",
        dicom.write_labels,
        dicom.write_map,
        dicom.reason_not,
        dicom.reason_no_map,
    ),
}
# By the name of the source's format.
OF_SOURCE = {
    "NIfTI": "nifti",
    "NRRD": "nrrd",
    "MetaImage": "mha",
    "OME-Zarr": "zarr",
    "DICOM": "dicom-seg",
}


def same_format(result: Result) -> str:
    """Return the format that the image came in: of a photograph PNG, of a stack of pages TIFF."""
    source = result.scan.source
    if source is not None:
        return OF_SOURCE.get(source.format, "nifti")
    flat = len(result.scan.shape) == 2
    return "png" if flat and not picture.is_tiff(result.image) else "tiff"


def fitting_formats(result: Result) -> list[str]:
    """Return the formats that can hold the result, the one that the image came in first."""
    fitting = [name for name, one in FORMATS.items() if one.reason_not(result) is None]
    same = same_format(result)
    return sorted(fitting, key=lambda name: name != same)


def export_labels(path: Path, result: Result, name: str) -> Path:
    """Write the labels at ``path`` in the format ``name`` of ``FORMATS``, atomically.

    Raises
    ------
    LDSegError
        If the format cannot hold them, or the file cannot be written.
    """
    one = FORMATS[name]
    _write(path, result, one, one.reason_not(result), lambda: one.write_labels(path, result))
    return path


def export_map(path: Path, array: np.ndarray, result: Result, name: str) -> Path:
    """Write a map, such as an SD, shaped like the result's scan, in a format's form, atomically.

    Raises LDSegError as ``export_labels`` does.
    """
    one = FORMATS[name]
    reason = one.reason_not(result) or one.reason_no_map(result)
    _write(path, result, one, reason, lambda: one.write_map(path, array, result))
    return path


def _write(
    path: Path,
    result: Result,
    one: Format,
    reason: str | None,
    write: Callable[[], Any],
) -> None:
    if reason is not None:
        raise LDSegError(f"{result.scan.name} cannot be saved as {one.title}: {reason}.")
    try:
        write()
    except OSError as error:
        raise LDSegError(
            sentence(f"{path} could not be written: {error.strerror or error}.")
        ) from error
