"""napari's reader and writer for NIfTI."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from ..errors import LDSegError
from ..scans.files import read_scan, stem_of, suffix_of, write_like
from ..scans.labels import LABEL_INTENT, as_labels, named_label
from ..scans.nifti import NIFTI_SUFFIXES
from ..scans.scan import Scan
from .geometry import layer_geometry, layer_scan

LayerTuple = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the reader if every path ends like a NIfTI file, else None."""
    paths = [path] if isinstance(path, str) else list(path)
    if all(suffix_of(p) in NIFTI_SUFFIXES for p in paths):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerTuple]:
    """Read NIfTI files as napari layers: label images as labels, all others as images."""
    paths = [path] if isinstance(path, str) else list(path)
    return [scan_layer(read_scan(p), Path(p)) for p in paths]


def scan_layer(scan: Scan, path: Path) -> LayerTuple:
    """Return one layer tuple for ``scan`` as read from ``path``."""
    name = stem_of(path)
    attributes = {"name": name, **layer_geometry(scan)}
    labels = _labels(scan, path)
    if labels is not None:
        return labels, attributes, "labels"
    if scan.channels:
        attributes["rgb"] = True
    return scan.array, attributes, "image"


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


def _labels(scan: Scan, path: Path) -> np.ndarray | None:
    """Return the array as class numbers if the file is marked or named as labels, else None."""
    if scan.channels:
        return None
    header = None if scan.source is None else scan.source.header
    if header is not None and int(header["intent_code"]) == LABEL_INTENT:
        return as_labels(scan.array, path.name)
    return named_label(path, stem_of(path), scan.array)
