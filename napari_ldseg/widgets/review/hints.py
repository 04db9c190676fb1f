"""Scribbles that say of a few voxels "this is" or "this is not" a class, on a layer of their own."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from ...layers.geometry import derived_attributes
from ..common.layers import PREVIEW_KEY, add_unselected, ignore_cursor_error, remove_soon, unwrapped
from ..project.tracked_labels import TrackedLabels

BACKGROUND = "#e8e8e8"
NOT = "#111111"  # "is not" is drawn nearly black, with the class in the layer's names


class Hints:
    """The scribbles on one labels layer. Value 1 + c says "is class c", 1 + C + c "is not class c"."""

    def __init__(self, viewer: ViewerModel):
        self._viewer = unwrapped(viewer)
        self.layer: Labels | None = None
        self._classes = 0

    def begin(self, target: TrackedLabels, value: int, is_it: bool) -> None:
        """Let the user scribble on ``target`` that voxels are, or are not, of class ``value``."""
        if self.layer is None or self.layer not in self._viewer.layers:
            self._make(target)
        self.choose(value, is_it)
        assert self.layer is not None
        with ignore_cursor_error():
            self._viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"

    def choose(self, value: int, is_it: bool) -> None:
        """Scribble this from now on."""
        if self.layer is not None:
            self.layer.selected_label = 1 + value + (0 if is_it else self._classes)

    def drawn(self) -> np.ndarray | None:
        """Return the layer's values, None if nothing is scribbled."""
        layer = self.layer
        if layer is None or layer not in self._viewer.layers or not layer.data.any():
            return None
        return layer.data

    def meaning(self, value: int) -> tuple[int, bool]:
        """Return the class of a value of ``drawn``, and whether the voxels are of it."""
        return (value - 1) % self._classes, value <= self._classes

    def remove(self) -> None:
        """Remove the scribbles."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            remove_soon(self._viewer, layer)

    def _make(self, target: TrackedLabels) -> None:
        count = self._classes = max(target.classes) + 1
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        names = {0: "nothing"}
        for value, info in target.classes.items():
            colours |= {1 + value: info.colour if value else BACKGROUND, 1 + count + value: NOT}
            names |= {1 + value: f"is {info.name}", 1 + count + value: f"is not {info.name}"}
        layer = Labels(
            np.zeros(target.layer.data.shape, np.uint16 if count > 127 else np.uint8),
            name=f"hints · {target.layer.name.removeprefix('labels · ')}",
            colormap=DirectLabelColormap(color_dict=colours),
            features={"index": list(names), "name": list(names.values())},
            opacity=1.0,
            **derived_attributes(target.layer),
        )
        layer.brush_size = max(1, target.layer.brush_size // 2)
        layer.metadata[PREVIEW_KEY] = True
        self.layer = layer
        add_unselected(self._viewer, layer)
