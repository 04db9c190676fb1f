"""The project's models as a tree: which was trained from which, how accurate, which is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...errors import LDSegError
from ...finetuning.comparison import Comparison
from ...finetuning.model_store import ModelStore, Node, when
from ..common.qt import existing, stretch_column
from ..common.style import StatusLine
from .state import TrainingState

COLUMNS = ("model", "trained", "DSC before", "DSC after", "")
ENTRY = Qt.ItemDataRole.UserRole
RECURSIVE = Qt.MatchFlag.MatchRecursive
COMPARABLE = "Compare the DSC of two models only if both were measured on the same cases."
GONE = "The file of this model is no longer in the project"


class ModelTree(QDialog):
    """Selects a model to use, compares two, exports one; never deletes or overwrites a model."""

    def __init__(self, state: TrainingState, parent: QWidget | None = None):
        super().__init__(parent)
        self._state = state
        self._worker: Any = None
        self.setWindowTitle("Models of this project")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.tree = QTreeWidget()
        self.tree.setColumnCount(len(COLUMNS))
        self.tree.setHeaderLabels(COLUMNS)
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        stretch_column(self.tree.header(), 0)
        self.use = QPushButton("Use")
        self.use.setToolTip("Segment and train with this model from now on")
        self.compare = QPushButton("Compare")
        self.compare.setToolTip("Select two models: click on the second with Ctrl held down")
        self.export = QPushButton("Export …")
        self.export.setToolTip("Save a copy of the model's file")
        self.caption = QLabel()
        self.caption.setWordWrap(True)
        self.differences = QTableWidget(0, 3)
        existing(self.differences.verticalHeader()).hide()
        self.differences.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.differences.setWordWrap(True)
        self.differences.setShowGrid(False)
        sections = existing(self.differences.horizontalHeader())
        sections.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        sections.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.differences.hide()
        self.status = StatusLine()
        buttons = QHBoxLayout()
        for button in (self.use, self.compare, self.export):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tree, 2)
        layout.addLayout(buttons)
        layout.addWidget(self.caption)
        layout.addWidget(self.differences, 3)
        layout.addWidget(self.status)
        self.resize(680, 380)
        self.tree.itemSelectionChanged.connect(self._refresh_buttons)
        self.use.clicked.connect(self._on_use)
        self.compare.clicked.connect(self._on_compare)
        self.export.clicked.connect(self._on_export)
        state.models_changed.connect(self.refresh)
        state.failed.connect(self._on_failed)
        self.refresh()

    def refresh(self) -> None:
        """Read the models in a worker thread, where new files are hashed, and show them."""
        store = self._state.store
        self._worker = create_worker(_read, store, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(self._show)
        self._worker.errored.connect(self._on_error)
        self._worker.start()

    @property
    def selected(self) -> list[Path]:
        """The files of the selected models."""
        paths = [item.data(0, ENTRY) for item in self.tree.selectedItems()]
        return [path for path in paths if path is not None]

    def _show(self, read: tuple[list[Node], dict[Path, Comparison]]) -> None:
        nodes, comparisons = read
        selected = set(self.selected)
        self.tree.clear()
        for node in nodes:
            self.tree.addTopLevelItem(_item(node, comparisons))
        self.tree.expandAll()
        for item in self.tree.findItems("", Qt.MatchFlag.MatchContains | RECURSIVE):
            item.setSelected(item.data(0, ENTRY) in selected)
        if nodes:
            self.caption.hide()
        else:
            self.caption.setText("No model has been trained in this project yet.")
            self.caption.show()
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        selected = self.selected
        self.use.setEnabled(len(selected) == 1 and selected[0] != self._state.model_in_use)
        self.export.setEnabled(len(selected) == 1)
        self.compare.setEnabled(len(selected) == 2)

    def _on_use(self) -> None:
        (path,) = self.selected
        name = self.tree.selectedItems()[0].text(0)
        self.status.show_message(f"{name} is now in use.")
        self._state.use(path)

    def _on_compare(self) -> None:
        first, second = self.selected
        try:
            rows = self._state.store.compare(first, second)
        except LDSegError as error:
            self._on_failed(str(error))
            return
        names = [item.text(0) for item in self.tree.selectedItems()]
        self.differences.setHorizontalHeaderLabels(["difference", *names])
        self.differences.setRowCount(len(rows))
        for row, difference in enumerate(rows):
            for column, text in enumerate(difference):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.differences.setItem(row, column, item)
        self.differences.resizeRowsToContents()
        self.differences.setVisible(bool(rows))
        self.status.show_message(
            COMPARABLE if rows else "No difference between these models is recorded."
        )
        if rows and self.height() < 620:
            self.resize(self.width(), 620)

    def _on_export(self) -> None:
        (path,) = self.selected
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Export the model", path.name, "LDSeg checkpoints (*.safetensors)"
        )
        if not chosen:
            return
        store = self._state.store
        worker = create_worker(
            store.export, path, Path(chosen), _start_thread=False, _ignore_errors=True
        )
        worker.returned.connect(self._on_exported)
        worker.errored.connect(self._on_error)
        self._worker = worker
        worker.start()

    def _on_exported(self, to: Path) -> None:
        self.status.show_message(f"Exported to {to}.")

    def _on_error(self, error: Exception) -> None:
        self._on_failed(str(error))

    def _on_failed(self, text: str) -> None:
        self.status.show_message(text, error=True)


def _read(store: ModelStore) -> tuple[list[Node], dict[Path, Comparison]]:
    nodes = store.tree()
    comparisons = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        waiting += node.children
        comparison = None if node.entry is None else store.comparison(node.entry.path)
        if node.entry is not None and comparison is not None:
            comparisons[node.entry.path] = comparison
    return nodes, comparisons


def _item(node: Node, comparisons: dict[Path, Comparison]) -> QTreeWidgetItem:
    entry = node.entry
    if entry is None:
        item = QTreeWidgetItem([node.name])
        item.setDisabled(True)
        item.setToolTip(0, GONE)
    else:
        trained = when(entry.metadata.training.trained)
        comparison = comparisons.get(entry.path)
        before, after, tip = _dice_before_and_after(comparison)
        use = "in use" if entry.adopted else "comes with the plugin" if entry.bundled else ""
        item = QTreeWidgetItem([node.name, trained, before, after, use])
        item.setData(0, ENTRY, entry.path)
        item.setToolTip(0, str(entry.path))
        for column in (2, 3):
            item.setToolTip(column, tip)
        if entry.adopted:
            font = item.font(0)
            font.setBold(True)
            for column in (0, 4):
                item.setFont(column, font)
    for child in node.children:
        item.addChild(_item(child, comparisons))
    return item


def _dice_before_and_after(comparison: Comparison | None) -> tuple[str, str, str]:
    """Return the mean DSC before and after, or why there is none, and the full verdict."""
    if comparison is None:
        return "", "", ""
    verdict = comparison.verdict
    if verdict.before is None or verdict.after is None:
        return "", "too few cases" if verdict.kind == "too few" else "", verdict.text
    return f"{verdict.before:.3f}", f"{verdict.after:.3f}", verdict.text
