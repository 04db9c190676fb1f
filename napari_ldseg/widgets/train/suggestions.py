"""What to annotate next: the cases without review, the most useful for training first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...errors import LDSegError
from ...project.folder import Project
from ..common.qt import existing
from ..project.state import ProjectState

if TYPE_CHECKING:
    from ...finetuning.ranking import Suggestion

NAME = Qt.ItemDataRole.UserRole
TIP = (
    "Rank the cases that are not reviewed yet: first those in which the model is unsure and that differ "
    "from the reviewed ones"
)
NO_CASES = (
    "The project has no cases yet: correct a segmentation, or import cases in the Project tab."
)


class Suggestions(QWidget):
    """Ranks the cases in a worker thread; a double-click opens a case."""

    failed = Signal(str)
    _progressed = Signal(int)

    def __init__(
        self,
        project: ProjectState,
        model: Callable[[], Path | None],
        parent: QWidget | None = None,
    ):
        super().__init__(parent)
        self._project, self._model = project, model
        self._worker: Any = None
        self._cancelled = threading.Event()
        self._done = 0
        self.search = QPushButton("What to annotate next")
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.reason.setEnabled(False)
        self.cancel = QPushButton("Cancel")
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m cases")
        self.list = QListWidget()
        self.list.setToolTip("Double-click a case to open it")
        self.list.setMinimumHeight(110)
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.search)
        column.addWidget(self.reason)
        column.addLayout(row)
        column.addWidget(self.list)
        for part in (self.bar, self.cancel, self.list):
            part.hide()
        self.search.clicked.connect(self._on_search)
        self.cancel.clicked.connect(self._on_cancel)
        self._progressed.connect(self.bar.setValue)
        # Each search has a new event.
        project.ended.connect(lambda: self._cancelled.set())
        self.list.itemDoubleClicked.connect(lambda item: project.open_case(item.data(NAME)))
        self.refresh()

    def refresh(self) -> None:
        """Enable the search while there are cases to rank; hide reviewed ones in the list."""
        unreviewed, reviewed = self._cases()
        reason = ""
        if not unreviewed:
            reason = "Every case of the project is reviewed." if reviewed else NO_CASES
        self.search.setEnabled(not reason and self._worker is None)
        self.search.setToolTip(reason or TIP)
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason) and self._worker is None)
        for row in range(self.list.count()):
            item = existing(self.list.item(row))
            item.setHidden(item.data(NAME) not in unreviewed)

    def _cases(self) -> tuple[list[str], list[str]]:
        """Return the names of the cases without review, and of the others."""
        records = self._project.records()
        unreviewed = [name for name, record in records.items() if not record.reviewed_voxels]
        return unreviewed, [name for name in records if name not in unreviewed]

    def _on_search(self) -> None:
        unreviewed, reviewed = self._cases()
        model, project = self._model(), self._project.project
        if model is None or project is None:
            self.failed.emit("Choose a model first; it ranks the cases.")
            return
        self._cancelled = threading.Event()
        self._done = 0
        self.bar.setRange(0, len(unreviewed) + len(reviewed))
        self.bar.setValue(0)
        self._worker = create_worker(
            _rank,
            model,
            project,
            unreviewed,
            reviewed,
            self._on_case,
            _start_thread=False,
            _ignore_errors=True,
        )
        self._worker.returned.connect(self._show)
        self._worker.errored.connect(self._on_error)
        self._show_progress(True)
        self._worker.start()

    def _on_case(self) -> None:
        """Count a case; called in the worker thread."""
        if self._cancelled.is_set():
            raise _CancelledError
        self._done += 1
        with suppress(RuntimeError):  # Qt has deleted the widget already.
            self._progressed.emit(self._done)

    def _show(self, ranked: list[Suggestion]) -> None:
        self.list.clear()
        for position, suggestion in enumerate(ranked, start=1):
            reason = suggestion.problem or suggestion.reason
            item = QListWidgetItem(f"{position}. {suggestion.name}\n{reason}")
            item.setData(NAME, suggestion.name)
            item.setToolTip(f"{reason}\nDouble-click to open")
            self.list.addItem(item)
        self.list.setVisible(bool(ranked))
        self._show_progress(False)

    def _show_progress(self, active: bool) -> None:
        for part in (self.bar, self.cancel):
            part.setVisible(active)
        self.cancel.setEnabled(active)
        if not active:
            self._worker = None
        self.search.setVisible(not active)
        self.refresh()

    def _on_error(self, error: Exception) -> None:
        self._show_progress(False)
        if not isinstance(error, _CancelledError):
            known = isinstance(error, LDSegError)
            self.failed.emit(
                str(error) if known else f"The search failed: {type(error).__name__}: {error}."
            )

    def _on_cancel(self) -> None:
        self._cancelled.set()
        self.cancel.setEnabled(False)


class _CancelledError(Exception):
    """The user cancelled the ranking."""


def _rank(
    model: Path,
    project: Project,
    unreviewed: list[str],
    reviewed: list[str],
    on_case: Callable[[], None],
) -> list[Suggestion]:
    # Imported here so that the window does not wait for torch.
    from ...checkpoint.file import load_checkpoint
    from ...finetuning.ranking import rank

    return rank(load_checkpoint(model), project, unreviewed, reviewed, on_case=on_case)
