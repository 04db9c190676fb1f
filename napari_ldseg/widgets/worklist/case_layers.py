"""The layers of the case that the worklist shows, in place of those of the case before."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QTimer

from ...layers.geometry import grid_of
from ..common.layers import RESULT_KEY
from ..common.thumbnails import representative_index
from ..project.tracked_labels import LabelTracker

REMOVE_AFTER_MS = 300


class CaseLayers(QObject):
    """Shows one case at a time.

    Attributes
    ----------
    labels, image
        The labels and the image of the case; None before the first one.
    """

    def __init__(self, viewer: ViewerModel, tracker: LabelTracker, parent: QObject):
        super().__init__(parent)
        self.labels: Labels | None = None
        self.image: Layer | None = None
        self._viewer, self._tracker = viewer, tracker
        self._before: list[Layer] = []  # were there before the case, which added the next ones
        self._added: list[Layer] = []
        self._next_before: list[Layer] = []
        self._closed: list[Layer] = []
        self._view: tuple | None = None

    def begin(self) -> None:
        """Remember which layers are there; call this before those of a case are added."""
        self._next_before = list(self._viewer.layers)

    def replace(self, labels: Labels, image: Layer | None) -> None:
        """Take the layers added since ``begin`` as the case's, and close the case before."""
        added = [layer for layer in self._viewer.layers if layer not in self._next_before]
        if image is not None and image in self._added:
            added.append(image)
        closed = [layer for layer in self._to_close() if layer not in added]
        self.labels, self.image = labels, image
        self._added, self._before, self._next_before = added, self._next_before, []
        for layer in closed:
            layer.visible = False
        self._closed += closed
        # napari needs up to a second to remove them, for which the next case does not wait.
        QTimer.singleShot(REMOVE_AFTER_MS, self.remove_closed)
        self._look_at(labels)

    def remove_closed(self) -> None:
        """Remove the layers of the case before; the view then fits the open one, unless the user moved it."""
        layers = self._viewer.layers
        closed, self._closed = [layer for layer in self._closed if layer in layers], []
        if not closed:
            return
        with getattr(layers, "batched_update", nullcontext)():  # not in napari 0.6
            for layer in closed:
                layers.remove(layer)
        self._before = [layer for layer in self._before if layer in layers]
        if self._view == self._camera():
            self._viewer.reset_view()

    def _to_close(self) -> list[Layer]:
        """Return what was added with the case, and the results for its image since then."""
        tracked = self._tracker.find(self.labels)
        if tracked is not None and tracked.recorder is not None and tracked.recorder.problem:
            return []  # its corrections cannot be saved now
        closed = list(self._added)
        if self.image is not None and self.image in self._added:
            closed += [own.layer for own in self._tracker.on_image(self.image)]
            grid = grid_of(self.image)
            closed += [
                layer
                for layer in self._viewer.layers
                if isinstance(layer, Image) and RESULT_KEY in layer.metadata
                if layer not in self._before and grid_of(layer) == grid
            ]
        return [layer for layer in dict.fromkeys(closed) if layer in self._viewer.layers]

    def _look_at(self, labels: Labels) -> None:
        """Show all of the image, and of a volume the slice with most of the labels."""
        self._viewer.reset_view()
        self._view = self._camera()
        index = representative_index(np.asarray(labels.data))
        if index:
            place = labels.data_to_world((*index, *(n // 2 for n in labels.data.shape[-2:])))
            self._viewer.dims.point = (*self._viewer.dims.point[: -labels.ndim], *place)

    def _camera(self) -> tuple:
        camera = getattr(self._viewer, "scene", self._viewer).camera
        return (*camera.center, camera.zoom)
