"""OME-Zarr: labels as an image with the colours of its classes, or inside the OME-Zarr of their image.

The arrays are (t, z, y, x) in chunks, with coarser levels that take every second voxel. Only one chunk at a
time is in memory. The affine is in the attribute ``napari_ldseg``, since OME-Zarr itself has scales and
translations only. Coordinates are in mm towards left, posterior and superior.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..scans.scan import LPS, MAX_SHIFT, Scan, corner_distance
from ..scans.zarr_image import ANATOMICAL, TO_RAS
from ..utils.atomic import atomic_folder, atomic_write
from .result import Result, colour_of, on_file_grid

CHUNK = 64  # voxels along z; 256 along y and x
SMALLEST = 256  # a level whose sides are all shorter needs no coarser one
NEWEST = "0.5"
ORIENTATIONS = {direction: name for name, direction in ANATOMICAL.items()}


def write_labels(path: Path, result: Result) -> None:
    """Write labels as the OME-Zarr folder ``path``. Raises OSError and LDSegError.

    In the folder ``labels`` of an OME-Zarr they become one of that image's labels.
    """
    labels, affine = _on_grid(result.stored_labels(), result.scan)
    colours = [
        {"label-value": value, "rgba": [*colour_of(info), 255]}
        for value, info in sorted(result.classes.items())
    ]
    properties = [
        {"label-value": value, "name": info.name}
        | ({} if info.snomed is None else {"snomed": info.snomed})
        for value, info in sorted(result.classes.items())
    ]
    image_label: dict[str, Any] = {"colors": colours, "properties": properties}
    if _in_image(path):
        image_label["source"] = {"image": "../../"}
    _write(path, labels, affine, result, {"image-label": image_label})
    if _in_image(path):
        _register(path)


def _in_image(path: Path) -> bool:
    """Return whether ``path`` is in the folder ``labels`` of an OME-Zarr; other folders may be called so, too."""
    image = path.parent.parent
    described = any((image / name).is_file() for name in ("zarr.json", ".zattrs"))
    return path.parent.name == "labels" and described


def write_map(path: Path, array: np.ndarray, result: Result) -> None:
    """Write a map of real numbers, shaped like the scan. Raises OSError."""
    data, affine = _on_grid(np.asarray(array, np.float32), result.scan)
    _write(path, data, affine, result, {})


def reason_not(scan: Scan) -> str | None:
    """Return why OME-Zarr cannot hold the grid of ``scan``; None if it can."""
    if len(scan.shape) - scan.space > 1:
        return "OME-Zarr has one axis of time"
    if _from_zarr(scan) or not scan.calibrated:
        return None
    size = (*scan.size[::-1],)
    affine = LPS @ scan.affine[:, [2, 1, 0, 3]]
    straight = np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0])
    straight[:3, 3] = affine[:3, 3]
    if corner_distance(affine, straight, size) > MAX_SHIFT * min(scan.spacing):
        return "OME-Zarr has no rotation"
    return None


def _from_zarr(scan: Scan) -> bool:
    return scan.source is not None and scan.source.format == "OME-Zarr"


def _on_grid(array: np.ndarray, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y, z, *frames) and the affine to RAS+: of an OME-Zarr its own, else along left, posterior, superior.

    Raises LDSegError as ``reason_not`` gives it.
    """
    reason = reason_not(scan)
    if reason is not None:
        raise LDSegError(f"{scan.name} cannot be saved as OME-Zarr: {reason}; choose NRRD.")
    return on_file_grid(array, scan if _from_zarr(scan) else replace(scan, source=None))


def _write(
    path: Path, data: np.ndarray, affine: np.ndarray, result: Result, attributes: dict[str, Any]
) -> None:
    """Write (x, y, z, *frames) with all levels."""
    import zarr

    array, version = data.T, _version_for(path)
    own = {**json.loads(result.provenance_json()), "affine_ras": affine.tolist()}
    with atomic_folder(path) as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=3 if version == NEWEST else 2)
        multiscale = _multiscale(result, affine, _write_levels(group, array, affine), array.ndim)
        group.attrs["napari_ldseg"] = own
        if version == NEWEST:
            group.attrs["ome"] = {"version": version, "multiscales": [multiscale], **attributes}
        else:
            if "image-label" in attributes:
                attributes = {"image-label": {"version": version, **attributes["image-label"]}}
            group.attrs.update({"multiscales": [{"version": version, **multiscale}], **attributes})


