"""The worklist of a viewer: its entries, the open one, and the next one, which is read ahead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from napari.components import ViewerModel
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QSettings, QTimer, Signal

from ...batch.worklist import (
    TO_DO,
    Entry,
    Results,
    entries_of_project,
    entries_of_results,
    next_to_do,
    read_results,
)
from ...errors import LDSegError
from ...project.case import CaseContent
from ...project.folder import Project
from ..common.layers import unwrapped
from ..project.case_layers import LoadedCase, read_case, show_case
from ..project.state import ProjectState
from ..project.tracked_labels import TrackedLabels
from .case_layers import CaseLayers
from .reading import Stamp, load_entry, stamp_of

FOLDER_KEY = "worklist_folder"
WAIT_MS = 50


class ReadAhead(NamedTuple):
    """A case that was read before it is opened."""

    name: str
    case: str | None
    stamp: Stamp
    content: CaseContent


class Worklist(QObject):
    """Opens one case at a time, and reads the next one to do meanwhile. Lives in the GUI thread.

    ``changed`` is emitted when the entries or what is going on have changed, ``opened`` with the name of
    a case that is shown, ``failed`` with one sentence.
    """

    changed = Signal()
    opened = Signal(str)
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, state: ProjectState, parent: QObject):
        super().__init__(parent)
        self.viewer, self.state = unwrapped(viewer), state
        self.results: Results | None = None
        self.entries: list[Entry] = []
        self.busy = ""
        self._open: tuple[str, Path | None] | None = None  # a name, and the results' folder
        self._opening: Entry | None = None
        self._layers = CaseLayers(self.viewer, state.labels, self)
        self._ahead: ReadAhead | None = None
        self._reading: str | None = None
        self._workers: set[Any] = set()
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._ended = False
        state.changed.connect(self._on_project_changed)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self.refresh()
        stored = self._settings.value(FOLDER_KEY)
        if stored:
            self.show_results(Path(stored))

    @property
    def folder(self) -> Path | None:
        """The results folder; None if the list is the project's."""
        return None if self.results is None else self.results.folder

    @property
    def open_name(self) -> str | None:
        """The name of the entry that is open."""
        here = self._open is not None and self._open[1] == self.folder
        return self._open[0] if here and self._open is not None else None

    @property
    def left(self) -> int:
        """The number of entries to do."""
        return sum(entry.status == TO_DO for entry in self.entries)

    @property
    def next(self) -> Entry | None:
        """The next entry to do."""
        return next_to_do(self.entries, self.open_name)

    def entry(self, name: str) -> Entry | None:
        """Return the entry of that name."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def show_project(self) -> None:
        """List the cases of the project."""
        if not self.busy and self._opening is None:
            self._use(None)
            self._settings.remove(FOLDER_KEY)

    def show_results(self, folder: Path) -> None:
        """List the cases of a results folder, which is read in the background."""

        def then(results: Results) -> None:
            self._use(results)
            self._settings.setValue(FOLDER_KEY, str(results.folder))

        if self.busy or self._opening is not None:
            return
        self._set_busy(f"Reading {folder.name} …")
        self._in_background(partial(read_results, folder), then)

    def refresh(self) -> None:
        """Bring the entries up to date with the project."""
        records = self.state.records()
        if self.results is None:
            entries = entries_of_project(records)
        else:
            entries = entries_of_results(self.results.cases, records)
        if entries != self.entries:
            self.entries = entries
            self.changed.emit()

    def open_next(self) -> None:
        """Open the next case to do."""
        entry = self.next
        if entry is not None:
            self.open_entry(entry.name)

    def open_entry(self, name: str) -> None:
        """Show a case in place of the one that the worklist opened before; its corrections stay saved."""
        if self._opening is not None or self._is_busy():
            return
        self._layers.remove_closed()
        self._open_when_saved(name)

    def _open_when_saved(self, name: str) -> None:
        """Open a case as soon as closed labels are cases of the project, so that these are opened."""
        if self._ended:
            return
        if any(r.case is None and not r.problem for r in self.state.labels.finishing):
            self._set_busy("Saving the corrections …")
            QTimer.singleShot(WAIT_MS, partial(self._open_when_saved, name))
            return
        if self.busy:
            self._set_busy("")
        self.refresh()
        entry = self.entry(name)
        if entry is None:
            return
        shown = self._shown(entry)
        if shown is not None:
            shown.visible = True
            self.viewer.layers.selection.active = shown
            return
        self._opening = entry
        self._layers.begin()
        if entry.case is not None:
            self._open_case(entry, entry.case)
        elif (content := self._take_ahead(entry)) is not None:
            self._show_result(content)
        elif self._reading == entry.name:
            self._set_busy(f"Opening {entry.name} …")  # shown when it is read
        else:
            self._set_busy(f"Opening {entry.name} …")
            self._in_background(partial(load_entry, entry, None, self.folder), self._show_result)

    def shut_down(self) -> None:
        """Release the viewer; the layers stay."""
        self._ended = True
        self.state.changed.disconnect(self._on_project_changed)
        self.viewer.layers.events.removed.disconnect(self._on_removed)

    def _use(self, results: Results | None) -> None:
        self.results, self._ahead = results, None
        self._set_busy("")
        self.refresh()
        self.changed.emit()
        self._read_ahead()

    def _is_busy(self) -> bool:
        busy = self.busy or self.state.busy
        if busy:
            self.failed.emit(f"{busy} Wait until this is done.")
        return bool(busy)

    def _shown(self, entry: Entry) -> Labels | None:
        """Return the labels layer in which ``entry`` is open already."""
        if self.open_name == entry.name:
            return self._layers.labels
        tracked = self._tracked(entry.case)
        return None if tracked is None else tracked.layer

    def _tracked(self, case: str | None) -> TrackedLabels | None:
        """Return the open labels of a case of the project."""
        for layer in self.viewer.layers if case is not None else ():
            tracked = self.state.labels.find(layer)
            recorder = None if tracked is None else tracked.recorder
            if recorder is not None and recorder.case is not None and recorder.case.name == case:
                return tracked
        return None

    def _open_case(self, entry: Entry, case: str) -> None:
        try:
            self.state.open_case(case, partial(self._read_case, entry))
        except LDSegError as error:
            self._on_error(error)
        if not self.state.busy:
            self._opening = None

    def _show_result(self, content: CaseContent) -> None:
        self.busy = ""
        if self._ended:
            return
        image, labels = show_case(self.viewer, content)
        tracked = self.state.labels.track(labels, image, content.classes, content.label)
        tracked.result_maps = lambda: content.maps
        self._finish_opening(tracked)

    def _finish_opening(self, tracked: TrackedLabels) -> None:
        entry, self._opening = self._opening, None
        if entry is None:
            return
        self._layers.replace(tracked.layer, tracked.image)
        self._open = entry.name, self.folder
        self.opened.emit(entry.name)
        self.changed.emit()
        QTimer.singleShot(0, self._read_ahead)

    def _read_ahead(self) -> None:
        """Read the next case to do, one at a time."""
        entry, project = self.next, self.state.project
        if self._ended or entry is None or self._reading is not None or self._open is None:
            return
        stamp = stamp_of(entry, project, self.folder)
        if self._fits(entry, stamp) or self._shown(entry) is not None:
            return
        self._ahead, self._reading = None, entry.name
        results = self.results

        def done() -> None:
            self._reading = None
            waiting = self._opening
            if waiting is None or not self.busy:
                return
            if (content := self._take_ahead(waiting)) is not None:
                self._show_result(content)
            else:
                self._in_background(
                    partial(load_entry, waiting, None, self.folder), self._show_result
                )

        def then(content: CaseContent) -> None:
            if results is self.results:
                self._ahead = ReadAhead(entry.name, entry.case, stamp, content)

        worker = create_worker(
            load_entry, entry, project, self.folder, _start_thread=False, _ignore_errors=True
        )
        worker.returned.connect(then)
        worker.errored.connect(lambda error: None)  # reported when the case is opened
        worker.finished.connect(done)
        self._start(worker)

    def _fits(self, entry: Entry, stamp: Stamp) -> bool:
        ahead = self._ahead
        return ahead is not None and (ahead.name, ahead.case, ahead.stamp) == (
            entry.name,
            entry.case,
            stamp,
        )

    def _take_ahead(self, entry: Entry) -> CaseContent | None:
        """Return the case if it was read ahead and has not changed since."""
        ahead = self._ahead
        if ahead is None or not self._fits(entry, stamp_of(entry, self.state.project, self.folder)):
            return None
        self._ahead = None
        return ahead.content

    def _read_case(self, entry: Entry, project: Project, name: str) -> LoadedCase:
        """Return the project's case ``name``; called in a worker."""
        ahead = self._ahead
        if ahead is not None and self._fits(entry, stamp_of(entry, project, None)):
            self._ahead = None
            if isinstance(ahead.content, LoadedCase):
                return ahead.content
        return read_case(project, name)

    def _on_project_changed(self) -> None:
        if self._opening is not None and self._opening.case is not None:
            tracked = self._tracked(self._opening.case)
            if tracked is not None:
                self._finish_opening(tracked)
            elif not self.state.busy:
                self._opening = None  # it failed, and the project's state said why
        self.refresh()

    def _on_removed(self, event: Any) -> None:
        if self._open is not None and event.value is self._layers.labels:
            self._open = None
            self.changed.emit()

    def _set_busy(self, text: str) -> None:
        self.busy = text
        self.changed.emit()

    def _in_background(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(then)
        worker.errored.connect(self._on_error)
        self._start(worker)

    def _start(self, worker: Any) -> None:
        self._workers.add(worker)
        worker.finished.connect(lambda: self._workers.discard(worker))
        worker.start()

    def _on_error(self, error: Exception) -> None:
        self._opening = None
        self._set_busy("")
        if isinstance(error, LDSegError):
            self.failed.emit(str(error))
        elif isinstance(error, OSError):
            self.failed.emit(f"The files cannot be read: {error.strerror or error}.")
        elif isinstance(error, MemoryError):
            self.failed.emit(
                "The case needs more memory than this computer has; close others first."
            )
        else:
            self.failed.emit(f"Unexpected error: {type(error).__name__}: {error}.")
