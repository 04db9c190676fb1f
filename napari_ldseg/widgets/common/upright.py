"""Volumes the right way up in 2D views: superior or anterior at the top, the patient's left on the right.

napari draws index 0 of the vertical axis at the top, which is inferior. Only the camera is flipped, so that
every layer, picking and painting follow.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import ref

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal

from ...layers.anatomy import orientation_known
from .canvas import camera_of
from .per_viewer import OnePerViewer

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the hidden one of superior, posterior, left


class Upright(QObject):
    """Turns the camera, and puts the displayed axes in order, while the viewer shows a volume of a patient.

    ``changed`` follows another plane, or other layers, that the viewer shows.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        self._viewer = ref(viewer)
        self._enabled = True
        self._before: Any = None
        self._order: tuple[int, ...] = ()
        for event in (viewer.dims.events.order, viewer.dims.events.ndisplay):
            event.connect(self._apply)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._apply)
        for layer in viewer.layers:
            layer.events.visible.connect(self._apply)
        self._apply()

    @property
    def enabled(self) -> bool:
        """Whether views are turned; else they are as napari has them."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        self._apply()

    def _on_inserted(self, event: Any) -> None:
        event.value.events.visible.connect(self._apply)
        self._apply()

    def _on_removed(self, event: Any) -> None:
        event.value.events.visible.disconnect(self._apply)
        self._apply()

    def _apply(self, event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is not None:
            self._turn(viewer)
            with suppress(RuntimeError):  # Qt has deleted the widgets already.
                self.changed.emit()

    def _turn(self, viewer: ViewerModel) -> None:
        camera, dims = camera_of(viewer), viewer.dims
        if not self._enabled or reference_layer(viewer) is None or dims.ndisplay == 3:
            self._restore(camera)
            return
        shown = tuple(axis - dims.ndim + 3 for axis in dims.displayed)
        if min(shown) < 0:  # a frame axis beside one of space
            self._restore(camera)
            return
        order = self._in_order(dims.order)
        self._order = order
        if order != dims.order:
            dims.order = order  # comes back here
            return
        if self._before is None:
            self._before = camera.orientation
        vertical = "up" if min(shown) == 0 else "down"
        camera.orientation = (camera.orientation[0], vertical, "right")

    def _restore(self, camera: Any) -> None:
        if self._before is not None:
            camera.orientation, self._before = self._before, None

    def _in_order(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``order`` with the displayed axes neither transposed nor, by napari's roll, skipping a plane."""
        last = order[-3:]
        space = tuple(sorted(last))
        if self._order[-3:] == (space[1], space[0], space[2]) and last == (space[2], *space[1::-1]):
            # From coronal, napari rolls to a transposed sagittal plane; the next plane is the axial one.
            return (*order[:-3], *space)
        return (*order[:-2], *sorted(order[-2:]))


def reference_layer(viewer: ViewerModel) -> Layer | None:
    """Return the layer whose orientation the view has: that of the visible images, else labels.

    None if one of the visible images, such as a picture, has no known orientation.
    """
    visible = [layer for layer in viewer.layers if layer.visible]
    images = [layer for layer in visible if isinstance(layer, Image)]
    shown = images or [layer for layer in visible if isinstance(layer, Labels)]
    if not shown or not all(orientation_known(layer) for layer in shown):
        return None
    active = viewer.layers.selection.active
    return next((layer for layer in shown if layer == active), shown[0])


def plane_of(viewer: ViewerModel) -> str | None:
    """Return which of ``PLANES`` the viewer shows; None in 3D and with another axis displayed."""
    dims = viewer.dims
    hidden = {0, 1, 2} - {axis - dims.ndim + 3 for axis in dims.displayed}
    if dims.ndim < 3 or dims.ndisplay != 2 or len(hidden) != 1:
        return None
    return next(name for name, axis in PLANES.items() if axis in hidden)


def show_plane(viewer: ViewerModel, name: str) -> None:
    """Show one of ``PLANES`` in 2D."""
    dims = viewer.dims
    space = [dims.ndim - 3 + axis for axis in range(3)]
    hidden = space.pop(PLANES[name])
    dims.ndisplay = 2
    dims.order = (*range(dims.ndim - 3), hidden, *space)


upright_of: OnePerViewer[Upright] = OnePerViewer(Upright)
