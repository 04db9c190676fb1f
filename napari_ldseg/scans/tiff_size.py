"""The voxel size that a TIFF's ImageJ or OME metadata give."""

from __future__ import annotations

import math
from typing import Any

from .units import mm_per_unit


def voxel_size(file: Any) -> tuple[float, float, float] | None:
    """Return (z, y, x) in mm of an open ``tifffile.TiffFile``; None where no unit of length is given.

    The resolution tags alone give no size: they are the density of a print.
    """
    if file.ome_metadata is not None:
        return _ome_size(file.ome_metadata)
    if file.is_imagej:
        return _imagej_size(file.imagej_metadata or {}, file.pages[0].tags)
    return None


def _imagej_size(metadata: dict, tags: Any) -> tuple[float, float, float] | None:
    unit = metadata.get("unit")
    units = (metadata.get("zunit", unit), metadata.get("yunit", unit), unit)
    # ImageJ leaves out a spacing of 1.
    sizes = (metadata.get("spacing", 1.0), _step(tags.get(283)), _step(tags.get(282)))
    return _in_mm(sizes, units)


def _step(resolution: Any) -> float:
    """Return the pixel's size for a tag that counts pixels per unit."""
    if resolution is None:
        return 1.0
    pixels, units = resolution.value
    return units / pixels if pixels else math.nan


def _ome_size(text: str) -> tuple[float, float, float] | None:
    from xml.etree import ElementTree

    for element in ElementTree.fromstring(text).iter():
        if element.tag.rpartition("}")[2] != "Pixels":
            continue
        # A single slice often has no thickness.
        thickness = element.get("PhysicalSizeZ")
        if thickness is None and element.get("SizeZ") == "1":
            thickness = element.get("PhysicalSizeX")
        sizes = (thickness, element.get("PhysicalSizeY"), element.get("PhysicalSizeX"))
        units = [element.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
        return _in_mm(sizes, units)
    return None


def _in_mm(sizes: Any, units: Any) -> tuple[float, float, float] | None:
    """Return three sizes in mm, None unless all are positive lengths."""
    found = []
    for size, unit in zip(sizes, units, strict=True):
        factor = mm_per_unit(unit)
        try:
            length = float(size) * factor if factor is not None else 0.0
        except (TypeError, ValueError):
            return None
        if not 0 < length < math.inf:
            return None
        found.append(length)
    z, y, x = found
    return z, y, x
