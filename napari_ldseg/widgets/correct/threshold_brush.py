"""A brush that paints only where the image lies in an intensity range.

How it works: napari's own brush (its mode, cursor, size, 2D or 3D editing, interpolation between mouse
events, and one undo step per stroke) calls the public ``Labels.paint`` at every point of a stroke, and
``Labels.paint_polygon`` for an encircled area. While the threshold brush is on, this one layer has
both replaced by versions that leave out the voxels outside the range and write the others through
``data_setitem``, which napari collects into the stroke. Nothing is painted first and taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from napari.layers import Image, Labels

from ...correction.brush import Indices, brush_voxels, in_range, polygon_voxels


class ThresholdBrush:
    """The replaced painting of one layer, from ``attach`` to ``detach``.

    Parameters
    ----------
    axes
        Gives the layer's axes in the order in which the viewer shows them, those displayed last.
    """

    def __init__(self, axes: Callable[[Labels], Sequence[int]]):
        self.image: Image | None = None
        self.range = (0.0, 0.0)
        self.layer: Labels | None = None
        self._axes = axes

    def attach(self, layer: Labels) -> None:
        """Replace how ``layer`` is painted and select its brush."""
        self.detach()
        layer.mode = "paint"
        layer.paint, layer.paint_polygon = self._paint, self._paint_polygon
        self.layer = layer

    def detach(self) -> None:
        """Give the layer its own painting back."""
        if self.layer is not None:
            del self.layer.paint, self.layer.paint_polygon
            self.layer = None

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        layer = self.layer
        centre = [int(np.round(c)) for c in coord]
        shape = layer.data.shape
        painted = self._painted_axes()
        self._write(
            brush_voxels(centre, layer.brush_size, painted, shape, layer.scale), new_label, refresh
        )

    def _paint_polygon(self, points: Sequence, new_label: int) -> None:
        layer = self.layer
        if layer.n_edit_dimensions != 2:
            Labels.paint_polygon(layer, points, new_label)  # raises what napari raises
            return
        voxels = polygon_voxels(np.asarray(points), self._painted_axes(), layer.data.shape)
        self._write(voxels, new_label, True)

    def _painted_axes(self) -> list[int]:
        return list(self._axes(self.layer))[-self.layer.n_edit_dimensions :]

    def _write(self, voxels: Indices, new_label: int, refresh: bool) -> None:
        data = self.image.data[0] if self.image.multiscale else self.image.data
        keep = in_range(data, voxels, *self.range) & (self.layer.data[voxels] == 0)
        self.layer.data_setitem(tuple(i[keep] for i in voxels), new_label, refresh)
