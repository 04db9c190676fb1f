"""The pixel size of a DICOM image without a place in the body: ultrasound, X-ray, secondary capture."""

from __future__ import annotations

from typing import Any

from .header import numbers

CENTIMETRES = 3
TWO_DIMENSIONAL = 1
MM_PER_CM = 10.0


def pixel_size(dataset: Any) -> tuple[float, float] | None:
    """Return (between rows, between columns) in mm; None where the file gives none.

    In the patient (PixelSpacing, the calibration of an ultrasound region) goes first; the size at the
    detector of an X-ray is divided by its magnification, if that is given.
    """
    regions = dataset.get("SequenceOfUltrasoundRegions")
    if regions:
        return _ultrasound(regions)
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        size = numbers(dataset.get(name), 2)
        if size is not None and min(size) > 0:
            factor = float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1)
            magnified = name == "ImagerPixelSpacing" and factor > 0
            rows, columns = size
            return (rows / factor, columns / factor) if magnified else (rows, columns)
    return None


def _ultrasound(regions: Any) -> tuple[float, float] | None:
    """Return the pixel size of the largest 2D region; None if regions of that size differ in it."""
    found = []
    for region in regions:
        units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
        if region.get("RegionSpatialFormat") != TWO_DIMENSIONAL or units != (CENTIMETRES,) * 2:
            continue
        x, y = (abs(float(region.get(f"PhysicalDelta{axis}") or 0)) for axis in "XY")
        corners = [
            float(region.get(f"RegionLocation{end}") or 0)
            for end in ("MinX0", "MaxX1", "MinY0", "MaxY1")
        ]
        area = (corners[1] - corners[0]) * (corners[3] - corners[2])
        if 0 < x < 1e3 and 0 < y < 1e3:
            found.append((area, (y * MM_PER_CM, x * MM_PER_CM)))
    if not found:
        return None
    largest, size = max(found)
    differs = any(
        area > 0.5 * largest and abs(other[i] - size[i]) > 0.01 * size[i]
        for area, other in found
        for i in (0, 1)
    )
    return None if differs else size
