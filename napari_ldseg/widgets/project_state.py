"""The one place that holds the project's state in a viewer: the folder, and the labels under record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QObject, QSettings, QTimer, Signal

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..inference.scan import Scan
from ..io.geometry import layer_scan
from ..project.case import CaseFolder, Masks, now
from ..project.folder import ImageMissing, Project, refers_to_file
from ..project.recorder import Recorder
from .case_layers import FILE_KEY, Opened, read_case, show_case
from .result_layers import REVIEWED_KEY, RUNS_KEY
from .window_guard import WindowGuard

FOLDER_KEY = "project_folder"
DEFAULT_FOLDER = "napari-ldseg"
CLASSES_KEY = "napari_ldseg_classes"

_states: WeakKeyDictionary[ViewerModel, ProjectState] = WeakKeyDictionary()


def project_of(viewer: ViewerModel) -> ProjectState:
    """Return the project's state in ``viewer``, the same for all widgets, made on first use."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _states:
        _states[viewer] = ProjectState(viewer)
    return _states[viewer]


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


class ProjectState(QObject):
    """Keeps what the user paints, in the chosen project folder. Lives in the GUI thread."""

    changed = Signal()
    failed = Signal(str)
    image_missing = Signal()
    done = Signal(str)
    _told = Signal()

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        # Weak, since the state is kept per viewer and must not keep it alive.
        self._viewer_ref = ref(viewer)
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._guard = threading.Lock()
        self._own: list[OwnLabels] = []
        self._parting: list[Recorder] = []
        self._ended = False
        self._worker: Any = None
        self.project: Project | None = None
        self.busy = ""
        stored = self._settings.value(FOLDER_KEY)
        self.folder = Path(stored) if stored else Path.home() / DEFAULT_FOLDER
        self.open_problem = ""
        self.window_guard = WindowGuard(self.put_down, self.failed.emit, self.shut_down)
        self._told.connect(self.changed)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        QCoreApplication.instance().aboutToQuit.connect(self.shut_down)
        if (self.folder / "project.json").exists():
            self.retry()

    @property
    def _viewer(self) -> ViewerModel:
        return self._viewer_ref()

    @property
    def problem(self) -> str:
        """What keeps corrections from the disk, one sentence, or nothing."""
        texts = [recorder.problem for recorder in self._recorders() if recorder.problem]
        return texts[0] if texts else ""

    @property
    def left_behind(self) -> list[CaseFolder]:
        """The cases with changes that a crash left in their journals, the newest last."""
        if self.project is None:
            return []
        ours = {r.case.folder for r in self._recorders() if r.case is not None}
        return [case for case in self.project.unsaved() if case.folder not in ours]

    def choose(self, folder: Path) -> None:
        """Work in ``folder`` from now on.

        Raises
        ------
        LDSegError
            If it cannot be opened, or labels of the present project are open.
        """
        if self.project is not None and folder.resolve() == self.project.folder.resolve():
            return
        if any(recorder.case is not None for recorder in self._recorders()):
            raise LDSegError(
                "Labels of this project are open; remove their layers first, then change the folder."
            )
        if self.busy:
            raise LDSegError(f"{self.busy} Wait until it is done, then change the folder.")
        project = Project(folder, create=True)
        self._leave()
        self.project, self.folder, self.open_problem = project, folder, ""
        self._settings.setValue(FOLDER_KEY, str(folder))
        self.changed.emit()

    def retry(self) -> None:
        """Open the folder again if it could not be, and write what is waiting."""
        with suppress(LDSegError):
            self._opened(create=False)
        for own in self._own:
            if own.recorder is not None and own.recorder.problem:
                own.recorder.touch(own.layer.data, painted=False)
        self.changed.emit()

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
            own.base = base

    def own(self, layer: Layer | None) -> OwnLabels | None:
        """Return the entry of a label layer of ours."""
        return next((own for own in self._own if own.layer is layer), None)

    def labels_of(self, image: Layer, but: Layer | None = None) -> OwnLabels | None:
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
            self._start(own, Masks.untouched(own.base))
        return own.recorder

    def mark_reviewed(self, layer: Labels, where: tuple[slice, ...], reviewed: bool) -> None:
        """Set or clear the reviewed mask in a box, which protects it. Raises LDSegError."""
        self.recorded(layer).mark_reviewed(where, reviewed)
        layer.metadata[REVIEWED_KEY] = any(self.recorded(layer).counts())
        self._after_save(layer)

    def sign_off(self, layer: Labels, who: str) -> None:
        """Let ``who`` answer for the whole label. Raises LDSegError."""
        if not who.strip():
            raise LDSegError("Enter your name first; a sign-off names who answers for the label.")
        self.recorded(layer).sign_off(who.strip()[:200], now())
        layer.metadata[REVIEWED_KEY] = True
        self._after_save(layer)

    def open_case(self, name: str) -> None:
        """Show a case's image and labels; reads them in the background."""
        if any(o.recorder and o.recorder.case and o.recorder.case.name == name for o in self._own):
            self.failed.emit(f"{name} is open already; see the layer list.")
            return
        project = self._opened(create=False)
        parting = [r for r in self._parting if r.case is not None and r.case.name == name]

        def work() -> Opened:
            for recorder in parting:
                recorder.put_down()
            return read_case(project, name)

        self._in_background(f"Opening {name} …", work, self._show)

    def restore(self) -> None:
        """Take the left-behind journals into their labels and show the newest."""
        left, project = self.left_behind, self.project

        def work() -> Opened:
            for case in left[:-1]:
                case.save(case.grid(), case.load())
            return read_case(project, left[-1].name)

        if left:
            self._in_background(f"Restoring {left[-1].name} …", work, self._show)

    def discard(self) -> None:
        """Put the left-behind journals aside; their files stay in the case folders."""
        try:
            aside = [case.discard_journal() for case in self.left_behind]
        except OSError as error:
            self.failed.emit(f"The journal cannot be put aside: {error.strerror or error}.")
            return
        self.done.emit(f"Put aside as {aside[-1].name} in the case's folder." if aside else "")
        self.changed.emit()

    def locate(self, name: str, path: Path) -> None:
        """Use ``path`` as the image of a case. Raises LDSegError if it is another one."""
        project = self._opened(create=False)
        project.locate(project.case(name), path)
        self.open_case(name)

    def exchange(self, what: str, work: Callable[[Project], str]) -> None:
        """Run an import or export in the background and tell how it went."""
        project = self._opened(create=True)
        self._in_background(what, partial(work, project), self.done.emit)

    def put_down(self) -> str:
        """Bring everything to the disk; return the name of a label that could not be brought, or ""."""
        left = [recorder.name for recorder in self._recorders() if not recorder.put_down(10)]
        return left[0] if left else ""

    def shut_down(self) -> None:
        """Save, end all recorders and let go of the folder."""
        if self._ended:
            return
        self._ended = True
        QCoreApplication.instance().aboutToQuit.disconnect(self.shut_down)
        if self._viewer is not None:
            _states.pop(self._viewer, None)
            self._viewer.layers.events.inserted.disconnect(self._on_inserted)
            self._viewer.layers.events.removed.disconnect(self._on_removed)
        for own in self._own:
            self._disconnect(own)
        for recorder in self._recorders():
            recorder.close()
        self._own = []
        self._leave()

    def _recorders(self) -> list[Recorder]:
        return [own.recorder for own in self._own if own.recorder is not None] + self._parting

    def _opened(self, create: bool) -> Project:
        """Return the project, opened if need be; also called from recorders' threads."""
        with self._guard:
            if self.project is None:
                try:
                    self.project = Project(self.folder, create=create)
                    self.open_problem = ""
                except LDSegError as error:
                    self.open_problem = str(error)
                    raise
            return self.project

    def _leave(self) -> None:
        if self.project is not None:
            self.project.close()
            self.project = None

    def _start(self, own: OwnLabels, masks: Masks, case: CaseFolder | None = None) -> None:
        scan = layer_scan(own.layer)
        own.recorder = Recorder(
            own.layer.name,
            own.layer.data,
            masks,
            scan,
            (lambda: case) if case is not None else partial(self._add_case, own, scan, masks),
            lambda text: self._told.emit(),
        )

    def _add_case(self, own: OwnLabels, scan: Scan, masks: Masks) -> CaseFolder:
        """Add the image to the project; called in the recorder's thread."""
        project = self._opened(create=True)
        image, file = own.image, None
        shown = None if image is None else layer_scan(image)
        if shown is None or shown.shape != scan.shape:
            shown = None
        else:
            path = image.metadata.get(FILE_KEY) or image.source.path
            # The label's own geometry: the image may have been moved since.
            scan = replace(scan, array=shown.array, channels=shown.channels, name=shown.name)
            file = Path(path) if path and refers_to_file(scan, Path(path)) else None
        case = project.add_case(
            scan.name,
            scan,
            file,
            own.classes,
            masks,
            own.layer.metadata.get(RUNS_KEY, ())[-100:],
            copy=shown is not None,
        )
        self._told.emit()
        return case

    def _show(self, opened: Opened) -> None:
        image, labels = show_case(self._viewer, opened)
        self.know(labels, image, opened.classes, opened.masks.label)
        own = self.own(labels)
        self._start(own, opened.masks, opened.case)
        own.recorder.touch(labels.data, painted=False)
        if opened.case.journal.exists() or not opened.case.record().labelled:
            own.recorder.save()
        labels.metadata[REVIEWED_KEY] = any(own.recorder.counts())
        QTimer.singleShot(300, self.changed.emit)
        self.changed.emit()

    def _in_background(
        self, what: str, work: Callable[[], Any], then: Callable[[Any], None] | None
    ) -> None:
        self.busy = what
        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        if then is not None:
            worker.returned.connect(then)
        worker.errored.connect(self._on_error)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        worker.start()
        self.changed.emit()

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, LDSegError):
            self.failed.emit(str(error))
            if isinstance(error, ImageMissing):
                self.image_missing.emit()
        elif isinstance(error, OSError):
            self.failed.emit(f"The project cannot be written or read: {error.strerror or error}.")
        else:
            self.failed.emit(f"That failed: {type(error).__name__}: {error}.")

    def _on_finished(self) -> None:
        self.busy = ""
        self.changed.emit()

    def _after_save(self, layer: Labels) -> None:
        own = self.own(layer)
        worker = create_worker(own.recorder.flush, _start_thread=False, _ignore_errors=True)
        worker.finished.connect(self.changed)
        worker.start()

    def _on_painted(self, event: Any) -> None:
        own = self.own(event.source)
        if own is not None:
            if own.recorder is None:
                self._start(own, Masks.untouched(own.base))
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
        layer = event.value
        if isinstance(layer, Labels) and self.own(layer) is None and CLASSES_KEY in layer.metadata:
            self.know(layer, self._image_under(layer), _classes_of(layer), np.array(layer.data))

    def _on_classes(self, event: Any) -> None:
        """Follow the layer's classes when the user names others."""
        own = self.own(event.source)
        if own is None or CLASSES_KEY not in own.layer.metadata:
            return
        classes = _classes_of(own.layer, own.classes[0])
        if [c.name for c in classes] == [c.name for c in own.classes]:
            return
        own.classes = classes
        if own.recorder is not None and own.recorder.case is not None and self.project is not None:
            try:
                self.project.learn_classes(classes)
            except OSError as error:
                self._on_error(error)
                return
            own.recorder.save(values=tuple(c.name for c in classes))

    def _image_under(self, layer: Labels) -> Image | None:
        there = layer_scan(layer)
        for image in self._viewer.layers:
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
            self._parting.append(own.recorder)
            threading.Thread(target=self._part, args=(own.recorder,), daemon=True).start()

    def _part(self, recorder: Recorder) -> None:
        """Keep trying until the labels of a removed layer are on the disk; in a thread of its own."""
        while not recorder.put_down():
            time.sleep(1)
        recorder.close()
        if recorder in self._parting:
            self._parting.remove(recorder)
        self._told.emit()

    def _disconnect(self, own: OwnLabels) -> None:
        own.layer.events.paint.disconnect(self._on_painted)
        own.layer.events.labels_update.disconnect(self._on_painted)
        own.layer.events.set_data.disconnect(self._on_data)
        own.layer.events.data.disconnect(self._on_data)
        own.layer.events.features.disconnect(self._on_classes)


def _classes_of(
    layer: Labels, background: ClassInfo = ClassInfo(name="background", colour="#000000")
) -> list[ClassInfo]:
    """Return the classes that are kept on a layer by label value, gaps named by their number."""
    named: dict[int, ClassInfo] = layer.metadata[CLASSES_KEY]
    return [background] + [
        named.get(value) or ClassInfo(name=f"label {value}", colour="#9aa0a6")
        for value in range(1, max(named, default=0) + 1)
    ]
