"""Image files of every known format: reading them, and writing results on an image's grid as NIfTI.

A new format is one new file with its suffixes and a function from a path to a ``Scan``, and one line in
``READERS``.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..utils.hashing import sha256_of
from .dicom.header import DICOM_SUFFIXES, is_dicom
from .dicom.reader import dicom_files, read_dicom
from .dicom.series import ZIP_SUFFIX, is_part
from .display_axes import to_display_axes, to_file_axes
from .kinds import check_kind
from .labels import as_labels
from .metaimage import METAIMAGE_SUFFIXES, metaimage_files, read_metaimage
from .nifti import NIFTI_SUFFIXES, load_nifti, new_header, read_nifti, save_nifti
from .nrrd import NRRD_SUFFIXES, nrrd_files, read_nrrd
from .raster import RASTER_SUFFIXES, read_raster, read_raster_numbers
from .scan import MAX_SHIFT, Scan, corner_distance
from .tiff import TIFF_SUFFIXES, read_tiff, read_tiff_numbers
from .zarr_image import ZARR_SUFFIXES, read_zarr, zarr_files

READERS: dict[str, Callable[[Path], Scan]] = {
    **dict.fromkeys(NIFTI_SUFFIXES, read_nifti),
    **dict.fromkeys(RASTER_SUFFIXES, read_raster),
    **dict.fromkeys(TIFF_SUFFIXES, read_tiff),
    **dict.fromkeys(DICOM_SUFFIXES, read_dicom),
    **dict.fromkeys(NRRD_SUFFIXES, read_nrrd),
    **dict.fromkeys(METAIMAGE_SUFFIXES, read_metaimage),
    **dict.fromkeys(ZARR_SUFFIXES, read_zarr),
    ZIP_SUFFIX: read_dicom,
}
# Labels are the stored numbers, whatever colours a 2D image file shows them in.
NUMBER_READERS: dict[str, Callable[[Path], Scan]] = {
    **READERS,
    **dict.fromkeys(RASTER_SUFFIXES, read_raster_numbers),
    **dict.fromkeys(TIFF_SUFFIXES, read_tiff_numbers),
}
SUFFIXES = tuple(READERS)  # in lower case, each with its dot
# The files of an image that may be made of several.
FILES: dict[Callable[[Path], Scan], Callable[[Path], tuple[Path, ...]]] = {
    read_dicom: dicom_files,
    read_nrrd: nrrd_files,
    read_metaimage: metaimage_files,
    read_zarr: zarr_files,
}


def suffix_of(path: str | os.PathLike) -> str:
    """Return which of ``SUFFIXES`` the name of ``path`` ends in, in any case; "" if in none."""
    name = os.path.basename(path).lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: str | os.PathLike) -> str:
    """Return the name of ``path`` without its image suffix."""
    name = os.path.basename(path)
    return name[: len(name) - len(suffix_of(path))]


def read_scan(path: str | os.PathLike) -> Scan:
    """Read NIfTI, DICOM, NRRD, MetaImage, OME-Zarr or a 2D image file (PNG, TIFF, JPEG, BMP).

    Only the format that the suffix names is read; a folder is DICOM unless its suffix is that of OME-Zarr, and
    a file without suffix is DICOM. A DICOM slice stands for its series; ``ARCHIVE.zip/NAME`` is one of several
    in an archive.

    Raises
    ------
    LDSegError
        If the file cannot be read as an image, its content is of another format, or it has no pixels.
    """
    return _read(Path(path), READERS)


def read_labels(path: str | os.PathLike) -> Scan:
    """Read a label file: an integer array (*leading, *space) of class numbers.

    Raises
    ------
    LDSegError
        If the file cannot be read, is in colour, or holds values that are not whole numbers.
    """
    path = Path(path)
    scan = _read(path, NUMBER_READERS)
    if scan.channels:
        raise LDSegError(
            f"{path.name} is in colour; save the label as a 2D image of class numbers."
        )
    return replace(scan, array=as_labels(scan.array, path.name))


def image_files(path: str | os.PathLike) -> tuple[Path, ...]:
    """Return all files that ``read_scan`` reads from ``path``, in a fixed order.

    Raises
    ------
    LDSegError
        If they cannot be found.
    """
    path = Path(path)
    list_files = FILES.get(_reader(path, READERS))
    return (path,) if list_files is None else list_files(path)


def image_hash(path: str | os.PathLike) -> str:
    """Return the SHA-256 of the file of an image, or of all its files, whatever those of a series are called.

    Raises
    ------
    LDSegError
        If they cannot be found or read.
    """
    path = Path(path)
    files = (path,) if _is_one_file(path) else image_files(path)
    if files == (path,):
        return sha256_of(path)
    is_zarr = path.is_dir() and suffix_of(path) in ZARR_SUFFIXES
    lines = [
        f"{sha256_of(file)} {file.relative_to(path).as_posix() if is_zarr else ''}"
        for file in files
    ]
    if is_part(path) and path.parent.suffix.lower() != ZIP_SUFFIX:
        lines.append(path.name)  # one of several images of the same file
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def image_exists(path: Path) -> bool:
    """Return whether there is an image at ``path``, or an archive or file of which it is a part."""
    return path.exists() or is_part(path)


def _is_one_file(path: Path) -> bool:
    """Return whether the format of ``path`` never has several files, so that it need not be opened."""
    one = bool(suffix_of(path)) and READERS[suffix_of(path)] not in FILES
    return one and not is_part(path)


def _reader(path: Path, readers: dict[str, Callable[[Path], Scan]]) -> Callable[[Path], Scan]:
    """Return the reader for ``path``. Raises LDSegError if there is none, or the content is of another format."""
    suffix = suffix_of(path)
    if is_part(path):
        return readers[DICOM_SUFFIXES[0]]
    if path.is_dir():
        return readers[suffix] if suffix in ZARR_SUFFIXES else readers[DICOM_SUFFIXES[0]]
    if not suffix and is_dicom(path):
        return readers[DICOM_SUFFIXES[0]]
    check_kind(path, suffix)
    if suffix not in readers:
        raise LDSegError(
            f"{path.name} is no known image file; it must end in {', '.join(SUFFIXES)}."
        )
    if suffix in DICOM_SUFFIXES and not is_dicom(path):
        raise LDSegError(f"{path.name} does not begin as a DICOM file does; copy it again.")
    if suffix in ZARR_SUFFIXES:
        raise LDSegError(
            f"{path.name} is a file, but an OME-Zarr image is a folder; choose the folder."
        )
    return readers[suffix]


def _read(path: Path, readers: dict[str, Callable[[Path], Scan]]) -> Scan:
    scan = _reader(path, readers)(path)
    if 0 in scan.array.shape:
        raise LDSegError(
            f"{path.name} is empty: one of its axes has no pixels; save the image again."
        )
    return scan


def write_like(path: str | os.PathLike, array: np.ndarray, scan: Scan, intent: int = 0) -> Path:
    """Write ``array`` (shaped like ``scan.shape``) as NIfTI on the scan's own grid, atomically.

    If the scan came from a file with an affine, the result has that file's axis order, shape and affine,
    of NIfTI sform and qform included; booleans become uint8. ``intent`` is the NIfTI intent code
    (``labels.LABEL_INTENT`` for labels).

    Raises
    ------
    LDSegError
        If the name does not end in .nii or .nii.gz, the shape differs, or the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in NIFTI_SUFFIXES:
        raise LDSegError(f"{path} must end in .nii or .nii.gz.")
    array = np.asarray(array)
    if array.shape != scan.shape:
        raise LDSegError(
            f"{scan.name}: a result of shape {array.shape} does not fit the image's shape {scan.shape}."
        )
    array = array.astype(np.uint8) if array.dtype == bool else array
    source = scan.source
    if source is not None and math.prod(source.shape) == array.size:
        data = to_file_axes(array, source)
        header = new_header(scan.calibrated) if source.header is None else source.header
        return save_nifti(path, data, source.affine, header, intent)
    data = (array if scan.space == 3 else np.expand_dims(array, -3)).T
    affine = scan.affine[:, [2, 1, 0, 3]]
    return save_nifti(path, data, affine, new_header(scan.calibrated), intent)