def _write_levels(group: Any, array: np.ndarray, affine: np.ndarray) -> list[dict[str, Any]]:
    """Write (*frames, z, y, x) and its coarser levels; return their description."""
    datasets: list[dict[str, Any]] = []
    level: Any = array
    factor = np.ones(3, int)
    while True:
        name = str(len(datasets))
        level = _write_level(group, name, level)
        place = _place(affine, factor, array.ndim - 3)
        datasets.append({"path": name, "coordinateTransformations": place})
        halved = np.array(level.shape[-3:]) > SMALLEST
        if not halved.any():
            return datasets
        factor = factor * np.where(halved, 2, 1)
        level = _Halved(level, halved)


class _Halved:
    """Every second voxel of the ``halved`` spatial axes of an array, read part by part."""

    def __init__(self, array: Any, halved: np.ndarray):
        self._array = array
        self._steps = (1,) * (array.ndim - 3) + tuple(2 if half else 1 for half in halved)
        self.dtype, self.ndim = array.dtype, array.ndim
        self.shape = tuple(-(-n // step) for n, step in zip(array.shape, self._steps, strict=True))

    def __getitem__(self, part: tuple[slice, ...]) -> np.ndarray:
        return self._array[
            tuple(
                slice(one.start * step, min(one.stop * step, n), step)
                for one, step, n in zip(part, self._steps, self._array.shape, strict=True)
            )
        ]


def _write_level(group: Any, name: str, level: Any) -> Any:
    """Write one array chunk by chunk and return it."""
    chunks = (1,) * (level.ndim - 3) + tuple(
        min(n, size) for n, size in zip(level.shape[-3:], (CHUNK, 256, 256), strict=True)
    )
    array = group.create_array(
        name,
        shape=level.shape,
        chunks=chunks,
        dtype=level.dtype,
        fill_value=0,
        **({"dimension_names": _axis_names(level.ndim)} if group.metadata.zarr_format == 3 else {}),
        **(
            {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
            if group.metadata.zarr_format == 2
            else {}
        ),
    )
    for at in np.ndindex(*(-(-n // size) for n, size in zip(level.shape, chunks, strict=True))):
        part = tuple(
            slice(i * size, min((i + 1) * size, n))
            for i, size, n in zip(at, chunks, level.shape, strict=True)
        )
        array[part] = level[part]
    return array


def _axis_names(count: int) -> list[str]:
    return ["t", "z", "y", "x"][-count:]


def _multiscale(result: Result, affine: np.ndarray, datasets: list, count: int) -> dict[str, Any]:
    axes: list[dict[str, Any]] = []
    for name, (row, sign) in zip("xyz", _directions(affine), strict=True):
        axis: dict[str, Any] = {"name": name, "type": "space"}
        if result.scan.calibrated:
            axis["unit"] = "millimeter"
        if (row, sign) != TO_RAS[name]:
            # RFC 4 of OME-NGFF; without it the axes are those of DICOM.
            axis["orientation"] = {"type": "anatomical", "value": ORIENTATIONS[row, sign]}
        axes.insert(0, axis)
    frames = [{"name": "t", "type": "time"}] * (count - 3)
    return {"name": result.scan.name, "axes": [*frames, *axes], "datasets": datasets}


def _directions(affine: np.ndarray) -> list[tuple[int, float]]:
    """Return along which row of RAS+ each of x, y, z runs, and with which sign."""
    rows = np.abs(affine[:3, :3]).argmax(0)
    return [(int(row), float(np.sign(affine[row, axis]))) for axis, row in enumerate(rows)]


def _place(affine: np.ndarray, factor: np.ndarray, frames: int) -> list[dict[str, Any]]:
    """Return scale and translation of a level that takes every ``factor``-th voxel of (z, y, x)."""
    scale = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    origin = [sign * affine[row, 3] for row, sign in _directions(affine)][::-1]
    return [
        {"type": "scale", "scale": [1.0] * frames + (scale * factor).tolist()},
        {"type": "translation", "translation": [0.0] * frames + [float(at) for at in origin]},
    ]


def _version_for(path: Path) -> str:
    """Return the version to write: that of the image whose labels they are, else the one most programs read."""
    image = path.parent.parent
    return NEWEST if path.parent.name == "labels" and (image / "zarr.json").exists() else "0.4"


def _register(path: Path) -> None:
    """Add the labels at ``path`` to the list in their folder ``labels``."""
    folder, newest = path.parent, _version_for(path) == NEWEST
    listed = folder / ("zarr.json" if newest else ".zattrs")
    content = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else {}
    if newest:
        content = {"zarr_format": 3, "node_type": "group", "attributes": {}, **content}
        attributes = content["attributes"].setdefault("ome", {"version": NEWEST})
    else:
        attributes = content
        if not (folder / ".zgroup").exists():
            with atomic_write(folder / ".zgroup", ".json") as temporary:
                temporary.write_text('{"zarr_format": 2}', encoding="utf-8")
    names = attributes.setdefault("labels", [])
    if path.name not in names:
        names.append(path.name)
    with atomic_write(listed, ".json") as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
