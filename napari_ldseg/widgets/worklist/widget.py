"""The Worklist widget: which cases are to do, the least certain first, and the next one."""

from __future__ import annotations

from html import escape
from pathlib import Path

import napari
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from ...batch.worklist import TO_DO, Entry
from ..common.style import PROMINENT, QUIET, breakable
from ..project.tab import Tab
from .case_list import CaseList
from .reading import entry_thumbnail
from .thumbnails import SIDE, Thumbnails
from .worklist import Worklist

ALL, OPEN_ONLY = "All", "To do"
NEXT_KEY = "N"


class WorklistWidget(Tab):
    """Lists the cases of a results folder or of the project, and opens one with a click."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self.worklist = Worklist(napari_viewer, self.project_state, self)
        self.thumbnails = Thumbnails(self._thumbnail, self)
        self._folder: Path | None = None
        self._build_controls()
        self._lay_out()
        self._connect()
        self._refresh()

    def shut_down(self) -> None:
        """Release the viewer and its key."""
        self.viewer.bind_key(NEXT_KEY, None)
        self.thumbnails.shut_down()
        self.worklist.shut_down()

    def _build_controls(self) -> None:
        self.choose_folder = QPushButton("Results folder …")
        self.choose_folder.setToolTip("List the cases that napari-ldseg segment wrote to a folder")
        self.choose_project = QPushButton("Project")
        self.choose_project.setToolTip("List the cases of the current project")
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.ranking = QLabel()
        self.ranking.setTextFormat(Qt.TextFormat.PlainText)
        self.ranking.setWordWrap(True)
        self.ranking.setStyleSheet(f"color: {QUIET};")
        self.search = QLineEdit()
        self.search.setPlaceholderText("search by name")
        self.search.setClearButtonEnabled(True)
        self.filter = QComboBox()
        self.filter.addItems((ALL, OPEN_ONLY))
        self.filter.setToolTip("Which cases are listed")
        self.cases = CaseList(self.thumbnails)
        self.empty = QLabel()
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.open = QPushButton("Open")
        self.open.setToolTip("Show the chosen case. Key: Enter; a click on a case opens it too")
        self.next = QPushButton("Next to do")
        self.next.setToolTip(f"Open the next case to do. Key: {NEXT_KEY}")
        self.next.setStyleSheet(PROMINENT)
        self.kept = QLabel()
        self.kept.setWordWrap(True)
        self.kept.setStyleSheet(f"color: {QUIET};")

    def _lay_out(self) -> None:
        sources = QHBoxLayout()
        sources.addWidget(self.choose_folder)
        sources.addWidget(self.choose_project)
        find = QHBoxLayout()
        find.addWidget(self.search, 1)
        find.addWidget(self.filter)
        actions = QHBoxLayout()
        actions.addWidget(self.open, 1)
        actions.addWidget(self.next, 2)
        layout = QVBoxLayout(self)
        layout.addLayout(sources)
        layout.addWidget(self.project_notice)
        layout.addWidget(self.title)
        layout.addWidget(self.ranking)
        layout.addLayout(find)
        layout.addWidget(self.cases, 1)
        layout.addWidget(self.empty, 1)
        layout.addLayout(actions)
        layout.addWidget(self.kept)
        layout.addWidget(self.status)

    def _connect(self) -> None:
        self.choose_folder.clicked.connect(self._on_folder)
        self.choose_project.clicked.connect(self._on_project)
        self.search.textChanged.connect(self._refresh)
        self.filter.currentIndexChanged.connect(self._refresh)
        self.cases.opened.connect(self._on_open)
        self.cases.chosen_changed.connect(self._refresh_buttons)
        self.open.clicked.connect(lambda: self._on_open(self.cases.chosen))
        self.next.clicked.connect(self._on_next)
        self.viewer.bind_key(NEXT_KEY, lambda _: self._on_next(), overwrite=True)
        self.worklist.changed.connect(self._refresh)
        self.worklist.opened.connect(self.cases.choose)
        self.worklist.failed.connect(self.show_error)
        self.project_state.changed.connect(self._refresh_kept)

    def _refresh(self) -> None:
        worklist = self.worklist
        if worklist.folder != self._folder:
            self._folder = worklist.folder
            self.thumbnails.clear()
        wanted, only_to_do = self.search.text().casefold(), self.filter.currentText() == OPEN_ONLY
        shown = [
            entry
            for entry in worklist.entries
            if wanted in entry.name.casefold()
            and (not only_to_do or entry.status == TO_DO or entry.name == worklist.open_name)
        ]
        self.cases.show_entries(shown, worklist.open_name)
        self.title.setText(self._title())
        ranking = sorted({entry.ranking for entry in worklist.entries if entry.ranking})
        self.ranking.setText("\n".join(ranking))
        self.ranking.setVisible(bool(ranking))
        self.empty.setText(self._why_empty())
        self.empty.setVisible(not shown)
        self.cases.setVisible(bool(shown))
        self._refresh_buttons()
        self._refresh_kept()
        if worklist.busy:
            self.status.show_message(worklist.busy)
        elif self.status.text().endswith("…"):
            self.status.show_message("")

    def _title(self) -> str:
        results, entries = self.worklist.results, self.worklist.entries
        name = "Project" if results is None else results.folder.name
        text = f"<b>{escape(breakable(name))}</b>"
        if entries:
            done = len(entries) - self.worklist.left
            text += f" · {done} of {len(entries)} done"
        if results is not None and results.failed:
            text += f" · {results.failed} failed"
        return text

    def _why_empty(self) -> str:
        if self.worklist.entries:
            return "No case matches."
        if self.worklist.folder is None:
            return (
                "The project has no cases yet.\n\nOpen a folder that napari-ldseg segment wrote, or correct a "
                "label: it becomes a case of the project."
            )
        return ""

    def _refresh_buttons(self) -> None:
        idle = not self.worklist.busy
        self.choose_folder.setEnabled(idle)
        self.choose_project.setEnabled(idle)
        self.open.setEnabled(idle and self.cases.chosen is not None)
        self.next.setEnabled(idle and self.worklist.next is not None)
        left, entries = self.worklist.left, self.worklist.entries
        self.next.setText(
            f"Next to do ({left})" if left else "Nothing to do" if entries else "Next to do"
        )

    def _refresh_kept(self) -> None:
        folder = breakable(str(self.project_state.folder))
        self.kept.setText(f"Status and corrections are kept in the project {folder}.")

    def _on_folder(self) -> None:
        start = self.worklist.folder or Path.home()
        chosen = QFileDialog.getExistingDirectory(
            self, "Choose a folder that napari-ldseg segment wrote", str(start)
        )
        if chosen:
            self.status.show_message("")
            self.worklist.show_results(Path(chosen))

    def _on_project(self) -> None:
        self.status.show_message("")
        self.worklist.show_project()

    def _on_open(self, name: str | None) -> None:
        if name is not None:
            self.status.show_message("")
            self.worklist.open_entry(name)

    def _on_next(self) -> None:
        self.status.show_message("")
        self.worklist.open_next()

    def _thumbnail(self, entry: Entry) -> QImage | None:
        """Return the picture of ``entry``; called in a worker."""
        return entry_thumbnail(entry, self.project_state.project, self.worklist.folder, SIDE)
