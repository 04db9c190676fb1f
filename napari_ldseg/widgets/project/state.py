"""The project's state in a viewer: its folder, and the labels that are recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.qt.threading import create_worker
from qtpy.QtCore import QCoreApplication, QObject, QSettings, QTimer, Signal

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...project.case import CaseFolder, Masks
from ...project.folder import Project
from ...project.images import ImageMissing
from ...project.recorder import Recorder
from ...project.schema import CaseRecord, values_of
from ...scans.scan import Scan
from ..common.layers import REVIEWED_KEY
from ..common.per_viewer import OnePerViewer
from ..common.qt import existing
from .case_layers import LoadedCase, add_case, read_case, show_case, write_maps
from .reviews import Reviews
from .tracked_labels import LabelTracker, TrackedLabels
from .window_guard import WindowGuard

FOLDER_KEY = "project_folder"
DEFAULT_FOLDER = "napari-ldseg"


class ProjectState(QObject):
    """Saves what the user paints in the chosen project folder. Lives in the GUI thread."""

    changed = Signal()
    failed = Signal(str)
    image_missing = Signal()
    done = Signal(str)
    ended = Signal()

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        # Weak, since the dictionary of states must not keep its viewers alive.
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
        self.labels = LabelTracker(viewer, self._add_case, self)
        self.reviews = Reviews(self.labels, self._notify_when_written)
        self.labels.changed.connect(self.changed)
        self.labels.classes_changed.connect(self._on_classes_changed)
        existing(QCoreApplication.instance()).aboutToQuit.connect(self.shut_down)
        if (self.folder / "project.json").exists():
            self.retry()

    @property
    def problem(self) -> str:
        """Why corrections cannot be saved, in one sentence, or ""."""
        texts = [recorder.problem for recorder in self.labels.recorders if recorder.problem]
        return texts[0] if texts else ""

    @property
    def unsaved_cases(self) -> list[CaseFolder]:
        """The cases whose last changes a crash left in their journals, the newest last."""
        if self.project is None:
            return []
        recorded = {r.case.folder for r in self.labels.recorders if r.case is not None}
        return [case for case in self.project.unsaved() if case.folder not in recorded]

    def records(self) -> dict[str, CaseRecord]:
        """Return the cases' records by name, up to date with the labels in the window."""
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
                        "unnamed_value": recorder.unnamed_value(record.names),
                    }
                )
        return records

    def choose(self, folder: Path) -> None:
        """Use the project in ``folder``.

        Raises
        ------
        LDSegError
            If it cannot be opened, or labels of the current project are open.
        """
        if self.project is not None and folder.resolve() == self.project.folder.resolve():
            return
        if any(recorder.case is not None for recorder in self.labels.recorders):
            raise LDSegError(
                "Labels of this project are open; remove their layers, then change the folder."
            )
        if self.busy:
            raise LDSegError(f"{self.busy} Wait until this is done, then change the folder.")
        project = Project(folder, create=True)
        self._close_project()
        self.project, self.folder, self.open_problem = project, folder, ""
        self._settings.setValue(FOLDER_KEY, str(folder))
        self.changed.emit()

    def retry(self) -> None:
        """Try again to open the folder, and to write what could not be written."""
        with suppress(LDSegError):
            self._open_project(create=False)
        self.labels.retry()
        self.changed.emit()

    def set_patient(self, name: str, patient: str) -> CaseRecord:
        """Set the patient of a case, which decides its split, and return its record. Raises LDSegError."""
        project = self._open_project(create=False)
        case, changes = project.case(name), project.patient_changes(name, patient)
        recorders = self._recorders_of(name)
        for recorder in recorders:
            recorder.save(**changes)
            self._notify_when_written(recorder)
        if not recorders:
            try:
                case.change(**changes)
            except OSError as error:
                raise LDSegError(f"{case.folder} cannot be written: {error.strerror}.") from error
            self.changed.emit()
        return case.record().model_copy(update=changes)

    def remove_case(self, name: str) -> None:
        """Move a case out of the project in the background; its layer stays but is not recorded."""
        project, recorders = self._open_project(create=False), self._recorders_of(name)

        def work() -> Path:
            for recorder in recorders:
                if not recorder.finish_writing():
                    raise LDSegError(recorder.problem or f"{name} cannot be saved.")
            return project.remove_case(name)

        def then(removed: Path) -> None:
            self.labels.stop_recording(recorders)
            self.done.emit(
                f"{name} is no longer in the project; its files are now in {removed.parent.name}/"
                f"{removed.name} of the project folder."
            )

        self._in_background(f"Removing {name} …", work, then)

    def open_case(self, name: str, read: Callable[[Project, str], LoadedCase] = read_case) -> None:
        """Read a case in the background and show its image and labels; one case at a time.

        ``read`` may return a case that is read already.
        """
        if self.busy:
            return
        recorders = self._recorders_of(name)
        finishing = [recorder for recorder in recorders if recorder in self.labels.finishing]
        if len(finishing) < len(recorders):
            self.failed.emit(f"{name} is already open; see the layer list.")
            return
        project = self._open_project(create=False)

        def work() -> LoadedCase:
            for recorder in finishing:
                recorder.finish_writing()
            return read(project, name)

        self._in_background(f"Opening {name} …", work, self._show)

    def restore(self) -> None:
        """Apply the unsaved changes to their labels and show the newest case."""
        unsaved, project = self.unsaved_cases, self.project
        if project is None or not unsaved or self.busy:
            return

        def work() -> LoadedCase:
            for case in unsaved[:-1]:
                case.save(case.grid(), case.load())
            return read_case(project, unsaved[-1].name)

        self._in_background(f"Restoring {unsaved[-1].name} …", work, self._show)

    def discard(self) -> None:
        """Discard the unsaved changes; their journals are renamed and stay in the case folders."""
        try:
            renamed = [case.discard_journal() for case in self.unsaved_cases]
        except OSError as error:
            self.failed.emit(f"The corrections cannot be discarded: {error.strerror or error}.")
            return
        self.done.emit(
            f"Discarded; the corrections stay in {renamed[-1].name} in the case's folder."
            if renamed
            else ""
        )
        self.changed.emit()

    def locate(self, name: str, path: Path) -> None:
        """Use ``path`` as the image of a case and open it. Raises LDSegError if it is another image."""
        project = self._open_project(create=False)
        project.images.locate(project.case(name), path)
        self.open_case(name)

    def exchange(self, what: str, work: Callable[[Project], str]) -> None:
        """Run an import or export in the background and report its result."""
        project = self._open_project(create=True)
        self._in_background(what, partial(work, project), self.done.emit)

    def finish_writing(self) -> str:
        """Write everything to the disk; return the name of a label that could not be written, or ""."""
        failed = [r.name for r in self.labels.recorders if not r.finish_writing(10)]
        return failed[0] if failed else ""

    def shut_down(self) -> None:
        """Save, end all recorders and unlock the folder."""
        if self._ended:
            return
        self._ended = True
        existing(QCoreApplication.instance()).aboutToQuit.disconnect(self.shut_down)
        viewer = self._viewer_ref()
        if viewer is not None:
            project_of.forget(viewer)
        self.labels.shut_down()
        self._close_project()
        self.ended.emit()

    def _recorders_of(self, name: str) -> list[Recorder]:
        """Return the recorders that write to the case ``name``."""
        return [r for r in self.labels.recorders if r.case is not None and r.case.name == name]

    def _open_project(self, create: bool) -> Project:
        """Return the project, opened if necessary; also called from recorders' threads."""
        with self._guard:
            if self.project is None:
                try:
                    self.project = Project(self.folder, create=create)
                    self.open_problem = ""
                except LDSegError as error:
                    self.open_problem = str(error)
                    raise
            return self.project

    def _close_project(self) -> None:
        if self.project is not None:
            self.project.close()
            self.project = None

    def _add_case(self, tracked: TrackedLabels, scan: Scan, masks: Masks) -> CaseFolder:
        """Add labels and their image to the project; called in the recorder's thread."""
        case = add_case(self._open_project(create=True), tracked, scan, masks)
        self.store_maps(tracked, tracked.maps, case)
        self.labels.notify()
        return case

    def store_maps(
        self, tracked: TrackedLabels, maps: dict[str, np.ndarray], case: CaseFolder | None = None
    ) -> None:
        """Store the maps of the result that labels come from with their case, in the background.

        Labels without a case keep them until they have one.
        """
        if case is None and tracked.recorder is not None:
            case = tracked.recorder.case
        tracked.maps = maps if case is None else {}
        if case is not None and maps:
            write_maps(case, layer_scan(tracked.layer), maps, self.failed.emit)

    def _show(self, loaded: LoadedCase) -> None:
        viewer = self._viewer_ref()
        if viewer is None:
            return
        image, labels = show_case(viewer, loaded)
        tracked = self.labels.track(labels, image, loaded.classes, loaded.masks.label)
        tracked.result_maps = lambda: loaded.maps
        recorder = self.labels.start_recording(tracked, loaded.masks, loaded.case)
        recorder.touch(labels.data, painted=False)
        if loaded.case.journal.exists() or not loaded.case.record().labelled:
            recorder.save()
        labels.metadata[REVIEWED_KEY] = any(recorder.counts())
        self.labels.result_changed.emit(tracked)
        QTimer.singleShot(300, self.changed.emit)
        self.changed.emit()

    def _in_background(
        self, what: str, work: Callable[[], Any], then: Callable[[Any], None]
    ) -> None:
        self.busy = what
        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(partial(self._end, then))
        worker.errored.connect(partial(self._end, self._on_error))
        self._worker = worker
        worker.start()
        self.changed.emit()

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, LDSegError):
            self.failed.emit(str(error))
            if isinstance(error, ImageMissing):
                self.image_missing.emit()
        elif isinstance(error, OSError):
            self.failed.emit(f"The project cannot be read or written: {error.strerror or error}.")
        else:
            self.failed.emit(f"Unexpected error: {type(error).__name__}: {error}.")

    def _end(self, then: Callable[[Any], None], outcome: Any) -> None:
        self.busy = ""
        then(outcome)
        self.changed.emit()

    def _on_classes_changed(self, tracked: TrackedLabels) -> None:
        try:
            values = values_of(tracked.classes)
            classes = tuple(tracked.classes.values())
            self._open_project(create=False).add_classes(classes, redefined=True)
        except (OSError, LDSegError) as error:
            self._on_error(error)
            return
        recorder = self.labels.recorder_of(tracked.layer)
        recorder.save(**values)
        self._notify_when_written(recorder)

    def _notify_when_written(self, recorder: Recorder) -> None:
        worker = create_worker(recorder.flush, _start_thread=False, _ignore_errors=True)
        worker.finished.connect(self.changed)
        worker.start()


project_of = OnePerViewer(ProjectState)
