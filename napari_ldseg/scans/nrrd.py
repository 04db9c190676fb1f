"""NRRD files: header and voxels in one file, or a header (.nhdr) and one data file beside it."""

from __future__ import annotations

import bz2
import math
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import LDSegError
from .beside import file_beside
from .colours import plain_samples
from .display_axes import on_display_axes
from .memory import check_size, truncated
from .reading import plain_reading_errors
from .scan import Scan, Source, checked_affine
from .units import mm_per_unit

NRRD_SUFFIXES = (".nrrd", ".nhdr")
FORMAT = "NRRD"
MAX_HEADER_BYTES = 2**20
MAX_AXES = 8
# The signs that turn a space into RAS+; spaces with other names count as LPS, as in ITK.
TO_RAS = {"RAS": (1, 1, 1), "LAS": (-1, 1, 1), "LPS": (-1, -1, 1)}
SPACE_KINDS = ("domain", "space", "???", "none")
FRAME_KINDS = ("list", "time", "point")
COLOUR_KINDS = ("rgb-color", "rgba-color", "3-color", "4-color")


def read_nrrd(path: Path) -> Scan:
    """Read an NRRD file onto display axes; lists and time become frames, vectors and colours channels.

    Raises
    ------
    LDSegError
        If it cannot be read or is too large, its data are in several or other folders' files, or its axes are
        not two or three of space.
    """
    import nrrd

    errors = plain_reading_errors(path, FORMAT)
    with errors, path.open("rb") as file, np.errstate(all="raise", under="ignore"):
        head = file.read(MAX_HEADER_BYTES)
        buffer = BytesIO(head)
        header = nrrd.read_header(buffer)
        start = buffer.tell()
        data = _voxels(path, file, start, header, nrrd)
        return _scan(path, data, header)


def nrrd_files(path: Path) -> tuple[Path, ...]:
    """Return the file and the data file that it names, if there is one. Raises LDSegError."""
    import nrrd

    with plain_reading_errors(path, FORMAT), path.open("rb") as file:
        other = _data_file(path, nrrd.read_header(BytesIO(file.read(MAX_HEADER_BYTES))))
    return (path,) if other is None else (path, other)


def _data_file(path: Path, header: dict[str, Any]) -> Path | None:
    name = header.get("data file", header.get("datafile"))
    return None if name is None else file_beside(path, str(name))


def _voxels(
    path: Path, file: BinaryIO, start: int, header: dict[str, Any], nrrd: Any
) -> np.ndarray:
    """Return the array, the fastest axis first, never decompressing more than the header's size."""
    sizes = [int(n) for n in header["sizes"]]
    dtype = nrrd.reader._determine_datatype(header)
    if len(sizes) > MAX_AXES or min(sizes) < 0 or int(header["dimension"]) != len(sizes):
        raise ValueError(f"the sizes {sizes} are not those of an image")
    if dtype.kind not in "iuf":
        raise ValueError(f"it holds {header['type']} values")
    check_size(path.name, tuple(sizes), 2 * dtype.itemsize)
    needed = math.prod(sizes) * dtype.itemsize
    if int(header.get("line skip", header.get("lineskip", 0))):
        raise ValueError("it skips lines before its data (line skip)")
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    other = _data_file(path, header)
    if other is None:
        file.seek(start)
        content = _decoded(file, header["encoding"], needed, skip)
    else:
        with other.open("rb") as detached:
            content = _decoded(detached, header["encoding"], needed, skip)
    if len(content) < needed:
        raise truncated(path.name, needed)
    return np.frombuffer(content, dtype, math.prod(sizes)).reshape(sizes, order="F")


