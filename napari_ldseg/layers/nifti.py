"""napari's writers for NIfTI."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from napari.layers import Layer

from ..errors import LDSegError
from ..scans.files import write_like
from ..scans.labels import LABEL_INTENT
from .files import LayerTuple
from .geometry import layer_scan


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI, with the affine of the file it came from."""
    return _write(path, Layer.create(data, attributes, "image"))


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as NIfTI, marked as labels, with the affine of its image."""
    return _write(path, Layer.create(data, attributes, "labels"), LABEL_INTENT)


def write_layers(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write each layer to its own NIfTI file, named ``path`` without its ending and the layer's name."""
    stem = path.removesuffix(".gz").removesuffix(".nii")
    written = []
    for data, attributes, kind in layers:
        name = re.sub(r"[^\w() -]+", "", attributes["name"]).strip() or kind
        single = write_labels if kind == "labels" else write_image
        written += single(f"{stem} {name}.nii.gz", data, attributes)
    return written


def _write(path: str, layer: Layer, intent: int = 0) -> list[str]:
    scan = layer_scan(layer)
    if getattr(layer, "rgb", False):
        raise LDSegError(
            f"{scan.name} is in colour, which NIfTI viewers do not read; save it as TIFF."
        )
    return [str(write_like(path, np.asarray(scan.array), scan, intent))]
