"""napari's camera, scale bar and canvas, wherever its versions keep them."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from .layers import unwrapped


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera; newer versions of napari have it in the scene."""
    scene = getattr(unwrapped(viewer), "scene", None)
    return getattr(scene, "camera", None) or unwrapped(viewer).camera


def scale_bar_of(viewer: ViewerModel) -> Any:
    """Return the scale bar; newer versions of napari have it on the canvas."""
    canvas = getattr(unwrapped(viewer), "canvas", None)
    overlays = getattr(canvas, "overlays", None)
    return overlays.scale_bar if overlays is not None else unwrapped(viewer).scale_bar


def native_canvas(viewer: ViewerModel) -> QWidget | None:
    """Return the widget that the image is drawn on; None for a viewer without a window."""
    window = getattr(unwrapped(viewer), "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    return None if canvas is None else canvas.native


def canvas_size(viewer: ViewerModel) -> tuple[int, int]:
    """Return the height and width of the canvas in pixels."""
    native = native_canvas(viewer)
    return (600, 800) if native is None else (native.height(), native.width())
