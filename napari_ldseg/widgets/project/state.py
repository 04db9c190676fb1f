"""The one place that holds the project's state in a viewer: the folder, and the labels under record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QObject, QSettings, QTimer, Signal

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...project.case import CaseFolder, Masks, now
from ...project.folder import Project
from ...project.images import ImageMissing, refers_to_file
from ...project.patient import NUMBERED_LAYER, patient_of
from ...project.recorder import Recorder
from ...project.schema import CaseRecord, SignOff
from ...scans.scan import Scan
from ..common.layers import REVIEWED_KEY, RUNS_KEY
from .case_layers import FILE_KEY, Opened, read_case, show_case
from .own_labels import LabelKeeper, OwnLabels
from .window_guard import WindowGuard

FOLDER_KEY = "project_folder"
DEFAULT_FOLDER = "napari-ldseg"

_states: WeakKeyDictionary[ViewerModel, ProjectState] = WeakKeyDictionary()


def project_of(viewer: ViewerModel) -> ProjectState:
    """Return the project's state in ``viewer``, the same for all widgets, made on first use."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _states:
        _states[viewer] = ProjectState(viewer)
    return _states[viewer]


class ProjectState(QObject):
    """Keeps what the user paints, in the chosen project folder. Lives in the GUI thread."""

    changed = Signal()
    failed = Signal(str)
    image_missing = Signal()
    done = Signal(str)
    ended = Signal()

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        # Weak, since the state is kept per viewer and must not keep it alive.
        self._viewer_ref = ref(viewer)
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._guard = threading.Lock()
        self._ended = False
        self._worker: Any = None
        self.project: Project | None = None
        self.busy = ""
        stored = self._settings.value(FOLDER_KEY)
        self.folder = Path(stored) if stored else Path.home() / DEFAULT_FOLDER
        self.open_problem = ""
        self.window_guard = WindowGuard(self.finish_writing, self.failed.emit, self.shut_down)
        self.labels = LabelKeeper(viewer, self._add_case, self)
        self.labels.told.connect(self.changed)
        self.labels.redefined.connect(self._on_redefined)
        QCoreApplication.instance().aboutToQuit.connect(self.shut_down)
        if (self.folder / "project.json").exists():
            self.retry()

    @property
    def _viewer(self) -> ViewerModel:
        return self._viewer_ref()

    @property
    def problem(self) -> str:
        """What keeps corrections from the disk, one sentence, or nothing."""
        texts = [recorder.problem for recorder in self.labels.recorders if recorder.problem]
        return texts[0] if texts else ""

    @property
    def left_behind(self) -> list[CaseFolder]:
        """The cases with changes that a crash left in their journals, the newest last."""
        if self.project is None:
            return []
        ours = {r.case.folder for r in self.labels.recorders if r.case is not None}
        return [case for case in self.project.unsaved() if case.folder not in ours]

    def records(self) -> dict[str, CaseRecord]:
        """Return the cases' records by name, those of labels in the window counted as they are now."""
        if self.project is None:
            return {}
        records = self.project.records()
        for recorder in self.labels.recorders:
            if recorder.case is not None and recorder.case.name in records:
                edited, reviewed = recorder.counts()
                record = records[recorder.case.name]
                records[recorder.case.name] = record.model_copy(
                    update={
                        "edited_voxels": edited,
                        "reviewed_voxels": reviewed,
                        "unnamed_value": recorder.unnamed_value(len(record.values)),
                    }
                )
        return records

    def choose(self, folder: Path) -> None:
        """Work in ``folder`` from now on.

        Raises
        ------
        LDSegError
            If it cannot be opened, or labels of the present project are open.
        """
        if self.project is not None and folder.resolve() == self.project.folder.resolve():
            return
        if any(recorder.case is not None for recorder in self.labels.recorders):
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
        self.labels.retry()
        self.changed.emit()

    def mark_reviewed(self, layer: Labels, where: tuple[slice, ...], reviewed: bool) -> None:
        """Set or clear the reviewed mask in a box, which protects it. Raises LDSegError."""
        if reviewed:
            _check_seen(layer)
            self._check_named(layer, where)
        self.labels.recorded(layer).mark_reviewed(where, reviewed)
        layer.metadata[REVIEWED_KEY] = any(self.labels.recorded(layer).counts())
        self._after_save(self.labels.recorded(layer))

    def sign_off(self, layer: Labels, who: str) -> None:
        """Let ``who`` answer for the whole label. Raises LDSegError."""
        if not who.strip():
            raise LDSegError("Enter your name first; a sign-off names who answers for the label.")
        _check_seen(layer)
        self._check_named(layer)
        self.labels.recorded(layer).sign_off(who.strip()[:200], now())
        layer.metadata[REVIEWED_KEY] = True
        self._after_save(self.labels.recorded(layer))

    def sign_off_of(self, layer: Labels) -> SignOff | None:
        """Return who answers for a label layer of ours, None if nobody does."""
        own = self.labels.own(layer)
        case = own.recorder.case if own is not None and own.recorder is not None else None
        with suppress(LDSegError):
            return case.record().sign_off if case is not None else None
        return None

    def set_patient(self, name: str, patient: str) -> CaseRecord:
        """Say whose image a case is and return its record; that patient decides the split. Raises LDSegError."""
        project = self._opened(create=False)
        case, changes = project.case(name), project.patient_changes(name, patient)
        recorders = self._recorders_of(name)
        for recorder in recorders:
            recorder.save(**changes)
            self._after_save(recorder)
        if not recorders:
            try:
                case.change(**changes)
            except OSError as error:
                raise LDSegError(f"{case.folder} cannot be written: {error.strerror}.") from error
            self.changed.emit()
        return case.record().model_copy(update=changes)

    def remove_case(self, name: str) -> None:
        """Move a case out of the project in the background; its layer stays and is recorded no longer."""
        project, recorders = self._opened(create=False), self._recorders_of(name)

        def work() -> Path:
            for recorder in recorders:
                if not recorder.finish_writing():
                    raise LDSegError(recorder.problem or f"{name} cannot be saved.")
            return project.remove_case(name)

        def then(removed: Path) -> None:
            self.labels.forget(recorders)
            self.done.emit(
                f"{name} is no longer in the project; its files are in {removed.parent.name}/"
                f"{removed.name} of the project folder."
            )

        self._in_background(f"Removing {name} …", work, then)

    def open_case(self, name: str) -> None:
        """Show a case's image and labels; reads them in the background, one at a time."""
        if self.busy:
            return
        ours = self._recorders_of(name)
        parting = [recorder for recorder in ours if recorder in self.labels.parting]
        if len(parting) < len(ours):
            self.failed.emit(f"{name} is open already; see the layer list.")
            return
        project = self._opened(create=False)

        def work() -> Opened:
            for recorder in parting:
                recorder.finish_writing()
            return read_case(project, name)

        self._in_background(f"Opening {name} …", work, self._show)

    def restore(self) -> None:
        """Take the left-behind journals into their labels and show the newest."""
        left, project = self.left_behind, self.project

        def work() -> Opened:
            for case in left[:-1]:
                case.save(case.grid(), case.load())
            return read_case(project, left[-1].name)

        if left and not self.busy:
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
        project.images.locate(project.case(name), path)
        self.open_case(name)

    def exchange(self, what: str, work: Callable[[Project], str]) -> None:
        """Run an import or export in the background and tell how it went."""
        project = self._opened(create=True)
        self._in_background(what, partial(work, project), self.done.emit)

    def finish_writing(self) -> str:
        """Bring everything to the disk; return the name of a label that could not be brought, or ""."""
        left = [
            recorder.name for recorder in self.labels.recorders if not recorder.finish_writing(10)
        ]
        return left[0] if left else ""

    def shut_down(self) -> None:
        """Save, end all recorders and let go of the folder."""
        if self._ended:
            return
        self._ended = True
        QCoreApplication.instance().aboutToQuit.disconnect(self.shut_down)
        if self._viewer is not None:
            _states.pop(self._viewer, None)
        self.labels.shut_down()
        self._leave()
        self.ended.emit()

    def _check_named(self, layer: Labels, where: tuple[slice, ...] = (...,)) -> None:
        own = self.labels.own(layer)
        highest = int(np.max(layer.data[where], initial=0))
        if own is not None and highest >= len(own.classes):
            raise LDSegError(
                f"{layer.name} holds the value {highest}, which has no class: give it a name under Edit "
                "classes in the Correct tab, or erase it."
            )

    def _recorders_of(self, name: str) -> list[Recorder]:
        """Return the recorders that write the case of that name."""
        return [r for r in self.labels.recorders if r.case is not None and r.case.name == name]

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

    def _add_case(self, own: OwnLabels, scan: Scan, masks: Masks) -> CaseFolder:
        """Add the image to the project; called in the recorder's thread."""
        project = self._opened(create=True)
        image, file, patient = own.image, None, None
        shown = None if image is None else layer_scan(image)
        if shown is None or shown.shape != scan.shape:
            shown = None
        else:
            path = image.metadata.get(FILE_KEY) or image.source.path
            # The label's own geometry: the image may have been moved since.
            scan = replace(scan, array=shown.array, channels=shown.channels, name=shown.name)
            patient = patient_of(scan.name, Path(path) if path else None)
            file = Path(path) if path and refers_to_file(scan, Path(path)) else None
        case = project.add_case(
            NUMBERED_LAYER.sub("", scan.name),
            scan,
            file,
            own.classes,
            masks,
            own.layer.metadata.get(RUNS_KEY, ())[-100:],
            patient,
            copy=shown is not None,
        )
        self.labels.tell()
        return case

    def _show(self, opened: Opened) -> None:
        image, labels = show_case(self._viewer, opened)
        self.labels.know(labels, image, opened.classes, opened.masks.label)
        own = self.labels.own(labels)
        self.labels.start(own, opened.masks, opened.case)
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

    def _on_redefined(self, own: OwnLabels) -> None:
        try:
            self._opened(create=False).add_classes(own.classes, redefined=True)
        except (OSError, LDSegError) as error:
            self._on_error(error)
            return
        own.recorder.save(values=tuple(c.name for c in own.classes))
        self._after_save(own.recorder)

    def _after_save(self, recorder: Recorder) -> None:
        worker = create_worker(recorder.flush, _start_thread=False, _ignore_errors=True)
        worker.finished.connect(self.changed)
        worker.start()


def _check_seen(layer: Labels) -> None:
    if not layer.visible:
        raise LDSegError(
            f"{layer.name} is hidden, so nobody has looked at it; press the eye beside its name, or "
            "select the labels that you see."
        )
