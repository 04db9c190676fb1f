"""MetaImage files (.mha, .mhd), read by ITK after their header has been checked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..utils.text import one_line, reason_of
from .beside import file_beside
from .colours import plain_samples
from .display_axes import on_display_axes
from .memory import MAX_EXPANSION, check_size, truncated
from .reading import plain_reading_errors
from .scan import LPS, Scan, Source, checked_affine
from .units import mm_per_unit

METAIMAGE_SUFFIXES = (".mha", ".mhd")
FORMAT = "MetaImage"
MAX_HEADER_BYTES = 2**16
# As ITK spells it; any other spelling is the name of a file.
LOCAL, DATA_FILE = ("LOCAL", "Local", "local"), "ElementDataFile"
BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG", "MET_ULONG"), 8),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
MAX_CHANNELS = 1024


def read_metaimage(path: Path) -> Scan:
    """Read a MetaImage file onto display axes; a fourth axis becomes frames, elements become channels.

    Raises
    ------
    LDSegError
        If it cannot be read or is too large, or its data are in several or other folders' files.
    """
    try:
        fields, start = _header(path)
        shape, channels = _check(path, fields, start)
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        image = sitk.ReadImage(str(path), imageIO="MetaImageIO")
        array = sitk.GetArrayFromImage(image)
        if image.GetSize() != shape or image.GetNumberOfComponentsPerPixel() != channels:
            raise ValueError("its header was understood in two ways")
        return _scan(path, array, image, fields)
    except LDSegError:
        raise
    except Exception as error:
        reason = reason_of(_reason(error))
        raise LDSegError(f"{path.name} cannot be read as MetaImage: {reason}.") from error


def metaimage_files(path: Path) -> tuple[Path, ...]:
    """Return the file and the data file that it names, if there is one. Raises LDSegError."""
    with plain_reading_errors(path, FORMAT):
        fields, _ = _header(path)
    name = fields[DATA_FILE]
    return (path,) if name in LOCAL else (path, file_beside(path, name))


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of the header, each once, and where it ends. Raises ValueError."""
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    fields: dict[str, str] = {}
    start = 0
    while True:
        end = head.find(b"\n", start)
        line = head[start : len(head) if end < 0 else end].decode("ascii").strip("\r ")
        start = len(head) if end < 0 else end + 1
        found = re.fullmatch(r"([\w.()\[\]-]+)\s*[=:]\s*(.*)", line)
        if line.startswith("Comment"):
            found = re.fullmatch(r"(Comment)(.*)", line)
        if found is None or not line.replace("\t", " ").isprintable():
            raise ValueError(f"its header has the line '{one_line(line, 60)}'")
        if found[1] in fields:
            raise ValueError(f"its header has {found[1]} twice")
        fields[found[1]] = found[2].strip()
        if found[1] == DATA_FILE:
            return fields, start
        if start >= len(head):
            raise ValueError(f"its header has no {DATA_FILE}")


def _check(path: Path, fields: dict[str, str], start: int) -> tuple[tuple[int, ...], int]:
    """Return shape (x, y, ...) and channels; check what ITK would believe."""
    shape = tuple(int(n) for n in fields["DimSize"].split())
    channels = int(fields.get("ElementNumberOfChannels", 1))
    kind = re.sub("_ARRAY$", "", fields["ElementType"])
    if len(shape) != int(fields["NDims"]) or not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ValueError(f"its size is {fields['DimSize']}")
    if kind not in BYTES or not 1 <= channels <= MAX_CHANNELS:
        raise ValueError(f"its elements are {fields['ElementType']}, {channels} per voxel")
    for name in (
        "TransformMatrix",
        "Rotation",
        "Orientation",
        "Offset",
        "Position",
        "Origin",
        "ElementSpacing",
    ):
        if name in fields and not np.isfinite([float(v) for v in fields[name].split()]).all():
            raise ValueError(f"{name} holds values that are no numbers")
    check_size(path.name, (*shape, channels), 2 * BYTES[kind])
    needed = math.prod(shape) * channels * BYTES[kind]
    name = fields[DATA_FILE]
    local = name in LOCAL
    data = path if local else file_beside(path, name)
    skip = int(fields.get("HeaderSize", 0))
    compressed = fields.get("CompressedData", "False").lower() in ("true", "1", "t")
    available = data.stat().st_size - (start if local else 0) - max(0, skip)
    if fields.get("BinaryData", "True").lower() not in ("true", "1", "t"):
        raise ValueError("it is written as text; save it as binary")
    if compressed and not 0 <= int(fields.get("CompressedDataSize", 0)) <= available:
        raise ValueError("CompressedDataSize is not that of its data")
    if needed > available * (MAX_EXPANSION if compressed else 1) or skip < -1:
        raise truncated(path.name, needed)
    return shape, channels


def _scan(path: Path, array: np.ndarray, image: Any, fields: dict[str, str]) -> Scan:
    channels = image.GetNumberOfComponentsPerPixel() > 1
    axes = image.GetDimension()
    array = np.moveaxis(array, range(axes), range(axes - 1, -1, -1))  # x, y, ...[, channels]
    shape = (*array.shape[:axes], *(1,) * (3 - axes))
    if channels and array.dtype == np.uint8:
        array, _ = plain_samples(array)
    array = array.reshape(*shape, *array.shape[axes:])
    direction = np.array(image.GetDirection()).reshape(axes, axes)
    step, origin = direction * np.array(image.GetSpacing()), image.GetOrigin()
    affine = np.eye(4)
    used = min(3, axes)
    affine[:used, :used], affine[:used, 3] = step[:used, :used], origin[:used]
    mm = mm_per_unit(fields.get("DistanceUnits", "mm")) or 1.0
    affine = checked_affine(np.diag([mm, mm, mm, 1.0]) @ LPS @ affine, path.name)
    calibrated = "ElementSpacing" in fields or "ElementSize" in fields
    return on_display_axes(
        array, Source(affine, shape, format=FORMAT), path.name, calibrated=calibrated
    )


def _reason(error: Exception) -> str:
    """Return the last line of what ITK reports, without the place in its code."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].rpartition("): ")[2] if lines else type(error).__name__
