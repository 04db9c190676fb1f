"""Oblique layers from elsewhere, brought onto their nearest anatomical axes as read files are.

napari draws only the in-slice part of a layer's rotation in a 2D view but paints through all of it,
so that a brush lands in another slice. A straight layer has scale and translation only; its true
affine is in the metadata, and saving it gives what saving the oblique layer would have given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.layers import Image, Labels, Layer

from ..scans.display_axes import on_display_axes
from ..scans.nifti import new_header
from ..scans.scan import NiftiSource, Scan
from .geometry import layer_geometry, layer_scan


def is_oblique(layer: Layer, displayed: Sequence[int]) -> bool:
    """Return whether ``layer`` is turned out of the plane of the ``displayed`` axes (of the layer)."""
    matrix = _direction(layer)
    hidden = [axis for axis in range(layer.ndim) if axis not in displayed]
    mixed = np.abs(matrix[np.ix_(displayed, hidden)]).max(initial=0)
    mixed = max(mixed, np.abs(matrix[np.ix_(hidden, displayed)]).max(initial=0))
    return bool(mixed > 1e-6)


def straightened(layer: Image | Labels) -> Layer:
    """Return a new layer with the voxels of ``layer`` on its nearest anatomical axes.

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
    kept = {k: v for k, v in layer.metadata.items() if k not in attributes["metadata"]}
    attributes["metadata"] = kept | attributes["metadata"]
    if isinstance(layer, Labels):
        return Labels(np.ascontiguousarray(scan.array), features=layer.features, **attributes)
    if layer.rgb:
        del attributes["colormap"]
        return Image(scan.array, rgb=True, **attributes)
    return Image(scan.array, contrast_limits=layer.contrast_limits, **attributes)


def _on_display_axes(scan: Scan) -> Scan:
    """Return ``scan`` as if it had been read from the file that it would be written to."""
    array = np.asarray(scan.array)
    axes = len(scan.shape)
    data = array.transpose(*reversed(range(axes)), *range(axes, array.ndim))
    if scan.space == 2:
        data = np.expand_dims(data, 2)
    shape = data.shape[: data.ndim - scan.channels]
    header = new_header(scan.calibrated)
    source = NiftiSource(header, scan.affine[:, [2, 1, 0, 3]], shape, (), ())
    return on_display_axes(data, source, scan.name, calibrated=scan.calibrated)


def _direction(layer: Layer) -> np.ndarray:
    """Return the matrix of unit vectors along which the layer's axes run in the world."""
    origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
    ends = [np.array(layer.data_to_world(unit)) for unit in np.eye(layer.ndim)]
    matrix = np.stack(ends, axis=1) - origin[:, None]
    return matrix / np.linalg.norm(matrix, axis=0)
