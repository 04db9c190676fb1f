"""What the plugin writes on its layers, how uncertainty is coloured, and how layers are added."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.colormaps import Colormap, ensure_colormap

SD_RANGE = (0.0, 0.5)
DENSEST = 0.7
RESULT_KEY = "napari_ldseg_result"
RUNS_KEY = "napari_ldseg_runs"
PREVIEW_KEY = "napari_ldseg_preview"
REVIEWED_KEY = "napari_ldseg_reviewed"


def sd_colormap() -> Colormap:
    """Return inferno, transparent at 0 and never so dense that the image does not show through."""
    colours = ensure_colormap("inferno").colors.copy()
    colours[:, 3] = DENSEST * np.minimum(1, np.linspace(0, 2, len(colours)))
    return Colormap(colours, name="uncertainty")


def add_unselected(viewer: ViewerModel, layer: Layer, position: int | None = None) -> None:
    """Add ``layer``, by default on top, and leave what is selected, so that no widget turns to it."""
    layers = getattr(viewer, "__wrapped__", viewer).layers
    selected = set(layers.selection)
    with layers.selection.events.active.blocker():
        tolerate_cursor(lambda: layers.insert(len(layers) if position is None else position, layer))
        layers.selection = selected


def tolerate_cursor(action: Callable[[], None]) -> None:
    """Do ``action`` although napari 0.9 fails to describe labels under the cursor in 3D."""
    try:
        action()
    except TypeError as error:
        if "unsized" not in str(error):
            raise