def read_like(path: str | os.PathLike, scan: Scan) -> np.ndarray:
    """Read what ``write_like`` wrote for ``scan``: an array shaped like ``scan.shape`` on its axes.

    Raises
    ------
    LDSegError
        If the file is not NIfTI or not on the scan's grid.
    """
    path = Path(path)
    data, affine, _ = load_nifti(path)
    source = scan.source
    expected = scan.shape[::-1] if source is None else source.shape
    if _without_ones(data.shape) != _without_ones(expected):
        found, needed = (
            " x ".join(map(str, _without_ones(shape)))
            for shape in (data.shape, scan.shape if source is None else expected)
        )
        raise LDSegError(
            f"{path.name} does not fit {scan.name}: it has {found} voxels, the image {needed}; choose "
            "the label that was made on this image."
        )
    if source is None:
        return data.T.reshape(scan.shape)
    voxel = np.linalg.norm(source.affine[:3, :3], axis=0).min()
    size = (*data.shape, 1, 1)[:3]
    if corner_distance(affine, source.affine, size) > MAX_SHIFT * voxel:
        raise LDSegError(
            f"{path.name} does not fit {scan.name}: their affines differ; choose the label that was "
            "made on this image."
        )
    return to_display_axes(data, source).reshape(scan.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return ``shape`` without axes of size 1, which NIfTI adds and drops."""
    return tuple(n for n in shape if n > 1)
