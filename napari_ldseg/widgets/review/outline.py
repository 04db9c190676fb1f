"""The outline of the region that is being reviewed, in a layer of its own."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from ...layers.geometry import derived_attributes
from ..common.layers import PREVIEW_KEY, add_unselected, remove_soon, unwrapped

COLOUR = "#ff4fd8"  # pink: unlike the maps, grey images and the bundled classes
Box = tuple[slice, ...]


class RegionOutline:
    """Shows one region at a time. Lives in the GUI thread."""

    def __init__(self, viewer: ViewerModel):
        self._viewer = unwrapped(viewer)
        self._layer: Labels | None = None
        self._over: Labels | None = None
        self._box: Box | None = None

    def show(self, labels: Labels, box: Box, mask: np.ndarray) -> None:
        """Outline ``mask`` (bool, the shape of ``labels.data[box]``) on the grid of ``labels``."""
        if (
            self._layer is None
            or self._layer not in self._viewer.layers
            or self._over is not labels
        ):
            self.hide()
            self._layer, self._over = self._make(labels), labels
            add_unselected(self._viewer, self._layer)
        if self._box is not None:
            self._layer.data[self._box] = 0
        self._layer.data[box] = mask
        self._box = box
        self._layer.visible = True
        self._layer.refresh()

    def hide(self) -> None:
        """Remove the outline."""
        layer, self._layer, self._box, self._over = self._layer, None, None, None
        if layer is not None and layer in self._viewer.layers:
            remove_soon(self._viewer, layer)

    @staticmethod
    def _make(labels: Labels) -> Labels:
        layer = Labels(
            np.zeros(labels.data.shape, np.uint8),
            name=f"region · {labels.name.removeprefix('labels · ')}",
            colormap=DirectLabelColormap(color_dict={None: "transparent", 1: COLOUR}),
            opacity=1.0,
            **derived_attributes(labels),
        )
        layer.contour = 1
        layer.editable = False
        layer.metadata[PREVIEW_KEY] = True
        return layer
