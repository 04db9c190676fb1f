"""OME-Zarr images: folders of chunks, of which the highest resolution is read, large ones when they are needed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..utils.text import one_line
from .display_axes import on_display_axes
from .memory import MAX_VOXELS, check_size
from .reading import plain_reading_errors
from .scan import Scan, Source, checked_affine
from .units import mm_per_unit
from .zarr_chunks import check_chunks, check_codecs

ZARR_SUFFIXES = (".ome.zarr", ".zarr")
FORMAT = "OME-Zarr"
MAX_JSON_BYTES = 2**22
MAX_FILES = 500_000
MAX_CHUNKS = 2**17  # each costs time, even if it is not stored
EAGER_BYTES = 2**28  # smaller images are read at once
SPARE_CHUNK_BYTES = 2**26
SPACE, TIME, CHANNEL = "xyz", "t", "c"
# RAS+ directions of x, y, z where the file gives none: as every other image without orientation.
TO_RAS = {"x": (0, -1.0), "y": (1, -1.0), "z": (2, 1.0)}
ANATOMICAL = {
    "left-to-right": (0, 1.0),
    "right-to-left": (0, -1.0),
    "posterior-to-anterior": (1, 1.0),
    "anterior-to-posterior": (1, -1.0),
    "inferior-to-superior": (2, 1.0),
    "superior-to-inferior": (2, -1.0),
}


def read_zarr(path: Path) -> Scan:
    """Read the highest resolution of an OME-Zarr image (0.4 or 0.5) onto display axes, with its scale and unit.

    Time becomes frames, channels become channels. An image of more than 256 MiB stays on the disk as a dask
    array.

    Raises
    ------
    LDSegError
        If it is damaged or too large, is not OME-Zarr, uses codecs other than plain compression, or a name or
        a link leads out of the folder.
    """
    with plain_reading_errors(path, FORMAT):
        return _read(path)


def zarr_files(path: Path) -> tuple[Path, ...]:
    """Return all files in the folder. Raises LDSegError for links and for too many files."""
    files: list[Path] = []
    for folder, names, here in os.walk(path):
        found = [Path(folder, name) for name in (*here, *names)]
        files += [Path(folder, name) for name in here]
        if any(entry.is_symlink() for entry in found):
            raise LDSegError(
                f"{path.name} has links to other files in it; copy their content into the folder."
            )
        if len(files) > MAX_FILES:
            raise LDSegError(
                f"{path.name} has more than {MAX_FILES} files; save it with larger chunks."
            )
    return tuple(sorted(files))


def _read(path: Path) -> Scan:
    zarr_files(path)
    image, folder = _multiscale(path)
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image["axes"]]
    names = [str(axis["name"]).lower() for axis in axes]
    kinds = "".join(name if name in (*SPACE, TIME, CHANNEL) else "?" for name in names)
    if "?" in kinds or len(set(kinds)) != len(kinds) or not {"x", "y"} <= set(kinds):
        raise LDSegError(
            f"{path.name} has the axes {one_line(', '.join(names), 60)}, of which only t, c, z, y and x can be read; "
            "save a part of it."
        )
    dataset = image["datasets"][0]
    level = _inside(path, folder, str(dataset["path"]))
    array = _opened(path, level)
    if len(array.shape) != len(kinds):
        raise ValueError(f"it describes {len(kinds)} of the {len(array.shape)} axes of its array")
    scale, shift = _scaling(dataset, image, len(kinds))
    space = [kinds.index(name) for name in SPACE if name in kinds]
    others = [kinds.index(name) for name in (TIME, CHANNEL) if name in kinds]
    affine, calibrated = _affine(path, [axes[i] for i in space], scale[space], shift[space])
    data = array.transpose(*space, *others)
    shape = [array.shape[i] for i in space] + [1] * (3 - len(space))
    shape += [array.shape[kinds.index(TIME)]] if TIME in kinds else []
    channels = array.shape[kinds.index(CHANNEL)] if CHANNEL in kinds else 1
    data = data.reshape(*shape, *((channels,) if channels > 1 else ()))
    source = Source(affine, tuple(shape), format=FORMAT)
    return on_display_axes(data, source, path.name, calibrated=calibrated)


def _multiscale(path: Path) -> tuple[dict[str, Any], Path]:
    """Return the description of the image, and the group that it is in."""
    attributes = _attributes(path)
    folder = path
    if "bioformats2raw.layout" in attributes:
        folder = path / "0"
        attributes = _attributes(folder)
    found = attributes.get("multiscales")
    if "plate" in attributes or "well" in attributes:
        raise LDSegError(
            f"{path.name} is a plate of many images; choose the folder of one of them."
        )
    if not found:
        raise LDSegError(
            f"{path.name} is no OME-Zarr image (it has no multiscales); choose the folder of an image."
        )
    return found[0], folder


def _attributes(folder: Path) -> dict[str, Any]:
    if (folder / "zarr.json").is_file():
        attributes = _json(folder / "zarr.json").get("attributes", {})
        return attributes.get("ome", attributes)
    return _json(folder / ".zattrs") if (folder / ".zattrs").is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    found = json.loads(content) if len(content) <= MAX_JSON_BYTES else None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no description of an image")
    return found


def _inside(path: Path, folder: Path, name: str) -> Path:
    """Return the folder of an array that the description names. Raises LDSegError if it leads out."""
    parts = name.split("/")
    if any(
        part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts
    ):
        raise LDSegError(
            f"{path.name} names an array '{one_line(name, 60)}' that is not inside its folder; save it again."
        )
    return folder.joinpath(*parts)


def _opened(path: Path, level: Path) -> Any:
    """Return the array of a resolution: in memory, or as a dask array if it is large."""
    modern = (level / "zarr.json").is_file()
    metadata = _json(level / ("zarr.json" if modern else ".zarray"))
    compressor = check_codecs(path, metadata)
    import zarr
    from zarr.storage import LocalStore

    array = zarr.open_array(
        LocalStore(level, read_only=True), mode="r", zarr_format=3 if modern else 2
    )
    if array.dtype.kind not in "uif":
        raise ValueError(f"it holds {array.dtype} values")
    if min(array.shape, default=0) < 1 or math.prod(array.shape) > MAX_VOXELS:
        check_size(path.name, array.shape, array.dtype.itemsize)
        raise ValueError(f"its size is {array.shape}")
    size = math.prod(array.shape) * array.dtype.itemsize
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    if chunk > 4 * size + SPARE_CHUNK_BYTES:
        raise LDSegError(f"{path.name} is damaged: its chunks are larger than the image.")
    if (
        math.prod(-(-n // part) for n, part in zip(array.shape, array.chunks, strict=True))
        > MAX_CHUNKS
    ):
        raise LDSegError(
            f"{path.name} has more than {MAX_CHUNKS} chunks; save it with larger ones."
        )
    check_chunks(path, level, compressor, chunk)
    if size <= EAGER_BYTES:
        check_size(path.name, array.shape, 2 * array.dtype.itemsize)
        return np.asarray(array[...])
    import dask.array

    return dask.array.from_array(array, chunks=array.chunks)


def _scaling(dataset: Any, image: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and translation of each axis, of the array and then of the whole image."""
    scale, shift = np.ones(count), np.zeros(count)
    for part in (dataset, image):
        for transformation in part.get("coordinateTransformations") or ():
            kind = transformation.get("type")
            values = np.array(transformation.get(kind, np.ones(count)), float)
            if kind not in ("scale", "translation", "identity") or values.shape != (count,):
                raise ValueError(f"its transformation '{kind}' is not one of scale and translation")
            if kind == "scale":
                scale, shift = scale * values, shift * values
            elif kind == "translation":
                shift = shift + values
    return scale, shift


def _affine(path: Path, axes: Any, scale: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the affine (x, y, z) to RAS+ mm, and whether every unit is a length."""
    factors = [mm_per_unit(axis.get("unit")) for axis in axes]
    calibrated = all(factor is not None for factor in factors)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for i, axis in enumerate(axes):
        orientation = axis.get("orientation")
        value = str(orientation.get("value") if isinstance(orientation, dict) else orientation)
        row, sign = ANATOMICAL.get(value, TO_RAS[str(axis["name"]).lower()])
        factor = factors[i] if calibrated else 1.0
        affine[row, i] = sign * scale[i] * factor
        affine[row, 3] += sign * shift[i] * factor
    if len(axes) == 2:
        affine[:3, 2] = np.abs(np.cross(np.sign(affine[:3, 0]), np.sign(affine[:3, 1])))
    return checked_affine(affine, path.name), calibrated
