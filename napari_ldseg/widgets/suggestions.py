"""What to annotate next: the cases that nobody has reviewed, those that teach the model most first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

from .project_state import ProjectState

NAME = Qt.ItemDataRole.UserRole
TIP = (
    "The model looks at every case that is not reviewed yet. First come those that it is unsure of and "
    "that are unlike the ones it has learnt from."
)


class Suggestions(QWidget):
    """Ranks in a worker thread; a double click opens a case."""

    failed = Signal(str)

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
        self.find = QPushButton("What to annotate next")
        self.cancel = QPushButton("Cancel")
        self.bar = QProgressBar()
        self.list = QListWidget()
        self.list.setToolTip("Double click to open")
        self.list.setMinimumHeight(110)
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
        pass

    def _on_cancel(self) -> None:
        self._stop.set()
        self.cancel.setEnabled(False)
