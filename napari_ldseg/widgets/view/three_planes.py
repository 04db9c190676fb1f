"""Axial, coronal and sagittal planes through one point, linked with the napari canvas by a crosshair."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from ...layers.anatomy import Anatomy, coordinate_text
from ..common.upright import PLANES, reference_layer
from .plane_view import PlaneView
from .slice_images import LayerGrid

REFRESH_MS = 60  # after painting, at the most this often
ZOOMS = (1.0, 16.0)
MOVES = ("scale", "translate", "rotate", "shear", "affine")
LOOKS = (
    *("data", "set_data", "labels_update", "paint", "visible", "opacity", "blending", "colormap"),
    *("contrast_limits", "gamma", "contour", "selected_label", "show_selected_label"),
    "interpolation2d",
)


class ThreePlanes(QWidget):
    """Shows all visible images and labels of a viewer that are volumes and not rotated.

    A click in a plane, or Shift and moving the mouse over the canvas, sets the point that all go through: it is
    the viewer's own. ``closed`` follows when the widget has left its dock.
    """

    closed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None):
        super().__init__(parent)
        self._viewer: ViewerModel | None = viewer
        self._layers: list[Layer] = []
        self._grids: dict[Layer, LayerGrid] = {}
        self._points: dict[Layer, tuple[float, ...]] = {}
        self._anatomy: Anatomy | None = None
        self.views = [PlaneView(name) for name in PLANES]
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        for view in self.views:
            row.addWidget(view)
            view.picked.connect(self.go_to)
            view.stepped.connect(lambda n, axis=view.hidden: self._step(axis, n))
            view.zoomed.connect(self._zoom)
        self.setMinimumHeight(140)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.events.reordered.connect(self._on_layers)
        viewer.dims.events.point.connect(self._on_point)
        viewer.mouse_move_callbacks.append(self._on_canvas_moved)
        self._on_layers()

    def shut_down(self) -> None:
        """Release the viewer and its layers."""
        viewer, self._viewer = self._viewer, None
        self._timer.stop()
        if viewer is None:
            return
        viewer.layers.events.inserted.disconnect(self._on_layers)
        viewer.layers.events.removed.disconnect(self._on_layers)
        viewer.layers.events.reordered.disconnect(self._on_layers)
        viewer.dims.events.point.disconnect(self._on_point)
        viewer.mouse_move_callbacks.remove(self._on_canvas_moved)
        self._follow([])

    def event(self, event: QEvent | None) -> bool:
        """Shut down when the widget is removed from its dock."""
        removed = event is not None and event.type() == QEvent.Type.ParentChange
        if removed and self.parent() is None and self._viewer is not None:
            self.shut_down()
            self.closed.emit()
        return super().event(event)

    def go_to(self, world: np.ndarray) -> None:
        """Set the point (superior, posterior, left) that the planes and the canvas go through."""
        if self._viewer is not None and self._viewer.dims.ndim >= 3:
            box = self.views[0].box
            world = np.clip(world, box[:, 0], box[:, 1])
            self._viewer.dims.point = (*self._viewer.dims.point[:-3], *map(float, world))

    def refresh(self) -> None:
        """Draw all planes again."""
        viewer = self._viewer
        if viewer is None:
            return
        shown = self._shown()
        self._fit(shown)
        reference = reference_layer(viewer)
        self._anatomy = None if reference is None else Anatomy(reference)
        for view in self.views:
            view.set_anatomy(self._anatomy)
        self._draw(shown, again=True)

    def _draw(self, shown: list[tuple[Layer, LayerGrid]], again: bool) -> None:
        viewer, anatomy = self._viewer, self._anatomy
        if viewer is None or viewer.dims.ndim < 3:
            return
        position = None if anatomy is None else anatomy.position(np.array(viewer.dims.point))
        for view in self.views:
            where = ""
            if position is not None:
                where = f" · {coordinate_text(2 - view.hidden, position[2 - view.hidden])} mm"
            view.title = f"{view.name.capitalize()}{where}"
            view.show_point(shown, viewer.dims.point, again)

    def _shown(self) -> list[tuple[Layer, LayerGrid]]:
        """Return the layers to draw, from below, with their grids."""
        for layer in self._layers:
            if layer not in self._grids:
                self._grids[layer] = LayerGrid(layer)
        return [
            (layer, self._grids[layer])
            for layer in self._layers
            if layer.visible and layer.ndim >= 3 and self._grids[layer].straight
        ]

    def _fit(self, shown: list[tuple[Layer, LayerGrid]]) -> None:
        """Fit the views to the layers."""
        boxes = []
        for layer, grid in shown:
            data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
            axes = range(layer.ndim - 3, layer.ndim)
            boxes.append([grid.extent(axis, data.shape[axis]) for axis in axes])
        if boxes:
            stacked = np.array(boxes)
            box = np.stack([stacked[..., 0].min(axis=0), stacked[..., 1].max(axis=0)], axis=1)
            for view in self.views:
                view.box = box

    def _on_layers(self, event: Any = None) -> None:
        if self._viewer is not None:
            self._follow([x for x in self._viewer.layers if isinstance(x, Image | Labels)])
            self.refresh()

    def _follow(self, layers: list[Layer]) -> None:
        """Follow the looks and places of ``layers`` and of no others."""
        for layer in self._layers:
            if layer not in layers:
                for event in _events(layer):
                    event.disconnect(self._on_change)
                self._grids.pop(layer, None)
                self._points.pop(layer, None)
        for layer in layers:
            if layer not in self._layers:
                for event in _events(layer):
                    event.connect(self._on_change)
        self._layers = layers

    def _on_change(self, event: Any) -> None:
        layer = event.source
        if event.type in MOVES:
            self._grids.pop(layer, None)
        if event.type == "set_data" and self._viewer is not None:
            # Undo emits it, but the canvas does too for each other slice, which changes nothing.
            before, self._points[layer] = self._points.get(layer), self._viewer.dims.point
            if before != self._viewer.dims.point:
                return
        if not self._timer.isActive():
            self._timer.start()

    def _on_point(self, event: Any = None) -> None:
        if self._viewer is not None:
            self._draw(self._shown(), again=False)

    def _on_canvas_moved(self, viewer: Any, event: Any) -> None:
        if "Shift" in event.modifiers and viewer.dims.ndisplay == 2 and viewer.dims.ndim >= 3:
            self.go_to(np.array(viewer.cursor.position)[-3:])

    def _step(self, axis: int, slices: int) -> None:
        viewer, shown = self._viewer, self._shown()
        if viewer is not None and shown:
            world = np.array(viewer.dims.point[-3:])
            world[axis] += slices * shown[0][1].scale[-3 + axis]
            self.go_to(world)

    def _zoom(self, factor: float) -> None:
        zoom = float(np.clip(self.views[0].zoom * factor, *ZOOMS))
        for view in self.views:
            view.zoom = zoom
            view.update()


def _events(layer: Layer) -> list[Any]:
    return [getattr(layer.events, name) for name in (*MOVES, *LOOKS) if hasattr(layer.events, name)]
