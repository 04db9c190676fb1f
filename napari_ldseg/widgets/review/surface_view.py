"""The surface of the labels in the 3D view, coloured by the uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Surface
from napari.utils.colormaps import Colormap, ensure_colormap
from qtpy.QtCore import QObject, QTimer, Signal

from ...layers.geometry import derived_attributes, layer_scan
from ...review.maps import shown_sd
from ...review.surface import label_surface
from ..common.latest import Latest
from ..common.layers import PREVIEW_KEY, SD_RANGE, add_unselected, remove_soon, unwrapped
from ..common.map_colours import RAMPS
from ..common.sizes import EVENTS
from .display import Display
from .reviewer import Reviewer

PAUSE_MS = 500  # after a change of the labels, before the surface is made anew

Mesh = tuple[np.ndarray, np.ndarray, np.ndarray]


class SurfaceView(QObject):
    """Shows the surface alone in 3D, and the layers as before when it goes. Lives in the GUI thread."""

    changed = Signal()
    message = Signal(str, bool)

    def __init__(
        self,
        viewer: ViewerModel,
        reviewer: Reviewer,
        display: Display,
        parent: QObject | None = None,
    ):
        super().__init__(parent)
        self._viewer, self._reviewer, self._display = unwrapped(viewer), reviewer, display
        self._work = Latest()
        self._layer: Surface | None = None
        self._hidden: list[Layer] = []
        self._watched: Labels | None = None
        self._seen: np.ndarray | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._make)
        reviewer.target_changed.connect(self._on_target)
        self._viewer.dims.events.ndisplay.connect(self._on_ndisplay)
        self._viewer.layers.events.removed.connect(self._on_removed)

    def shut_down(self) -> None:
        """Release the viewer."""
        self.hide()
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    @property
    def possible(self) -> bool:
        """Whether there are labels in 3D with an uncertainty."""
        layer, maps = self._reviewer.layer, self._reviewer.maps
        return layer is not None and layer_scan(layer).space == 3 and shown_sd(maps) is not None

    @property
    def shown(self) -> bool:
        """Whether the surface is shown, or is being made."""
        return self._layer is not None or self._work.busy

    def show(self) -> None:
        """Show the surface of the labels in 3D, made in a worker, and again after each change of them."""
        layer = self._reviewer.layer
        if layer is None or not self.possible:
            return
        self.hide()
        self._watch(layer)
        self._make()

    def hide(self) -> None:
        """Remove the surface and go back to the slices."""
        self._timer.stop()
        self._work.drop()
        self._watch(None)
        layer, self._layer = self._layer, None
        if layer is None:
            return
        remove_soon(self._viewer, layer)
        self._viewer.dims.ndisplay = 2
        with self._display.unfollowed():
            for hidden in self._hidden:
                hidden.visible = True
        self._hidden = []
        self.changed.emit()

    def _watch(self, layer: Labels | None) -> None:
        if self._watched is not None:
            for event in EVENTS:
                getattr(self._watched.events, event).disconnect(self._on_edit)
        if layer is not None:
            for event in EVENTS:
                getattr(layer.events, event).connect(self._on_edit)
        self._watched, self._seen = layer, None

    def _on_edit(self, event: Any = None) -> None:
        if self._layer is not None:
            self._timer.start()

    def _make(self) -> None:
        layer, maps = self._watched, self._reviewer.maps
        shown = shown_sd(maps)
        if layer is None or shown is None or not self.possible:
            return
        sd = maps[shown]
        frame = tuple(self._frame(layer))

        def take(mesh: Mesh) -> None:
            self._show(layer, frame, mesh)
            self.changed.emit()

        def fail(error: Exception) -> None:
            self.message.emit(f"The surface of {layer.name} cannot be made: {error}", True)
            self.changed.emit()

        labels, values = np.array(layer.data[frame]), np.array(sd[frame])
        if self._seen is not None and np.array_equal(labels, self._seen):
            return  # another slice, no other labels
        self._seen = labels
        self._work.start(label_surface, labels, values, done=take, failed=fail)
        self.changed.emit()

    def _show(self, labels: Labels, frame: tuple[int, ...], mesh: Mesh) -> None:
        vertices, faces, values = mesh
        if not len(faces):
            self.hide()
            self.message.emit(f"{labels.name} is empty; it has no surface.", True)
            return
        new = surface_layer(labels, frame, vertices, faces, values, self._display.ramp)
        if self._layer is not None:
            self._layer.data = new.data
            return
        self._layer = new
        self._hidden = [layer for layer in self._viewer.layers if layer.visible]
        with self._display.unfollowed():
            for layer in self._hidden:
                layer.visible = False  # volumes would be drawn over the surface
        self._viewer.dims.ndisplay = 3
        add_unselected(self._viewer, self._layer)

    def _frame(self, layer: Labels) -> list[int]:
        """Return the indices of the leading axes of the volume shown."""
        leading = layer.ndim - 3
        index = layer.world_to_data(self._viewer.dims.point)[:leading]
        return [
            int(np.clip(round(i), 0, n - 1)) for i, n in zip(index, layer.data.shape, strict=False)
        ]

    def _on_target(self) -> None:
        self.hide()
        self.changed.emit()

    def _on_ndisplay(self, event: Any = None) -> None:
        if self._viewer.dims.ndisplay == 2:
            self.hide()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.hide()


def surface_layer(
    labels: Labels,
    frame: tuple[int, ...],
    vertices: np.ndarray,
    faces: np.ndarray,
    values: np.ndarray,
    ramp: str = RAMPS[0],
) -> Surface:
    """Return a mesh in voxels of volume ``frame`` of ``labels`` as a layer, in its place in the world."""
    leading = np.broadcast_to(np.asarray(frame, np.float32), (len(vertices), len(frame)))
    layer = Surface(
        (np.concatenate([leading, vertices], axis=1), faces, values),
        name=f"surface · {labels.name.removeprefix('labels · ')}",
        colormap=surface_colours(ramp),
        contrast_limits=SD_RANGE,
        shading="smooth",
        **derived_attributes(labels),
    )
    layer.metadata[PREVIEW_KEY] = True
    return layer


def surface_colours(ramp: str) -> Colormap:
    """Return the map's colours without their dark end, in which no shape could be seen."""
    colours = np.array(ensure_colormap(ramp).colors)
    return Colormap(colours[len(colours) // 4 :], name="surface uncertainty")
