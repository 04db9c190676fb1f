"""What to annotate next: the cases that nobody has reviewed, those that teach the model most first."""

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
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...errors import LDSegError
from ...project.folder import Project
from ..project.state import ProjectState

if TYPE_CHECKING:
    from ...finetuning.ranking import Suggestion

NAME = Qt.ItemDataRole.UserRole
TIP = (
    "The model looks at every case that is not reviewed yet. First come those that it is unsure of and "
    "that are unlike the ones it has learnt from."
)


class Suggestions(QWidget):
    """Ranks in a worker thread; a double click opens a case."""

    failed = Signal(str)
    _looked = Signal(int)

    def __init__(
        self,
        project: ProjectState,
        model: Callable[[], Path | None],
        parent: QWidget | None = None,
    ):
        super().__init__(parent)
        self._project, self._model = project, model
        self._worker: Any = None
        self._stop = threading.Event()
        self._done = 0
        self.find = QPushButton("What to annotate next")
        self.cancel = QPushButton("Cancel")
        self.bar = QProgressBar()
        self.bar.setFormat("%v of %m cases")
        self.list = QListWidget()
        self.list.setToolTip("Double click to open")
        self.list.setMinimumHeight(110)
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.find)
        column.addLayout(row)
        column.addWidget(self.list)
        for part in (self.bar, self.cancel, self.list):
            part.hide()
        self.find.clicked.connect(self._on_find)
        self.cancel.clicked.connect(self._on_cancel)
        self._looked.connect(self.bar.setValue)
        # The event itself is not kept: each search has its own.
        project.ended.connect(lambda: self._stop.set())
        self.list.itemDoubleClicked.connect(lambda item: project.open_case(item.data(NAME)))
        self.refresh()

    def refresh(self) -> None:
        """Offer the search while there are cases to look for; take reviewed ones off the list."""
        waiting = self._waiting()[0]
        self.find.setEnabled(bool(waiting) and self._worker is None)
        self.find.setToolTip(TIP if waiting else "Every case of the project has been reviewed")
        for row in range(self.list.count()):
            item = self.list.item(row)
            item.setHidden(item.data(NAME) not in waiting)

    def _waiting(self) -> tuple[list[str], list[str]]:
        """Return the names of the cases that nobody has reviewed, and of the others."""
        records = self._project.records()
        waiting = [name for name, record in records.items() if not record.reviewed_voxels]
        return waiting, [name for name in records if name not in waiting]

    def _on_find(self) -> None:
        waiting, reviewed = self._waiting()
        model, project = self._model(), self._project.project
        if model is None or project is None:
            self.failed.emit("Choose a model first: it looks at the cases.")
            return
        self._stop = threading.Event()
        self._done = 0
        self.bar.setRange(0, len(waiting) + len(reviewed))
        self.bar.setValue(0)
        self._worker = create_worker(
            _rank,
            model,
            project,
            waiting,
            reviewed,
            self._on_case,
            _start_thread=False,
            _ignore_errors=True,
        )
        self._worker.returned.connect(self._show)
        self._worker.errored.connect(self._on_error)
        self._show_work(True)
        self._worker.start()

    def _on_case(self) -> None:
        """Count a case; called in the worker's thread."""
        if self._stop.is_set():
            raise _Cancelled
        self._done += 1
        with suppress(RuntimeError):  # Qt has deleted the widget already.
            self._looked.emit(self._done)

    def _show(self, ranked: list[Suggestion]) -> None:
        self.list.clear()
        for place, suggestion in enumerate(ranked, start=1):
            words = suggestion.problem or suggestion.reason
            item = QListWidgetItem(f"{place}. {suggestion.name}\n{words}")
            item.setData(NAME, suggestion.name)
            item.setToolTip(f"{words}\nDouble click to open")
            self.list.addItem(item)
        self.list.setVisible(bool(ranked))
        self._show_work(False)

    def _show_work(self, active: bool) -> None:
        for part in (self.bar, self.cancel):
            part.setVisible(active)
        self.cancel.setEnabled(active)
        if not active:
            self._worker = None
        self.find.setVisible(not active)
        self.refresh()

    def _on_error(self, error: Exception) -> None:
        self._show_work(False)
        if not isinstance(error, _Cancelled):
            known = isinstance(error, LDSegError)
            self.failed.emit(
                str(error) if known else f"The search failed: {type(error).__name__}: {error}."
            )

    def _on_cancel(self) -> None:
        self._stop.set()
        self.cancel.setEnabled(False)


class _Cancelled(Exception):
    """The user does not want the ranking any more."""


def _rank(
    model: Path,
    project: Project,
    waiting: list[str],
    reviewed: list[str],
    on_case: Callable[[], None],
) -> list[Suggestion]:
    # Imported here: the window must not wait for torch.
    from ...checkpoint.file import load_checkpoint
    from ...finetuning.ranking import rank

    return rank(load_checkpoint(model), project, waiting, reviewed, on_case=on_case)
