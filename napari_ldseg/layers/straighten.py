"""Straight copies of oblique layers, on their nearest anatomical axes like layers read from files.

In a 2D view napari draws only the in-slice part of a layer's rotation but paints with all of it, so a
brush stroke ends up in another slice. A straight layer has only scale and translation. Its true affine
is in the metadata, and it is saved as the oblique layer would be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.layers import Image, Labels, Layer

from ..scans.display_axes import on_display_axes
from ..scans.nifti import new_header
from ..scans.scan import Scan, Source
from .geometry import layer_geometry, layer_scan


def is_oblique(layer: Layer, displayed: Sequence[int]) -> bool:
    """Return whether ``layer`` is rotated out of the plane of its ``displayed`` axes."""
    matrix = _direction(layer)
    hidden = [axis for axis in range(layer.ndim) if axis not in displayed]
    mixed = np.abs(matrix[np.ix_(displayed, hidden)]).max(initial=0)
    mixed = max(mixed, np.abs(matrix[np.ix_(hidden, displayed)]).max(initial=0))
    return bool(mixed > 1e-6)


def straightened(layer: Image | Labels) -> Layer:
    """Return a copy of ``layer`` on its nearest anatomical axes.

    The voxels are reordered (axes swapped and flipped), never resampled.
    """
    scan = _on_display_axes(layer_scan(layer))
    attributes = {
        "name": f"{layer.name} · straight",
        "colormap": layer.colormap,
        "opacity": layer.opacity,
        "blending": layer.blending,
        **layer_geometry(scan),
    }
    attributes["metadata"] = {**layer.metadata, **attributes["metadata"]}
    if isinstance(layer, Labels):
        return Labels(np.ascontiguousarray(scan.array), features=layer.features, **attributes)
    if layer.rgb:
        del attributes["colormap"]
        return Image(scan.array, rgb=scan.channels, **attributes)
    return Image(scan.array, contrast_limits=layer.contrast_limits, **attributes)


def _on_display_axes(scan: Scan) -> Scan:
    """Return ``scan`` as it would be after writing it to a file and reading it again."""
    array = np.asarray(scan.array)
    axes = len(scan.shape)
    data = array.transpose(*reversed(range(axes)), *range(axes, array.ndim))
    if scan.space == 2:
        data = np.expand_dims(data, 2)
    shape = data.shape[: data.ndim - scan.channels]
    header = new_header(scan.calibrated)
    source = Source(scan.affine[:, [2, 1, 0, 3]], shape, header=header)
    return on_display_axes(data, source, scan.name, calibrated=scan.calibrated)


def _direction(layer: Layer) -> np.ndarray:
    """Return the unit vectors of the layer's axes in the world, one per column."""
    origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
    ends = [np.array(layer.data_to_world(unit)) for unit in np.eye(layer.ndim)]
    matrix = np.stack(ends, axis=1) - origin[:, None]
    return matrix / np.linalg.norm(matrix, axis=0)
