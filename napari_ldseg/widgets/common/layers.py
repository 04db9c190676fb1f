"""Metadata keys of the plugin's layers, the uncertainty colormap, and adding a layer unselected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.colormaps import Colormap, ensure_colormap

SD_RANGE = (0.0, 0.5)
MAX_OPACITY = 0.7
RESULT_KEY = "napari_ldseg_result"
RUNS_KEY = "napari_ldseg_runs"
PREVIEW_KEY = "napari_ldseg_preview"
REVIEWED_KEY = "napari_ldseg_reviewed"


def sd_colormap() -> Colormap:
    """Return inferno, transparent at 0 and never so opaque that it hides the image."""
    colours = ensure_colormap("inferno").colors.copy()
    colours[:, 3] = MAX_OPACITY * np.minimum(1, np.linspace(0, 2, len(colours)))
    return Colormap(colours, name="uncertainty")


def unwrapped(viewer: ViewerModel) -> ViewerModel:
    """Return the viewer behind the proxy that napari gives to plugins."""
    return getattr(viewer, "__wrapped__", viewer)


def add_unselected(viewer: ViewerModel, layer: Layer, position: int | None = None) -> None:
    """Add ``layer``, by default on top, without selecting it, so that no widget switches to it."""
    layers = unwrapped(viewer).layers
    selected = set(layers.selection)
    with layers.selection.events.active.blocker():
        with ignore_cursor_error():
            layers.insert(len(layers) if position is None else position, layer)
        layers.selection = selected


@contextmanager
def ignore_cursor_error() -> Iterator[None]:
    """Suppress the error of napari 0.9 when it describes labels under the cursor in 3D."""
    try:
        yield
    except TypeError as error:
        if "unsized" not in str(error):
            raise
