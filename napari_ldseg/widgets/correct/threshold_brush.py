"""A brush that paints only where the intensities of an image are in a range.

napari's own brush (its mode, cursor, size, 2D or 3D editing, interpolation between mouse events, and one
undo step per stroke) calls the public ``Labels.paint`` at every point of a stroke, and
``Labels.paint_polygon`` for an encircled area. While the threshold brush is on, both are replaced on one
layer by versions that skip the voxels outside the range and write the others through ``data_setitem``,
which napari adds to the stroke. No voxel is painted and then erased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from napari.layers import Image, Labels

from ...correction.brush import Indices, brush_voxels, in_range, polygon_voxels
from ..common.qt import existing


class ThresholdBrush:
    """Replaces the painting of one layer, from ``attach`` to ``detach``.

    Parameters
    ----------
    axes
        Returns the layer's axes in the viewer's order, the displayed ones last.
    """

    def __init__(self, axes: Callable[[Labels], Sequence[int]]):
        self.image: Image | None = None
        self.range = (0.0, 0.0)
        self.layer: Labels | None = None
        self._axes = axes

    def attach(self, layer: Labels) -> None:
        """Replace the painting of ``layer`` and select its brush."""
        self.detach()
        layer.mode = "paint"
        layer.paint, layer.paint_polygon = self._paint, self._paint_polygon
        self.layer = layer

    def detach(self) -> None:
        """Restore the layer's own painting."""
        if self.layer is not None:
            del self.layer.paint, self.layer.paint_polygon
            self.layer = None

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        layer = existing(self.layer)
        centre = [int(np.round(c)) for c in coord]
        axes, shape = self._painted_axes(), layer.data.shape
        voxels = brush_voxels(centre, layer.brush_size, axes, shape, layer.scale)
        self._write(voxels, new_label, refresh)

    def _paint_polygon(self, points: Sequence, new_label: int) -> None:
        layer = existing(self.layer)
        if layer.n_edit_dimensions != 2:
            Labels.paint_polygon(layer, points, new_label)  # raises what napari raises
            return
        voxels = polygon_voxels(np.asarray(points), self._painted_axes(), layer.data.shape)
        self._write(voxels, new_label, True)

    def _painted_axes(self) -> list[int]:
        layer = existing(self.layer)
        return list(self._axes(layer))[-layer.n_edit_dimensions :]

    def _write(self, voxels: Indices, new_label: int, refresh: bool) -> None:
        layer, image = existing(self.layer), existing(self.image)
        data = image.data[0] if image.multiscale else image.data
        keep = in_range(data, voxels, *self.range) & (layer.data[voxels] == 0)
        layer.data_setitem(tuple(i[keep] for i in voxels), new_label, refresh)
