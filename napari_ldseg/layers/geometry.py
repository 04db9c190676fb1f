"""Convert between a scan's affine and the transform of a napari layer.

napari's world axes are taken as (superior, posterior, left) in mm. Images read from files are shown on
these axes without rotation, since napari paints wrongly on rotated layers. Their true affine is kept in
the layer's metadata and is used for every computation and every saved file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Layer

from ..scans.colours import plain_samples
from ..scans.scan import Scan

GEOMETRY_KEY = "napari_ldseg"
FILE_KEY = "napari_ldseg_file"  # the file that the image can be read from again
# Rows: RAS+ x, y, z; columns: napari's superior, posterior, left.
RAS_FROM_WORLD = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)


def layer_geometry(scan: Scan) -> dict[str, Any]:
    """Return the attributes (scale, translate, units, metadata) of a layer that shows ``scan``."""
    space = scan.space
    frames = len(scan.shape) - space
    size = np.array((1,) * (3 - space) + scan.shape[frames:])
    centre = (size - 1) / 2
    world_centre = np.linalg.inv(RAS_FROM_WORLD) @ scan.affine @ [*centre, 1]
    scale, quantum = _short(np.array(scan.spacing))
    translate = np.round((world_centre[:3] - scale * centre) / quantum) * quantum
    geometry = {
        "scale": (1.0,) * frames + tuple(scale[3 - space :].tolist()),
        "translate": (0.0,) * frames + tuple(translate[3 - space :].tolist()),
    }
    unit = "mm" if scan.calibrated else "pixel"
    stored = {"scan": scan_without_array(scan), **geometry}
    return {
        **geometry,
        "units": ("pixel",) * frames + (unit,) * space,
        "metadata": {"affine": scan.affine, GEOMETRY_KEY: stored},
    }


def layer_scan(layer: Layer) -> Scan:
    """Return the scan that a napari image or labels layer shows, with its true affine.

    The affine of the layer's file is used unless the layer has been moved since it was read. Colours are
    as ``read_scan`` gives them: without alpha, and grey where red, green and blue are equal.
    """
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    data, channels = plain_samples(data) if getattr(layer, "rgb", False) else (data, False)
    stored = layer.metadata.get(GEOMETRY_KEY)
    if stored is not None and _not_moved(layer, stored) and data.ndim - channels == layer.ndim:
        return replace(stored["scan"], array=data, channels=channels, name=layer.name)
    flat = stored is not None and stored["scan"].flat
    modality = "" if stored is None else stored["scan"].modality
    space = min(2 if flat else 3, layer.ndim)
    factors, calibrated = _millimetres(layer, space)
    affine = RAS_FROM_WORLD @ _data_to_world(layer, factors)
    return Scan(data, affine, channels, calibrated, layer.name, flat=flat, modality=modality)


def derived_attributes(layer: Layer) -> dict[str, Any]:
    """Return the attributes of a new layer whose voxels coincide with those of ``layer``."""
    metadata = {k: v for k, v in layer.metadata.items() if k in ("affine", GEOMETRY_KEY)}
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
        "metadata": metadata,
    }


def grid_of(layer: Layer) -> tuple:
    """Return the voxel grid of an image or labels layer in the world: shape, units, corners.

    Two layers have equal grids if and only if their voxels coincide.
    """
    corners = np.array(np.meshgrid(*[(0.0, 1.0)] * layer.ndim)).reshape(layer.ndim, -1).T
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    size = tuple(data.shape[: layer.ndim])
    return size, tuple(layer.units), tuple(tuple(layer.data_to_world(c)) for c in corners)


def scan_without_array(scan: Scan) -> Scan:
    """Return ``scan`` with an empty array in place of its voxels."""
    empty = np.empty((0,) * (len(scan.shape) + scan.channels), dtype=np.uint8)
    return replace(scan, array=empty)


def _short(spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``spacing`` rounded to 29 binary digits (2e-9 of it), and the value of each one's last digit.

    napari counts slices by int((last - first) / spacing). With these numbers, and a first slice at a multiple of
    the last digit, that is exact; with others it may be one too few, and the slider does not reach the last slice.
    """
    quantum = np.exp2(np.floor(np.log2(spacing)) - 28)
    return np.round(spacing / quantum) * quantum, quantum


def _not_moved(layer: Layer, stored: dict[str, Any]) -> bool:
    identity = np.eye(layer.ndim)
    return (
        len(stored["scale"]) == layer.ndim
        and np.allclose(layer.scale, stored["scale"])
        and np.allclose(layer.translate, stored["translate"])
        and np.allclose(layer.rotate, identity)
        and not np.any(layer.shear)
        and np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1))
    )


def _millimetres(layer: Layer, space: int) -> tuple[np.ndarray, bool]:
    """Return mm per world unit for the last ``space`` axes, and whether the units are lengths."""
    units = layer.units[-space:]
    lengths = [unit.dimensionality == {"[length]": 1.0} for unit in units]
    factors = [
        float((1 * unit).to("mm").magnitude) if length else 1.0
        for unit, length in zip(units, lengths, strict=True)
    ]
    return np.array(factors), all(lengths)


def _data_to_world(layer: Layer, factors: np.ndarray) -> np.ndarray:
    """Return the 4x4 matrix of the last axes, one per factor, from data to world, in mm."""
    space = len(factors)
    origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
    matrix = np.eye(4)
    for axis in range(space):
        unit = np.zeros(layer.ndim)
        unit[layer.ndim - space + axis] = 1.0
        column = np.array(layer.data_to_world(tuple(unit))) - origin
        matrix[3 - space : 3, 3 - space + axis] = column[-space:] * factors
    matrix[3 - space : 3, 3] = origin[-space:] * factors
    return matrix
