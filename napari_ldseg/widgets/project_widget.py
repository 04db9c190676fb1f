"""The Project widget: the folder, its cases, reviewing and signing off, import and export."""

from __future__ import annotations

from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels, Shapes
from qtpy.QtCore import QEvent, QSettings
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..errors import LDSegError
from ..project.exchange import Layout, Outcome, export, import_from
from ..project.folder import Project
from .docking import dock_as_tab
from .notice import ProjectNotice
from .project_state import project_of
from .style import WIDTH, StatusLine

NAME_KEY = "reviewer"
WHOLE, SLICE = "the whole case", "the slice shown"
LEFT_OUT_SHOWN = 3


class ProjectWidget(QWidget):
    """Shows the project and lets a reader review, sign off, open, import and export."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.state = project_of(napari_viewer)
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._build_controls()
        self._lay_out()
        self._connect()
        self._refresh()

    def _build_controls(self) -> None:
        self.folder = QLabel()
        self.folder.setWordWrap(True)
        self.change = QPushButton("Change …")
        self.notice = ProjectNotice(self.state)
        self.cases = QTableWidget(0, 3)
        self.cases.setHorizontalHeaderLabels(["case", "state", "used for"])
        self.cases.verticalHeader().hide()
        self.cases.setShowGrid(False)
        self.cases.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.cases.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.cases.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.cases.setMinimumHeight(120)
        header = self.cases.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.open = QPushButton("Open")
        self.open.setToolTip("Show the selected case's image and labels")
        self.locate = QPushButton("Locate image …")
        self.take_in = QPushButton("Import …")
        self.take_in.setToolTip("Add the cases of an nnU-Net or Decathlon folder")
        self.export = QPushButton("Export …")
        self.export.setToolTip("Write the reviewed cases for other training programs")
        self.reviewing = QLabel()
        self.reviewing.setWordWrap(True)
        self.extent = QComboBox()
        self.extent.setToolTip("How much of the labels you have looked at")
        self.mark = QPushButton("Mark as reviewed")
        self.mark.setToolTip("No later segmentation changes what is marked")
        self.unmark = QPushButton("Take back")
        self.name = QLineEdit(self._settings.value(NAME_KEY) or "")
        self.name.setPlaceholderText("your name")
        self.sign = QPushButton("Sign off")
        self.sign.setToolTip("Mark all of it as reviewed and answer for it with your name")
        self.status = StatusLine()

    def _lay_out(self) -> None:
        where = QHBoxLayout()
        where.addWidget(self.folder, 1)
        where.addWidget(self.change)
        actions = QHBoxLayout()
        for button in (self.open, self.take_in, self.export):
            actions.addWidget(button)
        self.review = QGroupBox("Review")
        form = QFormLayout(self.review)
        form.addRow(self.reviewing)
        form.addRow("Extent", self.extent)
        marks = QHBoxLayout()
        marks.addWidget(self.mark, 2)
        marks.addWidget(self.unmark, 1)
        form.addRow(marks)
        signing = QHBoxLayout()
        signing.addWidget(self.name, 2)
        signing.addWidget(self.sign, 1)
        form.addRow(signing)
        layout = QVBoxLayout(self)
        layout.addLayout(where)
        layout.addWidget(self.notice)
        layout.addWidget(self.cases, 1)
        layout.addLayout(actions)
        layout.addWidget(self.locate)
        layout.addWidget(self.review)
        layout.addWidget(self.status)
        self.locate.hide()
        self.setMinimumWidth(WIDTH)

    def _connect(self) -> None:
        layers = self.viewer.layers
        for event in (
            layers.events.inserted,
            layers.events.removed,
            layers.events.renamed,
            layers.selection.events.active,
        ):
            event.connect(self._refresh_review)
        self.state.changed.connect(self._refresh)
        self.state.failed.connect(self._on_failed)
        self.state.image_missing.connect(self.locate.show)
        self.state.done.connect(self.status.say)
        self.change.clicked.connect(self._on_change)
        self.cases.itemSelectionChanged.connect(self._on_selection)
        self.cases.itemDoubleClicked.connect(lambda item: self._on_open())
        self.open.clicked.connect(self._on_open)
        self.locate.clicked.connect(self._on_locate)
        self.take_in.clicked.connect(self._on_import)
        menu = QMenu(self)
        for layout in ("nnU-Net", "Decathlon"):
            menu.addAction(f"for {layout} …", lambda kind=layout: self._on_export(kind))
        self.export.setMenu(menu)
        self.mark.clicked.connect(lambda: self._on_mark(True))
        self.unmark.clicked.connect(lambda: self._on_mark(False))
        self.sign.clicked.connect(self._on_sign)
        self.name.editingFinished.connect(
            lambda: self._settings.setValue(NAME_KEY, self.name.text())
        )

    def showEvent(self, event: QEvent) -> None:
        """Have the corrections saved when the window closes; share the dock with our other widgets."""
        self.state.window_guard.watch(self)
        dock_as_tab(self)
        super().showEvent(event)

    @property
    def chosen(self) -> str | None:
        """The name of the case that is selected in the list."""
        row = self.cases.currentRow()
        item = self.cases.item(row, 0) if self.cases.selectedItems() else None
        return item.text() if item is not None else None

    def select(self, name: str) -> None:
        """Select a case in the list."""
        for row in range(self.cases.rowCount()):
            if self.cases.item(row, 0).text() == name:
                self.cases.selectRow(row)

    def _refresh(self) -> None:
        state = self.state
        self.folder.setText(str(state.folder))
        self.folder.setToolTip("Corrections are kept here")
        if state.project is None and state.open_problem:
            self.status.say(state.open_problem, error=True)
        elif state.busy:
            self.status.say(state.busy)
        elif self.status.text().endswith("…"):
            self.status.say("")
        chosen = self.chosen
        self.cases.blockSignals(True)
        self._fill()
        if chosen is not None:
            self.select(chosen)
        self.cases.blockSignals(False)
        self._refresh_review()
        self._refresh_buttons()

    def _fill(self) -> None:
        records = self.state.records()
        broken = {} if self.state.project is None else self.state.project.unreadable
        self.cases.setRowCount(len(records) + len(broken))
        for row, (name, record) in enumerate(records.items()):
            cells = (name, record.state, record.split)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                self.cases.setItem(row, column, item)
            tip = f"Patient: {record.patient}"
            if record.sign_off is not None:
                signed = record.sign_off
                tip += f"\nSigned off by {signed.who}, {signed.when}: {signed.verdict}"
            elif record.earlier_sign_offs:
                tip += f"\nChanged since {record.earlier_sign_offs[-1].who} signed it off"
            self.cases.item(row, 0).setToolTip(tip)
            self.cases.item(row, 1).setToolTip(tip)
        for row, (name, reason) in enumerate(broken.items(), start=len(records)):
            for column, text in enumerate((name, "cannot be read", "")):
                item = QTableWidgetItem(text)
                item.setToolTip(reason)
                self.cases.setItem(row, column, item)

    def _refresh_buttons(self) -> None:
        idle = not self.state.busy
        self.open.setEnabled(self.chosen is not None and idle)
        self.export.setEnabled(self.cases.rowCount() > 0 and idle)
        self.take_in.setEnabled(idle)

    def _on_selection(self) -> None:
        self.locate.hide()
        self._refresh_buttons()

    def _refresh_review(self, event: object = None) -> None:
        labels = self._labels()
        kept = self.extent.currentText()
        self.extent.clear()
        choices = [WHOLE]
        if labels is not None and labels.ndim > 2:
            choices.append(SLICE)
        boxes = [layer.name for layer in self.viewer.layers if isinstance(layer, Shapes)]
        self.extent.addItems(choices + [f"inside {name}" for name in boxes])
        self.extent.setCurrentIndex(max(0, self.extent.findText(kept)))
        for control in (self.extent, self.mark, self.unmark, self.name, self.sign):
            control.setEnabled(labels is not None)
        self.reviewing.setText(
            labels.name if labels is not None else "Select a label layer of LDSeg to review it."
        )

    def _labels(self) -> Labels | None:
        active = self.viewer.layers.selection.active
        layer = next((x for x in self.viewer.layers if x is active), None)
        return layer if self.state.labels.own(layer) is not None else None

    def _extent(self, labels: Labels) -> tuple[slice, ...]:
        """Return the chosen part of ``labels`` as slices. Raises LDSegError."""
        chosen = self.extent.currentText()
        everything = (slice(None),) * labels.ndim
        if chosen == WHOLE:
            return everything
        if chosen == SLICE:
            if self.viewer.dims.ndisplay != 2:
                raise LDSegError("Turn the view back to 2D to mark the slice that is shown.")
            hidden = self.viewer.dims.not_displayed
            offset = self.viewer.dims.ndim - labels.ndim
            point = labels.world_to_data(self.viewer.dims.point)[-labels.ndim :]
            box = list(everything)
            for axis in (axis - offset for axis in hidden if axis >= offset):
                index = round(float(point[axis]))
                if not 0 <= index < labels.data.shape[axis]:
                    raise LDSegError(
                        f"The slice shown lies outside {labels.name}; go to one inside."
                    )
                box[axis] = slice(index, index + 1)
            return tuple(box)
        return _box(self.viewer.layers[chosen.removeprefix("inside ")], labels)

    def _on_mark(self, reviewed: bool) -> None:
        labels = self._labels()
        try:
            self.state.mark_reviewed(labels, self._extent(labels), reviewed)
        except LDSegError as error:
            self.status.say(str(error), error=True)
            return
        extent = self.extent.currentText()
        self.status.say(
            f"{extent[0].upper()}{extent[1:]} of {labels.name} "
            f"{'is marked as reviewed' if reviewed else 'is no longer marked as reviewed'}."
        )

    def _on_sign(self) -> None:
        labels = self._labels()
        try:
            self.state.sign_off(labels, self.name.text())
        except LDSegError as error:
            self.status.say(str(error), error=True)
            return
        who = self.name.text().strip()
        if self.state.problem:
            self.status.say(
                f"{who}'s sign-off of {labels.name} is not on the disk yet; it is written with what is "
                "waiting."
            )
        else:
            self.status.say(f"{who} signed off {labels.name}.")

    def _on_change(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Choose a project folder, or an empty one", str(self.state.folder)
        )
        if chosen:
            self._try(lambda: self.state.choose(Path(chosen)))

    def _on_open(self) -> None:
        if self.chosen is not None:
            self._try(lambda: self.state.open_case(self.chosen))

    def _on_locate(self) -> None:
        name = self.chosen
        path, _ = QFileDialog.getOpenFileName(self, f"Where is the image of {name}?")
        if path and name:
            self._try(lambda: self.state.locate(name, Path(path)))

    def _on_import(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Choose an nnU-Net or Decathlon folder, the one with dataset.json"
        )
        if chosen:
            self._try(
                lambda: self.state.exchange(
                    f"Importing {Path(chosen).name} …", lambda p: _import(p, Path(chosen))
                )
            )

    def _on_export(self, layout: Layout) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose an empty folder for the export")
        if chosen:
            self._try(
                lambda: self.state.exchange(
                    f"Exporting to {Path(chosen).name} …",
                    lambda p: _export(p, Path(chosen), layout),
                )
            )

    def _try(self, action) -> None:
        try:
            self.status.say("")
            action()
        except LDSegError as error:
            self.status.say(str(error), error=True)

    def _on_failed(self, text: str) -> None:
        self.status.say(text, error=True)


def _box(shapes: Shapes, labels: Labels) -> tuple[slice, ...]:
    """Return the box around the only shape of ``shapes``, all of the axes it does not spread along."""
    if len(shapes.data) != 1:
        raise LDSegError(f"{shapes.name} holds {len(shapes.data)} shapes; keep one box.")
    corners = np.asarray(shapes.data[0])
    world = np.zeros((len(corners), labels.ndim))
    drawn = np.array([shapes.data_to_world(c) for c in corners])[:, -labels.ndim :]
    world[:, labels.ndim - drawn.shape[1] :] = drawn
    points = np.array([labels.world_to_data(p) for p in world])
    box = []
    for axis, size in enumerate(labels.data.shape):
        low, high = points[:, axis].min(), points[:, axis].max()
        if high - low < 1e-6:
            box.append(slice(None))
            continue
        start, stop = max(0, int(np.floor(low + 0.5))), min(size, int(np.ceil(high + 0.5)))
        if stop <= start:
            raise LDSegError(f"The box lies outside {labels.name}; draw it over the structure.")
        box.append(slice(start, stop))
    return tuple(box)


def _import(project: Project, folder: Path) -> str:
    return _words("Imported", import_from(project, folder))


def _export(project: Project, folder: Path, layout: Layout) -> str:
    return _words("Exported", export(project, folder, layout))


def _words(done: str, outcome: Outcome) -> str:
    text = f"{done} {outcome.done} case{'s' if outcome.done != 1 else ''}."
    if outcome.left_out:
        shown = " ".join(outcome.left_out[:LEFT_OUT_SHOWN])
        text += f" {len(outcome.left_out)} left out: {shown}"
        if len(outcome.left_out) > LEFT_OUT_SHOWN:
            text += " …"
    return text
