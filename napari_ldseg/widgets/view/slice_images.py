"""One slice of a layer as an image to paint, without OpenGL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QRectF
from qtpy.QtGui import QImage

LEVELS = 256
MOST_LABELS = 2**16  # colours in a table; larger labels are coloured one by one


class LayerGrid:
    """Where the voxels of a layer are along the last three world axes; ``straight`` if it is not rotated.

    Attributes
    ----------
    scale, translate
        World units per voxel, and the world position of the first voxel's centre, of each axis of the layer.
    """

    def __init__(self, layer: Layer):
        origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
        ends = [np.array(layer.data_to_world(unit)) for unit in np.eye(layer.ndim)]
        matrix = np.stack(ends, axis=1) - origin[:, None]
        self.scale, self.translate = np.diag(matrix).copy(), origin
        self.straight = np.allclose(matrix, np.diag(self.scale)) and bool((self.scale > 0).all())

    def index(self, point: Sequence[float]) -> np.ndarray:
        """Return the voxel at a world ``point``, which may be outside the layer."""
        own = np.asarray(point, float)[-len(self.scale) :]
        return np.rint((own - self.translate) / self.scale).astype(int)

    def extent(self, axis: int, size: int) -> tuple[float, float]:
        """Return the outer edges of ``size`` voxels along an axis of the layer, in the world."""
        first = self.translate[axis] - self.scale[axis] / 2
        return float(first), float(first + size * self.scale[axis])


def slice_image(
    layer: Layer, grid: LayerGrid, point: Sequence[float], hidden: int
) -> tuple[QImage, QRectF] | None:
    """Return the slice through ``point`` across the spatial axis ``hidden``, and where it is in the world.

    ``hidden`` is 0, 1 or 2 of the last three axes. None outside the layer, and without labels in the slice. The rectangle has the column axis as
    x and the row axis as y; row 0 of the image is the first voxel.
    """
    leading = layer.ndim - 3
    if leading < 0 or not grid.straight:
        return None
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    index: list[Any] = list(grid.index(point))
    if any(not 0 <= i < n for i, n in zip(index[:leading], data.shape[:leading], strict=True)):
        return None
    if not 0 <= index[leading + hidden] < data.shape[leading + hidden]:
        return None
    rows, columns = (leading + axis for axis in range(3) if axis != hidden)
    index[rows] = index[columns] = slice(None)
    values = np.ascontiguousarray(data[tuple(index)])
    colours = (
        _label_colours(layer, values) if isinstance(layer, Labels) else _colours(layer, values)
    )
    left, right = grid.extent(columns, values.shape[1])
    top, bottom = grid.extent(rows, values.shape[0])
    return _to_image(colours), QRectF(left, top, right - left, bottom - top)


def _colours(layer: Image, values: np.ndarray) -> np.ndarray:
    """Return the RGBA (rows, columns, 4) uint8 of an image's values."""
    if layer.rgb:
        alpha = np.full((*values.shape[:2], 1), LEVELS - 1, np.uint8)
        rgb = values[..., :3]
        if rgb.dtype != np.uint8:
            top = np.iinfo(rgb.dtype).max if rgb.dtype.kind in "iu" else 1
            rgb = (np.clip(rgb / top, 0, 1) * (LEVELS - 1)).astype(np.uint8)
        return np.concatenate([rgb, alpha], axis=-1)
    low, high = layer.contrast_limits
    table = layer.colormap.map(np.linspace(0, 1, LEVELS) ** layer.gamma)
    scaled = values.astype(np.float32)
    scaled -= np.float32(low)
    scaled *= np.float32((LEVELS - 1) / max(high - low, 1e-12))
    np.nan_to_num(scaled, copy=False)
    np.clip(scaled, 0, LEVELS - 1, out=scaled)
    return _looked_up(table, scaled.astype(np.uint8))


def _label_colours(layer: Labels, values: np.ndarray) -> np.ndarray:
    """Return the RGBA of a label map; only its contours if the layer shows these."""
    if layer.contour:
        values = np.where(_is_edge(values), values, 0)
    highest, lowest = int(values.max(initial=0)), int(values.min(initial=0))
    if lowest >= 0 and highest < MOST_LABELS:
        table = layer.colormap.map(np.arange(highest + 1, dtype=values.dtype))
        return _looked_up(table, values)
    return (layer.colormap.map(values) * (LEVELS - 1)).astype(np.uint8)


def _is_edge(values: np.ndarray) -> np.ndarray:
    """Return which voxels have another value beside them."""
    edge = np.zeros(values.shape, bool)
    for there, here in ((values[1:] != values[:-1], edge), (values.T[1:] != values.T[:-1], edge.T)):
        here[1:] |= there
        here[:-1] |= there
    return edge


def _looked_up(table: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return the colours of ``indices`` from an RGBA table (n, 4) of floats from 0 to 1."""
    colours = np.ascontiguousarray(np.rint(np.atleast_2d(table) * (LEVELS - 1)), np.uint8)
    packed = colours.view(np.uint32)[:, 0]
    return packed[indices].view(np.uint8).reshape(*indices.shape, 4)


def _to_image(colours: np.ndarray) -> QImage:
    height, width = colours.shape[:2]
    form = QImage.Format.Format_RGBA8888
    # A copy: Qt does not keep the array alive.
    return QImage(colours.tobytes(), width, height, 4 * width, form).copy()
