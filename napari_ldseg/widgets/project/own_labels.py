"""The label layers of ours in a viewer, each recorded from the user's first edit on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal

from ...checkpoint.metadata import ClassInfo
from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...project.case import CaseFolder, Masks
from ...project.recorder import Recorder
from ...scans.scan import Scan
from ..common.class_labels import CLASSES_KEY

BACKGROUND = ClassInfo(name="background", colour="#000000")


@dataclass(eq=False)
class OwnLabels:
    """A label layer of ours; ``recorder`` runs from the first edit on.

    ``base`` is the label before the user touched it, ``classes`` the meaning of its values.
    """

    layer: Labels
    image: Layer | None
    classes: Sequence[ClassInfo]
    base: np.ndarray
    recorder: Recorder | None = None


class LabelKeeper(QObject):
    """Watches the label layers of ours and their recorders. Lives in the GUI thread.

    Parameters
    ----------
    add_case
        Adds a case to the project for labels, their geometry and masks; called in a recorder's thread.
    """

    told = Signal()
    redefined = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        add_case: Callable[[OwnLabels, Scan, Masks], CaseFolder],
        parent: QObject,
    ):
        super().__init__(parent)
        self._viewer_ref = ref(viewer)
        self._add_case = add_case
        self._own: list[OwnLabels] = []
        self.parting: list[Recorder] = []
        for layer in viewer.layers:
            self.adopt(layer)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def recorders(self) -> list[Recorder]:
        """All recorders that run, those of removed layers last."""
        return [own.recorder for own in self._own if own.recorder is not None] + self.parting

    def know(
        self, layer: Labels, image: Layer | None, classes: Sequence[ClassInfo], base: np.ndarray
    ) -> None:
        """Record ``layer`` from the user's first edit on; call it before ``base`` is shown.

        ``base`` is the label before any edit and is not changed afterwards; ``classes`` give the meaning
        of the values 0, 1, ...
        """
        own = self.own(layer)
        if own is None:
            self._own.append(OwnLabels(layer, image, classes, base))
            layer.events.paint.connect(self._on_painted)
            layer.events.labels_update.connect(self._on_painted)
            layer.events.set_data.connect(self._on_data)
            layer.events.data.connect(self._on_data)
            layer.events.features.connect(self._on_classes)
        elif own.recorder is None:
            own.image, own.classes, own.base = image, classes, base

    def own(self, layer: Layer | None) -> OwnLabels | None:
        """Return the entry of a label layer of ours."""
        return next((own for own in self._own if own.layer is layer), None)

    def of(self, image: Layer, but: Layer | None = None) -> OwnLabels | None:
        """Return the newest labels of ``image`` that the user has edited or reviewed."""
        for own in reversed(self._own):
            if own.image is image and own.layer is not but and own.recorder is not None:
                return own
        return None

    def recorded(self, layer: Labels) -> Recorder:
        """Return the recorder of a label layer of ours, started if need be."""
        own = self.own(layer)
        if own is None:
            raise LDSegError(f"{layer.name} was not made by LDSeg; choose one of its label layers.")
        if own.recorder is None:
            self.start(own, Masks.untouched(own.base))
        return own.recorder

    def tell(self) -> None:
        """Say from any thread that something about the labels has changed."""
        with suppress(RuntimeError):  # Qt has deleted the widgets already.
            self.told.emit()

    def retry(self) -> None:
        """Have what is waiting written now."""
        for own in self._own:
            if own.recorder is not None and own.recorder.problem:
                own.recorder.touch(own.layer.data, painted=False)

    def forget(self, recorders: Sequence[Recorder]) -> None:
        """Record no longer, until the user edits again, the labels that ``recorders`` write."""
        for own in self._own:
            if own.recorder in recorders:
                own.recorder = None
        for recorder in recorders:
            recorder.stop()

    def shut_down(self) -> None:
        """Save and end all recorders."""
        viewer = self._viewer_ref()
        if viewer is not None:
            viewer.layers.events.inserted.disconnect(self._on_inserted)
            viewer.layers.events.removed.disconnect(self._on_removed)
        for own in self._own:
            self._disconnect(own)
        for recorder in self.recorders:
            recorder.close()
        self._own = []

    def start(self, own: OwnLabels, masks: Masks, case: CaseFolder | None = None) -> None:
        """Record ``own`` from ``masks`` on, in ``case`` or in one that is added at the first change."""
        scan = layer_scan(own.layer)
        own.recorder = Recorder(
            own.layer.name,
            own.layer.data,
            masks,
            scan,
            partial(self._add_case, own, scan, masks),
            lambda text: self.tell(),
            case,
            self.tell,
        )

    def _on_painted(self, event: Any) -> None:
        own = self.own(event.source)
        if own is not None:
            if own.recorder is None:
                self.start(own, Masks.untouched(own.base))
            own.recorder.touch(own.layer.data, painted=True)

    def _on_data(self, event: Any) -> None:
        own = self.own(event.source)
        if own is None:
            return
        if own.recorder is not None:
            own.recorder.touch(own.layer.data, painted=False)
        elif event.type == "data" and not np.array_equal(own.layer.data, own.base):
            self._on_painted(event)

    def _on_inserted(self, event: Any) -> None:
        self.adopt(event.value)

    def adopt(self, layer: Layer) -> None:
        """Record a label layer whose classes are named; others are not ours."""
        if isinstance(layer, Labels) and self.own(layer) is None and CLASSES_KEY in layer.metadata:
            self.know(layer, self._image_under(layer), _classes_of(layer), np.array(layer.data))

    def _on_classes(self, event: Any) -> None:
        """Follow the layer's classes when the user defines others."""
        own = self.own(event.source)
        if own is None or CLASSES_KEY not in own.layer.metadata:
            return
        classes = _classes_of(own.layer, own.classes[0])
        if classes == list(own.classes):
            return
        own.classes = classes
        if own.recorder is not None and own.recorder.case is not None:
            self.redefined.emit(own)

    def _image_under(self, layer: Labels) -> Image | None:
        there = layer_scan(layer)
        for image in self._viewer_ref().layers:
            scan = layer_scan(image) if isinstance(image, Image) else None
            fits = scan is not None and scan.shape == there.shape
            if fits and np.allclose(scan.affine, there.affine):
                return image
        return None

    def _on_removed(self, event: Any) -> None:
        own = self.own(event.value)
        if own is None:
            return
        self._own.remove(own)
        self._disconnect(own)
        if own.recorder is not None:
            self.parting.append(own.recorder)
            threading.Thread(target=self._part, args=(own.recorder,), daemon=True).start()

    def _part(self, recorder: Recorder) -> None:
        """Keep trying until the labels of a removed layer are on the disk; in a thread of its own."""
        while not recorder.finish_writing():
            time.sleep(1)
        recorder.close()
        if recorder in self.parting:
            self.parting.remove(recorder)
        self.tell()

    def _disconnect(self, own: OwnLabels) -> None:
        own.layer.events.paint.disconnect(self._on_painted)
        own.layer.events.labels_update.disconnect(self._on_painted)
        own.layer.events.set_data.disconnect(self._on_data)
        own.layer.events.data.disconnect(self._on_data)
        own.layer.events.features.disconnect(self._on_classes)


def _classes_of(layer: Labels, background: ClassInfo = BACKGROUND) -> list[ClassInfo]:
    """Return the classes that are kept on a layer by label value, gaps named by their number."""
    named: dict[int, ClassInfo] = layer.metadata[CLASSES_KEY]
    return [background] + [
        named.get(value) or ClassInfo(name=f"label {value}", colour="#9aa0a6")
        for value in range(1, max(named, default=0) + 1)
    ]
