"""A proposed update of labels, shown before it is applied; it leaves what is edited or reviewed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import derived_attributes
from ...project.update import Update
from ..common.class_labels import classes_of
from ..common.layers import (
    PREVIEW_KEY,
    RESULT_KEY,
    RUNS_KEY,
    add_unselected,
    remove_soon,
    unwrapped,
)
from .tracked_labels import TrackedLabels

REMOVED_COLOUR = "#ffffff"


class ProposedUpdate:
    """Shows in a preview layer which voxels of edited labels would change.

    Parameters
    ----------
    edited
        The labels to update.
    update
        The voxels that would change, and their new values.
    classes
        The classes of the update, background first.
    run
        The record of the run that the update comes from, for the case.
    source
        What would change the labels, as the start of a sentence.
    new
        The labels layer of a new result; it is hidden until the user decides, and removed if applied.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        edited: TrackedLabels,
        update: Update,
        classes: Sequence[ClassInfo],
        run: dict,
        source: str,
        new: Labels | None = None,
    ):
        self.labels, self.new, self.update = edited.layer, new, update
        viewer = unwrapped(viewer)
        self._viewer, self.edited, self._classes = viewer, edited, classes
        self._run, self._source = run, source
        if new is not None:
            new.visible = False
            if viewer.layers.selection.active is new:
                viewer.layers.selection.active = self.labels
        self.preview = self._preview_layer()
        add_unselected(viewer, self.preview)

    @property
    def message(self) -> str:
        """What would change, in voxels per class."""
        parts = []
        for info, gained, lost in zip(
            self._classes[1:], self.update.gained[1:], self.update.lost[1:], strict=True
        ):
            signs = [f"+{gained:,}" if gained else "", f"−{lost:,}" if lost else ""]
            if gained or lost:
                parts.append(f"{info.name} {' '.join(s for s in signs if s)}")
        text = (
            f"{self._source} would change {len(self.update):,} voxels of {self.labels.name}: "
            f"{', '.join(parts)}"
        )
        if self.update.gained[0]:
            text += f"; to background (white): {self.update.gained[0]:,}"
        text += ". What you edited or reviewed stays"
        kept = self.update.kept
        return f"{text}, although {kept:,} of these voxels differ." if kept else f"{text}."

    def apply(self) -> int:
        """Apply the update as one undo step, remove the new layer, and return the number of changed voxels.

        What was edited or reviewed since the proposal does not change.
        """
        if self.labels not in self._viewer.layers or self.edited.recorder is None:
            self.keep_both()  # the case was removed
            return 0
        changed = apply_update(self.edited, self.update, self._run)
        self.withdraw()
        if self.new is not None:
            remove_soon(self._viewer, self.new)
        return changed

    def keep_both(self) -> None:
        """Leave the labels unchanged and show the new layer too."""
        self.withdraw()
        if self.new is not None and self.new in self._viewer.layers:
            self.new.visible = True

    def withdraw(self) -> None:
        """Remove the preview."""
        if self.preview in self._viewer.layers:
            self._viewer.layers.remove(self.preview)

    def _preview_layer(self) -> Labels:
        removed = len(self._classes)
        data = np.zeros(self.labels.data.shape, np.uint8)
        data[self.update.indices] = np.where(self.update.labels == 0, removed, self.update.labels)
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        shown = dict(enumerate(self._classes)) | classes_of(self.labels)
        colours |= {i: shown[i].colour for i in range(1, removed)}
        colours[removed] = REMOVED_COLOUR
        names = [c.name for c in self._classes]
        preview = Labels(
            data,
            name=f"would change · {self.labels.name}",
            colormap=DirectLabelColormap(color_dict=colours),
            features={"index": [*range(removed + 1)], "name": [*names, "removed"]},
            opacity=0.9,
            **derived_attributes(self.labels),
        )
        preview.metadata[PREVIEW_KEY] = True
        preview.editable = False
        return preview


def apply_update(labels: TrackedLabels, update: Update, run: dict) -> int:
    """Apply ``update`` as one undo step and return the number of changed voxels.

    What is edited or reviewed now does not change. ``run`` is the record of where the update comes from.
    """
    layer, recorder = labels.layer, labels.recorder
    if recorder is None:
        return 0
    free = ~recorder.masks().protected[update.indices]

    def change() -> np.ndarray:
        layer.data_setitem(tuple(i[free] for i in update.indices), update.labels[free])
        return layer.data

    if free.any():
        runs = [*layer.metadata.get(RUNS_KEY, ()), run][-100:]
        recorder.take_update(change, runs=tuple(runs))
        layer.metadata.update({RUNS_KEY: runs, RESULT_KEY: run})
    return int(np.count_nonzero(free))
