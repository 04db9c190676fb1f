"""From napari layers to a result that can be exported, and napari's writers for formats other than NIfTI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..export.formats import FORMATS, export_labels, export_map
from ..export.picture import orientation_of
from ..export.result import Result
from ..scans.tiff import turned_upright
from ..utils.colours import class_colour
from .geometry import GEOMETRY_KEY, layer_scan

# In the metadata of a labels layer: its classes by label value, and the summary of the run that made it.
CLASSES_KEY = "napari_ldseg_classes"
RESULT_KEY = "napari_ldseg_result"


def layer_result(
    layer: Labels,
    image: Image | None = None,
    classes: Mapping[int, ClassInfo] | None = None,
    edited: bool = False,
) -> Result:
    """Return a copy of what a labels layer shows as a result.

    Parameters
    ----------
    layer
        The labels.
    image
        The image that they are on, on the same grid; its file is used for what its format needs.
    classes
        By label value; values without a class get a name.
    edited
        Whether a person has changed the labels.

    Raises
    ------
    LDSegError
        If the labels do not fit the image.
    """
    labels = np.array(layer.data)
    scan, path = layer_scan(layer), None
    if image is not None:
        shown = layer_scan(image)
        path = None if image.source.path is None else Path(image.source.path)
        pixels = np.moveaxis(shown.array, -1, 0) if shown.channels else shown.array
        pixels = as_shown(pixels, image)
        array = np.moveaxis(pixels, 0, -1) if shown.channels else pixels
        scan = replace(scan, array=array, channels=shown.channels, name=image.name)
        labels = as_shown(labels, image)
    known = {value: info for value, info in (classes or {}).items() if value > 0}
    for value in np.unique(labels[labels > 0]).tolist():
        known.setdefault(value, ClassInfo(name=f"label {value}", colour=class_colour(value)))
    return Result(scan, labels, known, layer.metadata.get(RESULT_KEY) or {}, edited, path)


def as_shown(array: Any, image: Image) -> Any:
    """Return an array (..., y, x) on the pixels of ``image`` turned upright, as other programs show a photograph.

    napari's own readers leave out a photograph's orientation tag; ours, and formats with an affine, do not.
    """
    path = image.source.path
    if path is None or GEOMETRY_KEY in image.metadata or layer_scan(image).space != 2:
        return array
    orientation = orientation_of(Path(path))
    return array if orientation == 1 else turned_upright(np.asarray(array), orientation)


def write_result(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer in the format that the name's ending means, with its classes and provenance."""
    layer = Layer.create(data, attributes, "labels")
    name = _format_of(path, labels=True)
    result = layer_result(layer, classes=layer.metadata.get(CLASSES_KEY))
    return [str(export_labels(Path(path), result, name))]


def write_map(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a grey image layer, such as an uncertainty, in the format that the name's ending means."""
    layer = Layer.create(data, attributes, "image")
    scan = layer_scan(layer)
    if scan.channels:
        raise LDSegError(f"{scan.name} is in colour; save it as TIFF.")
    nothing = np.broadcast_to(np.uint8(0), scan.shape)
    result = Result(scan, nothing, {}, layer.metadata.get(RESULT_KEY) or {})
    return [str(export_map(Path(path), np.asarray(scan.array), result, _format_of(path, False)))]


def _format_of(path: str, labels: bool) -> str:
    """Return the format that the ending of ``path`` means. Raises LDSegError if there is none."""
    for name, one in FORMATS.items():
        if path.lower().endswith((one.suffix if labels else one.map_suffix, f".{name}")):
            return name
    raise LDSegError(
        f"{Path(path).name} has no ending of a known format; choose one in the dialog."
    )
