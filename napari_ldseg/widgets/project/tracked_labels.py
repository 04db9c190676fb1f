"""The labels layers of a viewer that belong to the project, recorded from the user's first edit on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal

from ...checkpoint.metadata import ClassInfo
from ...errors import LDSegError
from ...inference.region import Region
from ...layers.geometry import layer_scan
from ...project.case import CaseFolder, Masks
from ...project.recorder import Recorder
from ...scans.scan import Scan
from ..common.class_labels import CLASSES_KEY, numbered_classes

if TYPE_CHECKING:
    from ...inference.samples import Samples  # imports torch

BRUSH_SHARE = 0.03  # of the shorter side of a slice; napari's own brush hides a small image


class SampledPart(NamedTuple):
    """The samples of a part of an image."""

    samples: Samples
    region: Region


@dataclass(eq=False)
class TrackedLabels:
    """A labels layer of the project.

    Attributes
    ----------
    layer, image
        The labels layer, and the image it belongs to if there is one.
    classes
        The classes by label value, with the background.
    base
        The label before the user edited it.
    recorder
        Records the edits; None before the first one.
    result_maps
        Returns the maps of the model's result, by the names of ``project.case.MAPS``, as they are now.
    result_samples
        Returns the result's samples and the part of the image that they are of; None without them.
    maps
        Those that are to be stored with the case.
    channels
        The layers of the image's channels if it has one each; ``image`` is the first.
    """

    layer: Labels
    image: Layer | None
    classes: Mapping[int, ClassInfo]
    base: np.ndarray
    recorder: Recorder | None = None
    result_maps: Callable[[], dict[str, np.ndarray]] = dict
    result_samples: Callable[[], SampledPart | None] = lambda: None
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    channels: tuple[Image, ...] = ()


class LabelTracker(QObject):
    """Tracks the project's labels layers and their recorders. Lives in the GUI thread.

    ``result_changed`` is emitted with the ``TrackedLabels`` whose result is a new one.

    Parameters
    ----------
    add_case
        Adds a case to the project from labels, their geometry and masks; called in a recorder's thread.
    """

    changed = Signal()
    result_changed = Signal(object)
    classes_changed = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        add_case: Callable[[TrackedLabels, Scan, Masks], CaseFolder],
        parent: QObject,
    ):
        super().__init__(parent)
        self._viewer_ref = ref(viewer)
        self._add_case = add_case
        self._tracked: list[TrackedLabels] = []
        self.finishing: list[Recorder] = []
        for layer in viewer.layers:
            self.track_if_classified(layer)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def recorders(self) -> list[Recorder]:
        """All recorders that run; those of removed layers, which are ``finishing``, come last."""
        return [t.recorder for t in self._tracked if t.recorder is not None] + self.finishing

    def track(
        self,
        layer: Labels,
        image: Layer | None,
        classes: Mapping[int, ClassInfo],
        base: np.ndarray,
    ) -> TrackedLabels:
        """Record ``layer`` from the user's first edit on; call this before ``base`` is shown.

        ``base`` is the label before any edit and must not be changed afterwards; ``classes`` are those by
        label value, with the background.
        """
        tracked = self.find(layer)
        if tracked is None:
            tracked = TrackedLabels(layer, image, classes, base)
            self._tracked.append(tracked)
            layer.brush_size = max(1, round(BRUSH_SHARE * min(layer.data.shape[-2:])))
            layer.events.paint.connect(self._on_painted)
            layer.events.labels_update.connect(self._on_painted)
            layer.events.set_data.connect(self._on_data)
            layer.events.data.connect(self._on_data)
            layer.events.features.connect(self._on_classes)
        elif tracked.recorder is None:
            tracked.image, tracked.classes, tracked.base = image, classes, base
        return tracked

    def track_if_classified(self, layer: Layer) -> None:
        """Track a labels layer on which classes are set; other layers are not the project's."""
        if isinstance(layer, Labels) and self.find(layer) is None and CLASSES_KEY in layer.metadata:
            self.track(
                layer, self._image_under(layer), numbered_classes(layer), np.array(layer.data)
            )

    def find(self, layer: Layer | None) -> TrackedLabels | None:
        """Return the entry of ``layer``, None if it is not tracked."""
        return next((tracked for tracked in self._tracked if tracked.layer is layer), None)

    def on_image(self, image: Layer | None) -> list[TrackedLabels]:
        """Return the labels of ``image``, the newest first."""
        return [t for t in reversed(self._tracked) if image is not None and t.image == image]

    def edited_on(self, image: Layer, but: Layer | None = None) -> TrackedLabels | None:
        """Return the newest labels of ``image`` that the user has edited or reviewed, except ``but``."""
        for tracked in reversed(self._tracked):
            edited = tracked.recorder is not None
            if edited and tracked.image is image and tracked.layer is not but:
                return tracked
        return None

    def recorder_of(self, layer: Labels) -> Recorder:
        """Return the recorder of a tracked layer, started if necessary. Raises LDSegError."""
        tracked = self.find(layer)
        if tracked is None:
            raise LDSegError(
                f"{layer.name} was not made with LDSeg; select one of its labels layers."
            )
        return tracked.recorder or self.start_recording(tracked, Masks.untouched(tracked.base))

    def start_recording(
        self, tracked: TrackedLabels, masks: Masks, case: CaseFolder | None = None
    ) -> Recorder:
        """Record from ``masks`` on, in ``case`` or in a case that the first change adds."""
        scan = layer_scan(tracked.layer)
        if case is None:
            tracked.maps = tracked.result_maps()
        tracked.recorder = Recorder(
            tracked.layer.name,
            tracked.layer.data,
            masks,
            scan,
            partial(self._add_case, tracked, scan, masks),
            lambda text: self.notify(),
            case,
            self.notify,
        )
        return tracked.recorder

    def stop_recording(self, recorders: Sequence[Recorder]) -> None:
        """Stop ``recorders``; the next edit of their labels starts a new one."""
        for tracked in self._tracked:
            if tracked.recorder in recorders:
                tracked.recorder = None
        for recorder in recorders:
            recorder.stop()

    def notify(self) -> None:
        """Emit ``changed``, from any thread."""
        with suppress(RuntimeError):  # Qt has deleted the widgets already.
            self.changed.emit()

    def retry(self) -> None:
        """Try again to write what could not be written."""
        for tracked in self._tracked:
            if tracked.recorder is not None and tracked.recorder.problem:
                tracked.recorder.touch(tracked.layer.data, painted=False)

    def shut_down(self) -> None:
        """Save and end all recorders."""
        viewer = self._viewer_ref()
        if viewer is not None:
            viewer.layers.events.inserted.disconnect(self._on_inserted)
            viewer.layers.events.removed.disconnect(self._on_removed)
        for tracked in self._tracked:
            self._disconnect(tracked)
        for recorder in self.recorders:
            recorder.close()
        self._tracked = []

    def _on_painted(self, event: Any) -> None:
        tracked = self.find(event.source)
        if tracked is not None:
            self.recorder_of(tracked.layer).touch(tracked.layer.data, painted=True)

    def _on_data(self, event: Any) -> None:
        tracked = self.find(event.source)
        if tracked is None:
            return
        if tracked.recorder is not None:
            tracked.recorder.touch(tracked.layer.data, painted=False)
        elif event.type == "data" and not np.array_equal(tracked.layer.data, tracked.base):
            self._on_painted(event)

    def _on_inserted(self, event: Any) -> None:
        self.track_if_classified(event.value)

    def _on_classes(self, event: Any) -> None:
        """Follow the layer's classes when the user changes them."""
        tracked = self.find(event.source)
        if tracked is None or CLASSES_KEY not in tracked.layer.metadata:
            return
        classes = numbered_classes(tracked.layer, tracked.classes[0])
        if classes == tracked.classes:
            return
        tracked.classes = classes
        if tracked.recorder is not None and tracked.recorder.case is not None:
            self.classes_changed.emit(tracked)

    def _image_under(self, layer: Labels) -> Image | None:
        viewer, grid = self._viewer_ref(), layer_scan(layer)
        for image in viewer.layers if viewer is not None else ():
            if isinstance(image, Image):
                scan = layer_scan(image)
                if scan.shape == grid.shape and np.allclose(scan.affine, grid.affine):
                    return image
        return None

    def _on_removed(self, event: Any) -> None:
        tracked = self.find(event.value)
        if tracked is None:
            return
        self._tracked.remove(tracked)
        self._disconnect(tracked)
        if tracked.recorder is not None:
            self.finishing.append(tracked.recorder)
            threading.Thread(target=self._finish, args=(tracked.recorder,), daemon=True).start()

    def _finish(self, recorder: Recorder) -> None:
        """Retry until the labels of a removed layer are on the disk; runs in its own thread."""
        while not recorder.finish_writing():
            time.sleep(1)
        recorder.close()
        if recorder in self.finishing:
            self.finishing.remove(recorder)
        self.notify()

    def _disconnect(self, tracked: TrackedLabels) -> None:
        tracked.layer.events.paint.disconnect(self._on_painted)
        tracked.layer.events.labels_update.disconnect(self._on_painted)
        tracked.layer.events.set_data.disconnect(self._on_data)
        tracked.layer.events.data.disconnect(self._on_data)
        tracked.layer.events.features.disconnect(self._on_classes)
