"""A new segmentation as a proposal: what it would change in edited labels, shown before it does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QTimer

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import derived_attributes
from ...project.update import Update
from ..common.class_labels import classes_of
from ..common.layers import PREVIEW_KEY, RESULT_KEY, RUNS_KEY, add_unselected
from ..project.own_labels import OwnLabels

REMOVED_COLOUR = "#ffffff"
REDRAW_MS = 150


class ProposedUpdate:
    """Shows in a layer of its own which voxels of ``own`` would change to ``update``.

    Parameters
    ----------
    new
        The layer with the new result; it is hidden meanwhile.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        own: OwnLabels,
        new: Labels,
        update: Update,
        classes: Sequence[ClassInfo],
    ):
        self.own, self.new, self.update = own, new, update
        viewer = getattr(viewer, "__wrapped__", viewer)
        self._viewer, self._classes = viewer, classes
        new.visible = False
        if viewer.layers.selection.active is new:
            viewer.layers.selection.active = own.layer
        self.preview = self._preview_layer()
        add_unselected(viewer, self.preview)

    @property
    def sentence(self) -> str:
        """What would change, in voxels per class."""
        parts = []
        for info, gained, lost in zip(
            self._classes[1:], self.update.gained[1:], self.update.lost[1:], strict=True
        ):
            signs = [f"+{gained:,}" if gained else "", f"−{lost:,}" if lost else ""]
            if gained or lost:
                parts.append(f"{info.name} {' '.join(s for s in signs if s)}")
        text = (
            f"The new segmentation would change {len(self.update):,} voxels of {self.own.layer.name}: "
            f"{', '.join(parts)}"
        )
        if self.update.gained[0]:
            text += f"; white: {self.update.gained[0]:,} to background"
        text += ". What you edited or reviewed stays"
        kept = self.update.kept
        return f"{text} ({kept:,} voxels where it says otherwise)." if kept else f"{text}."

    def apply(self) -> int:
        """Take the update into the labels as one undo step; the new layer goes. Return the voxels changed.

        What was edited or reviewed since the proposal stays too.
        """
        layer, update = self.own.layer, self.update
        if layer not in self._viewer.layers:
            self.keep_both()
            return 0
        free = ~self.own.recorder.masks().protected[update.indices]

        def change() -> np.ndarray:
            layer.data_setitem(tuple(i[free] for i in update.indices), update.labels[free])
            return layer.data

        if free.any():
            runs = [*layer.metadata.get(RUNS_KEY, ()), self.new.metadata.get(RESULT_KEY, {})][-100:]
            self.own.recorder.take_update(change, runs=tuple(runs))
            layer.metadata[RUNS_KEY] = runs
        self.withdraw()
        # napari crashes on Mesa when two layers go without a drawing in between.
        QTimer.singleShot(REDRAW_MS, lambda: self._remove_new())
        return int(np.count_nonzero(free))

    def keep_both(self) -> None:
        """Leave the labels alone and show the new layer beside them."""
        self.withdraw()
        if self.new in self._viewer.layers:
            self.new.visible = True

    def withdraw(self) -> None:
        """Take the preview away."""
        if self.preview in self._viewer.layers:
            self._viewer.layers.remove(self.preview)

    def _remove_new(self) -> None:
        if self.new in self._viewer.layers:
            self._viewer.layers.remove(self.new)

    def _preview_layer(self) -> Labels:
        removed = len(self._classes)
        data = np.zeros(self.own.layer.data.shape, np.uint8)
        data[self.update.indices] = np.where(self.update.labels == 0, removed, self.update.labels)
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        shown = dict(enumerate(self._classes)) | classes_of(self.own.layer)
        colours |= {i: shown[i].colour for i in range(1, removed)}
        colours[removed] = REMOVED_COLOUR
        names = [c.name for c in self._classes]
        preview = Labels(
            data,
            name=f"would change · {self.own.layer.name}",
            colormap=DirectLabelColormap(color_dict=colours),
            features={"index": [*range(removed + 1)], "name": [*names, "removed"]},
            opacity=0.9,
            **derived_attributes(self.own.layer),
        )
        preview.metadata[PREVIEW_KEY] = True
        preview.editable = False
        return preview
