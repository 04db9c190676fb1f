"""Metadata keys of the plugin's layers, the uncertainty colormap, and adding a layer unselected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QTimer

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import derived_attributes
from ...layers.results import RESULT_KEY as RESULT_KEY
from .map_colours import map_colormap, ramp_for

SD_RANGE = (0.0, 0.5)
REDRAW_MS = 150
RUNS_KEY = "napari_ldseg_runs"
PREVIEW_KEY = "napari_ldseg_preview"
REVIEWED_KEY = "napari_ldseg_reviewed"


def sd_layer(data: np.ndarray, name: str, image: Layer, classes: Iterable[ClassInfo] = ()) -> Image:
    """Return a layer of an SD (0 to 0.5) on the grid of ``image``, in colours that suit the ``classes``."""
    return Image(
        data,
        name=name,
        colormap=map_colormap(ramp_for([info.colour for info in classes])),
        contrast_limits=SD_RANGE,
        blending="translucent_no_depth",
        **derived_attributes(image),
    )


def unwrapped(viewer: ViewerModel) -> ViewerModel:
    """Return the viewer behind the proxy that napari gives to plugins."""
    return getattr(viewer, "__wrapped__", viewer)


def add_unselected(viewer: ViewerModel, layer: Layer, position: int | None = None) -> None:
    """Add ``layer``, by default on top, without selecting it, so that no widget switches to it."""
    layers = unwrapped(viewer).layers
    selected = set(layers.selection)
    with layers.selection.events.active.blocker(), _no_warning_of_units(unwrapped(viewer)):
        with ignore_cursor_error():
            layers.insert(len(layers) if position is None else position, layer)
        layers.selection = selected


def remove_soon(viewer: ViewerModel, layer: Layer) -> None:
    """Hide ``layer`` and remove it after the next drawing.

    napari crashes on Mesa if two layers are removed without drawing in between.
    """
    layer.visible = False

    def remove() -> None:
        if layer in unwrapped(viewer).layers:
            unwrapped(viewer).layers.remove(layer)

    QTimer.singleShot(REDRAW_MS, remove)


@contextmanager
def _no_warning_of_units(viewer: ViewerModel) -> Iterator[None]:
    """Add a layer without another warning of napari that the units of the layers differ.

    napari 0.9 looks at all units when it first draws a layer. One with the units of its image brings no new
    difference.
    """
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    differed = len(viewer.layers) > 0 and viewer.layers.extent.units is None
    due = getattr(canvas, "_needs_world_units_update", True)
    if canvas is None or due or not differed or not hasattr(canvas, "_update_world_units"):
        yield
        return
    canvas._update_world_units = lambda: None
    try:
        yield
    finally:
        del canvas._update_world_units
        canvas._needs_world_units_update = False


@contextmanager
def ignore_cursor_error() -> Iterator[None]:
    """Suppress the error of napari 0.9 when it describes labels under the cursor in 3D."""
    try:
        yield
    except TypeError as error:
        if "unsized" not in str(error):
            raise
