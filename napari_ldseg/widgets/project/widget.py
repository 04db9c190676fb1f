"""The Project widget: the folder, its cases, reviewing and signing off, import and export."""

from __future__ import annotations

from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QEvent, QSettings
from qtpy.QtWidgets import (
    QComboBox,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from ...errors import LDSegError
from ...project.exchange import Layout, Outcome, export, import_from
from ...project.folder import REMOVED, Project
from ...project.schema import CaseRecord
from ..common.docking import dock_as_tab
from ..common.style import WIDTH, StatusLine, breakable
from .case_list import ProjectList
from .project_notice import ProjectNotice
from .review_part import (
    SLICE,
    choices,
    hidden_axes,
    part_of,
    reviewed_words,
    shown_position,
)
from .state import project_of

NAME_KEY = "reviewer"
LEFT_OUT_SHOWN = 3


class ProjectWidget(QWidget):
    """Shows the project and lets a reader review, sign off, open, import and export."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.state = project_of(napari_viewer)
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._records: dict[str, CaseRecord] = {}
        self._reviewed = np.zeros(())
        self._build_controls()
        self._lay_out()
        self._connect()
        self._refresh()

    def _build_controls(self) -> None:
        self.folder = QLabel()
        self.folder.setWordWrap(True)
        self.change = QPushButton("Change …")
        self.notice = ProjectNotice(self.state)
        self.cases = ProjectList()
        self.patient = QLineEdit()
        self.patient.setMaxLength(200)
        self.patient.setToolTip(
            "Whose image the selected case is. All images of one patient are used for the same: they are "
            "learnt from, or kept aside to compare models"
        )
        self.open = QPushButton("Open")
        self.open.setToolTip("Show the selected case's image and labels")
        self.remove = QPushButton("Remove …")
        self.remove.setToolTip(
            "Take the selected case out of the project; its files are kept aside"
        )
        self.locate = QPushButton("Locate image …")
        self.take_in = QPushButton("Import …")
        self.take_in.setToolTip("Add the cases of an nnU-Net or Decathlon folder")
        self.export = QPushButton("Export …")
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
        whose = QFormLayout()
        whose.addRow("Patient", self.patient)
        actions = QGridLayout()
        for place, button in enumerate((self.open, self.remove, self.take_in, self.export)):
            actions.addWidget(button, *divmod(place, 2))
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
        layout.addLayout(whose)
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
        dims = self.viewer.dims.events
        for event in (dims.order, dims.ndisplay, dims.ndim):
            event.connect(self._refresh_review)
        dims.current_step.connect(self._say_reviewed)
        self.state.changed.connect(self._refresh)
        self.state.failed.connect(self._on_failed)
        self.state.image_missing.connect(self.locate.show)
        self.state.done.connect(self.status.say)
        self.change.clicked.connect(self._on_change)
        self.cases.itemSelectionChanged.connect(self._on_selection)
        self.cases.itemDoubleClicked.connect(lambda item: self._on_open())
        self.patient.editingFinished.connect(self._on_patient)
        self.open.clicked.connect(self._on_open)
        self.remove.clicked.connect(self._on_remove)
        self.locate.clicked.connect(self._on_locate)
        self.take_in.clicked.connect(self._on_import)
        menu = QMenu(self)
        for layout in ("nnU-Net", "Decathlon"):
            menu.addAction(f"for {layout} …", lambda kind=layout: self._on_export(kind))
        self.export.setMenu(menu)
        self.extent.currentIndexChanged.connect(self._say_reviewed)
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
        self._records = state.records()
        broken = {} if state.project is None else state.project.unreadable
        self.cases.fill(self._records, broken)
        self._refresh_review()
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        idle, chosen = not self.state.busy, self.cases.chosen
        self.open.setEnabled(chosen is not None and idle)
        self.remove.setEnabled(chosen is not None and idle)
        ready = any(r.labelled and r.reviewed_voxels >= r.voxels for r in self._records.values())
        self.export.setEnabled(ready and idle)
        self.export.setToolTip(
            "Write the reviewed cases for other training programs"
            if ready
            else "No case is reviewed as a whole yet; mark cases as reviewed first"
        )
        self.take_in.setEnabled(idle)
        record = self._records.get(chosen or "")
        self.patient.setEnabled(record is not None and idle)
        if not self.patient.isModified():
            self.patient.setText(record.patient if record is not None else "")

    def _on_selection(self) -> None:
        self.locate.hide()
        self.patient.setModified(False)
        self._refresh_buttons()
        known = sorted({record.patient for record in self._records.values()})
        self.patient.setCompleter(QCompleter(known, self.patient))

    def _refresh_review(self, event: object = None) -> None:
        labels = self._labels()
        kept = self.extent.currentText()
        with signals_blocked(self.extent):
            self.extent.clear()
            self.extent.addItems(choices(self.viewer, labels))
            self.extent.setCurrentIndex(max(0, self.extent.findText(kept)))
        for control in (self.extent, self.mark, self.name, self.sign):
            control.setEnabled(labels is not None)
        recorder = self.state.labels.own(labels).recorder if labels is not None else None
        self._reviewed = (
            recorder.reviewed_along(hidden_axes(self.viewer, labels))
            if recorder is not None
            else np.zeros(())
        )
        self._say_reviewed()

    def _say_reviewed(self, event: object = None) -> None:
        """Say what of the labels is reviewed, the slice shown first; also after each scrolling."""
        labels = self._labels()
        if labels is None:
            self.reviewing.setText("Select a label layer of LDSeg to review it.")
            self.unmark.setEnabled(False)
            return
        axes = hidden_axes(self.viewer, labels)
        shown = shown_position(self.viewer, labels) if self._reviewed.ndim == len(axes) else None
        words = reviewed_words(self._reviewed, shown)
        self.reviewing.setText(f"{breakable(labels.name)}\n{words}")
        of_slice = self.extent.currentText() == SLICE and shown is not None
        self.unmark.setEnabled(bool((self._reviewed[shown] if of_slice else self._reviewed).any()))

    def _labels(self) -> Labels | None:
        active = self.viewer.layers.selection.active
        layer = next((x for x in self.viewer.layers if x is active), None)
        return layer if self.state.labels.own(layer) is not None else None

    def _on_mark(self, reviewed: bool) -> None:
        labels, extent = self._labels(), self.extent.currentText()
        signed = self.state.sign_off_of(labels)
        try:
            self.state.mark_reviewed(labels, part_of(self.viewer, labels, extent), reviewed)
        except LDSegError as error:
            self.status.say(str(error), error=True)
            return
        shown = shown_position(self.viewer, labels)
        if extent == SLICE and shown is not None and len(shown) == 1:
            extent = f"slice {shown[0]}"
        done = "is marked as reviewed" if reviewed else "is no longer marked as reviewed"
        words = f"{extent[0].upper()}{extent[1:]} of {labels.name} {done}"
        if signed is not None and not reviewed:
            words += f", and {signed.who}'s sign-off is withdrawn"
        self.status.say(f"{words}.")
        self._refresh_review()

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
        if self.cases.chosen is not None:
            self._try(lambda: self.state.open_case(self.cases.chosen))

    def _on_patient(self) -> None:
        name, patient = self.cases.chosen, self.patient.text().strip()
        old = self._records.get(name or "")
        self.patient.setModified(False)
        if old is not None and patient != old.patient:
            self._try(lambda: self._set_patient(name, patient, old))
            self._refresh_buttons()

    def _set_patient(self, name: str, patient: str, old: CaseRecord) -> None:
        record = self.state.set_patient(name, patient)
        aside = record.split == "validation"
        use = "kept aside to compare models" if aside else "learnt from"
        words = f"{name} is of {record.patient} now, whose images are all {use}."
        if aside and old.split == "training":
            words += " Models made before may have learnt from it."
        self.status.say(words)

    def _on_remove(self) -> None:
        name = self.cases.chosen
        box = QMessageBox(
            QMessageBox.Icon.Question,
            "Remove a case",
            f"Take {name} out of the project?",
            parent=self,
        )
        box.setInformativeText(
            "It is not used for training or export any more. Its labels and its record move to the folder "
            f"{REMOVED} of the project; moving them back to cases brings it back. Its image file and what "
            "is shown in the window stay, and painting on its labels again adds it anew."
        )
        yes = box.addButton("Remove", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        if box.clickedButton() is yes:
            self._try(lambda: self.state.remove_case(name))

    def _on_locate(self) -> None:
        name = self.cases.chosen
        path, _ = QFileDialog.getOpenFileName(self, f"Where is the image of {name}?")
        if path and name:
            self._try(lambda: self._locate(name, Path(path)))

    def _locate(self, name: str, path: Path) -> None:
        self.state.locate(name, path)
        self.locate.hide()

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
