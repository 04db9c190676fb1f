"""What a file is by its first bytes, so that it is read only as the format that its name gives."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ..errors import LDSegError

# Format: (suffixes that name it, what to do with it where another suffix is).
SUFFIXES_OF = {
    "NIfTI": (".nii",),
    "compressed NIfTI": (".nii.gz",),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "DICOM": (".dcm", ".dicom", ".ima"),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "ZIP": (".zip",),
}
NIFTI_ADVICE = "convert it to NIfTI"
PNG_ADVICE = "save it as PNG"
FOREIGN = {
    "half of an Analyze or NIfTI pair (.hdr, .img)": NIFTI_ADVICE,
    "HDF5": NIFTI_ADVICE,
    "gzip": "decompress it first",
    "ZIP": "unpack it first",
    "NumPy": "save it as NIfTI or TIFF",
    "GIF": PNG_ADVICE,
    "WebP": PNG_ADVICE,
    "JPEG 2000": PNG_ADVICE,
    "PostScript": PNG_ADVICE,
    "PDF": PNG_ADVICE,
}
SIGNATURES = (
    (128, b"DICM", "DICOM"),  # before TIFF, which its first bytes may also show
    (0, b"\x89PNG\r\n", "PNG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"BM", "BMP"),
    (344, b"n+1\0", "NIfTI"),
    (4, b"n+2\0", "NIfTI"),
    (344, b"ni1\0", "half of an Analyze or NIfTI pair (.hdr, .img)"),
    (4, b"ni2\0", "half of an Analyze or NIfTI pair (.hdr, .img)"),
    (0, b"NRRD", "NRRD"),
    (0, b"ObjectType", "MetaImage"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"%!PS", "PostScript"),
    (0, b"%PDF", "PDF"),
)
HEAD_BYTES = 352


def check_kind(path: Path, suffix: str) -> None:
    """Check that ``path`` is a file and not of another format than ``suffix`` (with its dot) names.

    A file without any known signature passes: its own reader judges it.

    Raises
    ------
    LDSegError
        If it is missing, not a plain file, cannot be opened, or is of another format.
    """
    kind = kind_of(path)
    if kind is None or suffix in SUFFIXES_OF.get(kind, ()):
        return
    if kind in FOREIGN:
        raise LDSegError(f"{path.name} is a {kind} file; {FOREIGN[kind]}.")
    stem = path.name[: len(path.name) - len(suffix)]
    raise LDSegError(f"{path.name} is a {kind} file; rename it to {stem}{SUFFIXES_OF[kind][0]}.")


def kind_of(path: Path) -> str | None:
    """Return the format that the first bytes of a file show, None if unknown; raises LDSegError."""
    if path.is_dir():
        raise LDSegError(f"{path.name} is a folder; choose an image file.")
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise LDSegError(f"{path.name} is not a regular file; choose an image file.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head.startswith(b"\x1f\x8b"):
        return _kind_of_bytes(head)
    try:
        with gzip.open(path, "rb") as file:
            inside = _kind_of_bytes(file.read(HEAD_BYTES))
    except (OSError, EOFError, zlib.error):
        inside = None
    # A damaged or unknown content is left to the reader of .nii.gz.
    if path.name.lower().endswith(".gz") and inside in (None, "NIfTI"):
        return "compressed NIfTI" if inside else None
    return "compressed NIfTI" if inside == "NIfTI" else "gzip"


def _kind_of_bytes(head: bytes) -> str | None:
    for start, signature, kind in SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return kind
    return None