def _decoded(file: BinaryIO, encoding: str, needed: int, skip: int) -> bytes:
    encoding = encoding.lower()
    if encoding == "raw":
        if skip < 0:
            file.seek(-needed, 2)
        else:
            file.seek(skip, 1)
        return file.read(needed)
    skip = max(0, skip)
    if skip > MAX_HEADER_BYTES:  # they would be decompressed
        raise ValueError(f"it skips {skip} bytes before its data (byte skip)")
    if encoding in ("gzip", "gz"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(file.read(), skip + needed or 1)[
            skip:
        ]
    if encoding in ("bzip2", "bz2"):
        return bz2.BZ2Decompressor().decompress(file.read(), skip + needed)[skip:]
    raise ValueError(f"its data are encoded as {encoding}; save it raw or with gzip")


def _scan(path: Path, data: np.ndarray, header: dict[str, Any]) -> Scan:
    directions, kinds = _directions(header, data.ndim), _kinds(header, data.ndim)
    space = [axis for axis in range(data.ndim) if directions[axis] is not None]
    others = [axis for axis in range(data.ndim) if axis not in space]
    frames = [axis for axis in others if kinds[axis] in FRAME_KINDS]
    channels = [axis for axis in others if axis not in frames]
    if len(space) not in (2, 3) or len(channels) > 1:
        raise LDSegError(
            f"{path.name} has {len(space)} axes of space and {len(channels)} of channels; save it as a 2D or 3D image."
        )
    data = data.transpose(*space, *frames, *channels)
    colour = bool(channels) and kinds[channels[0]] in COLOUR_KINDS
    shape = data.shape[: data.ndim - len(channels)]
    if colour:
        data, _ = plain_samples(data)
    elif channels and data.shape[-1] == 1:
        data = data[..., 0]
    affine, calibrated = _affine(path, header, [directions[axis] for axis in space])
    full = (*shape[: len(space)], *(1,) * (3 - len(space)), *shape[len(space) :])
    data = data.reshape(*full, *data.shape[len(shape) :])
    source = Source(affine, full, format=FORMAT)
    return on_display_axes(data, source, path.name, calibrated=calibrated)


def _kinds(header: dict[str, Any], count: int) -> list[str]:
    kinds = [str(kind).lower() for kind in header.get("kinds", ())]
    return kinds if len(kinds) == count else ["???"] * count


def _directions(header: dict[str, Any], count: int) -> list[np.ndarray | None]:
    """Return the direction of each axis of space (a vector with its spacing), None for the others."""
    given = header.get("space directions")
    if given is not None:
        if len(given) != count:
            raise ValueError("it does not give a direction for each axis (space directions)")
        return [
            None if v is None or np.isnan(np.asarray(v, float)).any() else np.asarray(v, float)
            for v in given
        ]
    kinds = _kinds(header, count)
    space = [axis for axis in range(count) if kinds[axis] in SPACE_KINDS]
    spacings = np.asarray(header.get("spacings", [1.0] * count), float)
    if len(spacings) != count:
        raise ValueError("it does not give a distance for each axis (spacings)")
    unit = np.eye(max(3, len(space)))
    found: list[np.ndarray | None] = [None] * count
    for number, axis in enumerate(space):
        found[axis] = unit[number] * (spacings[axis] if np.isfinite(spacings[axis]) else 1.0)
    return found


def _affine(path: Path, header: dict[str, Any], vectors: list[Any]) -> tuple[np.ndarray, bool]:
    """Return the affine to RAS+ mm, and whether it is known to be in mm."""
    affine = np.eye(4)
    for axis, vector in enumerate(vectors):
        affine[: len(vector), axis] = vector[:3]
    if len(vectors) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        length = np.linalg.norm(normal)
        affine[:3, 2] = normal / length if length else 0
    origin = header.get("space origin")
    if origin is not None:
        affine[: len(origin), 3] = np.asarray(origin, float)[:3]
    units = list(header.get("space units", ()))[:3]
    factors = [mm_per_unit(unit) or 1.0 for unit in units] + [1.0] * (3 - len(units))
    space = str(header.get("space", "")).lower()
    words = [part[:1].upper() for part in space.split("-")][:3]
    letters = "".join(words) if len(words) == 3 else space.upper()[:3]
    signs = TO_RAS.get(letters, TO_RAS["LPS"])
    affine = np.diag([s * f for s, f in zip(signs, factors, strict=True)] + [1.0]) @ affine
    calibrated = header.get("space directions") is not None or header.get("spacings") is not None
    return checked_affine(affine, path.name), calibrated
