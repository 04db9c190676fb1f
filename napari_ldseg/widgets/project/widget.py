"""The Project widget: the folder, its cases, reviewing and signing off, import and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QSettings
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
)
from superqt.utils import signals_blocked

from ...errors import LDSegError
from ...project.exchange import Layout, Outcome, export, import_from
from ...project.folder import REMOVED, Project
from ...project.schema import CaseRecord
from ..common.layers import unwrapped
from ..common.sizes import LabelSizes
from ..common.style import breakable
from .case_list import CaseList
from .review_part import (
    SLICE,
    extents,
    hidden_axes,
    part_of,
    review_summary,
    shown_position,
)
from .tab import Tab

NAME_KEY = "reviewer"
LEFT_OUT_SHOWN = 3


class ProjectWidget(Tab):
    """Shows the project and lets a reader review, sign off, open, import and export cases."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(unwrapped(napari_viewer))
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
        self.folder.setToolTip("Corrections are saved in this folder")
        self.change = QPushButton("Change …")
        self.change.setToolTip("Choose another project folder")
        self.cases = CaseList()
        self.patient = QLineEdit()
        self.patient.setMaxLength(200)
        self.patient.setToolTip(
            "The patient of the selected case. All images of a patient have the same use: they train "
            "models, or they are held out to compare models"
        )
        self.open = QPushButton("Open")
        self.open.setToolTip("Show the image and the labels of the selected case")
        self.remove = QPushButton("Remove …")
        self.remove.setToolTip("Take the selected case out of the project; its files are kept")
        self.locate = QPushButton("Locate image …")
        self.locate.setToolTip("Choose the image file of the selected case")
        self.import_cases = QPushButton("Import …")
        self.import_cases.setToolTip("Add the cases of an nnU-Net or Decathlon folder")
        self.export = QPushButton("Export …")
        self.reviewing = QLabel()
        self.reviewing.setWordWrap(True)
        self.sizes = LabelSizes(self)
        self.sizes_shown = QLabel()
        self.sizes_shown.setWordWrap(True)
        self.extent = QComboBox()
        self.extent.setToolTip("How much of the labels you have checked")
        self.mark = QPushButton("Mark as reviewed")
        self.mark.setToolTip("Later segmentations do not change what is marked")
        self.unmark = QPushButton("Unmark")
        self.unmark.setToolTip("Remove the mark, so that later segmentations may change this part")
        self.name = QLineEdit(self._settings.value(NAME_KEY) or "")
        self.name.setPlaceholderText("your name")
        self.sign = QPushButton("Sign off")
        self.sign.setToolTip("Mark everything as reviewed and sign it with your name")

    def _lay_out(self) -> None:
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(self.change)
        patient = QFormLayout()
        patient.addRow("Patient", self.patient)
        actions = QGridLayout()
        for position, button in enumerate((self.open, self.remove, self.import_cases, self.export)):
            actions.addWidget(button, *divmod(position, 2))
        self.review = QGroupBox("Review")
        form = QFormLayout(self.review)
        form.addRow(self.reviewing)
        form.addRow(self.sizes_shown)
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
        layout.addLayout(folder)
        layout.addWidget(self.project_notice)
        layout.addWidget(self.cases, 1)
        layout.addLayout(patient)
        layout.addLayout(actions)
        layout.addWidget(self.locate)
        layout.addWidget(self.review)
        layout.addWidget(self.status)
        self.locate.hide()

    def _connect(self) -> None:
        layers = self.viewer.layers
        for event in (
            layers.events.inserted,
            layers.events.removed,
            layers.events.renamed,
            layers.selection.events.active,
        ):
            event.connect(self._refresh_review)
        self.sizes.changed.connect(self._refresh_sizes)
        dims = self.viewer.dims.events
        for event in (dims.order, dims.ndisplay, dims.ndim):
            event.connect(self._refresh_review)
        dims.current_step.connect(self._refresh_summary)
        self.project_state.changed.connect(self._refresh)
        self.project_state.image_missing.connect(self.locate.show)
        self.project_state.done.connect(self.status.show_message)
        self.change.clicked.connect(self._on_change)
        self.cases.itemSelectionChanged.connect(self._on_selection)
        self.cases.itemDoubleClicked.connect(lambda item: self._on_open())
        self.patient.editingFinished.connect(self._on_patient)
        self.open.clicked.connect(self._on_open)
        self.remove.clicked.connect(self._on_remove)
        self.locate.clicked.connect(self._on_locate)
        self.import_cases.clicked.connect(self._on_import)
        menu = QMenu(self)
        for layout in ("nnU-Net", "Decathlon"):
            menu.addAction(f"for {layout} …", lambda kind=layout: self._on_export(kind))
        self.export.setMenu(menu)
        self.extent.currentIndexChanged.connect(self._refresh_summary)
        self.mark.clicked.connect(lambda: self._on_mark(True))
        self.unmark.clicked.connect(lambda: self._on_mark(False))
        self.sign.clicked.connect(self._on_sign)
        self.name.editingFinished.connect(
            lambda: self._settings.setValue(NAME_KEY, self.name.text())
        )

    def _refresh(self) -> None:
        state = self.project_state
        self.folder.setText(str(state.folder))
        if state.project is None and state.open_problem:
            self.show_error(state.open_problem)
        elif state.busy:
            self.status.show_message(state.busy)
        elif self.status.text().endswith("…"):
            self.status.show_message("")
        self._records = state.records()
        self.cases.fill(self._records, {} if state.project is None else state.project.unreadable)
        self._refresh_review()
        self._refresh_buttons()

    def _refresh_buttons(self) -> None:
        idle, chosen = not self.project_state.busy, self.cases.chosen
        self.open.setEnabled(chosen is not None and idle)
        self.remove.setEnabled(chosen is not None and idle)
        ready = any(r.labelled and r.reviewed_voxels >= r.voxels for r in self._records.values())
        self.export.setEnabled(ready and idle)
        self.export.setToolTip(
            "Write the fully reviewed cases for other training programs"
            if ready
            else "No case is fully reviewed yet; mark cases as reviewed first"
        )
        self.import_cases.setEnabled(idle)
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
        chosen = self.extent.currentText()
        with signals_blocked(self.extent):
            self.extent.clear()
            self.extent.addItems(extents(self.viewer, labels))
            self.extent.setCurrentIndex(max(0, self.extent.findText(chosen)))
        for control in (self.extent, self.mark, self.name, self.sign):
            control.setEnabled(labels is not None)
        tracked = self.project_state.labels.find(labels)
        recorder = tracked.recorder if tracked is not None else None
        self._reviewed = (
            recorder.reviewed_along(hidden_axes(self.viewer, labels))
            if recorder is not None
            else np.zeros(())
        )
        self.sizes.watch(labels)
        self._refresh_sizes()
        self._refresh_summary()

    def _refresh_sizes(self) -> None:
        """Show the sizes that are signed off."""
        parts = [
            f"{size.name} {size.text}{' (corrected)' if size.corrected else ''}"
            for size in self.sizes.of_layer()
        ]
        self.sizes_shown.setText(breakable(", ".join(parts)))
        self.sizes_shown.setVisible(bool(parts))

    def _refresh_summary(self, event: object = None) -> None:
        """Show what is reviewed, beginning with the slice shown; also after scrolling."""
        labels = self._labels()
        if labels is None:
            self.reviewing.setText("Select a labels layer of LDSeg to review it.")
            self.unmark.setEnabled(False)
            return
        axes = hidden_axes(self.viewer, labels)
        shown = shown_position(self.viewer, labels) if self._reviewed.ndim == len(axes) else None
        summary = review_summary(self._reviewed, shown)
        self.reviewing.setText(f"{breakable(labels.name)}\n{summary}")
        only_slice = self.extent.currentText() == SLICE and shown is not None
        self.unmark.setEnabled(
            bool((self._reviewed[shown] if only_slice else self._reviewed).any())
        )

    def _labels(self) -> Labels | None:
        """Return the selected labels layer if it belongs to the project."""
        active = self.viewer.layers.selection.active
        layer = next((x for x in self.viewer.layers if x is active), None)
        return layer if self.project_state.labels.find(layer) is not None else None

    def _on_mark(self, reviewed: bool) -> None:
        labels, extent = self._labels(), self.extent.currentText()
        if labels is None:
            return
        signed = self.project_state.sign_off_of(labels)
        try:
            part = part_of(self.viewer, labels, extent)
            self.project_state.mark_reviewed(labels, part, reviewed)
        except LDSegError as error:
            self.show_error(str(error))
            return
        shown = shown_position(self.viewer, labels)
        if extent == SLICE and shown is not None and len(shown) == 1:
            extent = f"slice {shown[0]}"
        done = "is marked as reviewed" if reviewed else "is no longer marked as reviewed"
        text = f"{extent[0].upper()}{extent[1:]} of {labels.name} {done}"
        if signed is not None and not reviewed:
            text += f", and {signed.who}'s sign-off is withdrawn"
        self.status.show_message(f"{text}.")
        self._refresh_review()

    def _on_sign(self) -> None:
        labels, who = self._labels(), self.name.text().strip()
        if labels is None:
            return
        try:
            self.project_state.sign_off(labels, who)
        except LDSegError as error:
            self.show_error(str(error))
            return
        if self.project_state.problem:
            self.status.show_message(
                f"{who}'s sign-off of {labels.name} is not saved yet; it will be saved together with the "
                "corrections that are waiting."
            )
        else:
            self.status.show_message(f"{who} signed off {labels.name}.")

    def _on_change(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Choose a project folder, or an empty one", str(self.project_state.folder)
        )
        if chosen:
            self._try(lambda: self.project_state.choose(Path(chosen)))

    def _on_open(self) -> None:
        name = self.cases.chosen
        if name is not None:
            self._try(lambda: self.project_state.open_case(name))

    def _on_patient(self) -> None:
        name, patient = self.cases.chosen or "", self.patient.text().strip()
        old = self._records.get(name)
        self.patient.setModified(False)
        if old is not None and patient != old.patient:
            self._try(lambda: self._set_patient(name, patient, old))
            self._refresh_buttons()

    def _set_patient(self, name: str, patient: str, old: CaseRecord) -> None:
        record = self.project_state.set_patient(name, patient)
        held_out = record.split == "validation"
        use = "held out to compare models" if held_out else "used for training"
        text = f"{name} now belongs to {record.patient}, whose images are all {use}."
        if held_out and old.split == "training":
            text += " Earlier models may have been trained on it."
        self.status.show_message(text)

    def _on_remove(self) -> None:
        name = self.cases.chosen
        if name is None:
            return
        box = QMessageBox(
            QMessageBox.Icon.Question,
            "Remove a case",
            f"Take {name} out of the project?",
            parent=self,
        )
        box.setInformativeText(
            f"It will no longer be used for training or export. Its files move to the folder {REMOVED} of "
            "the project; to bring the case back, move them back to the folder cases. The image file "
            "and the layers in the window stay. Painting on the labels again adds a new case."
        )
        yes = box.addButton("Remove", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        if box.clickedButton() is yes:
            self._try(lambda: self.project_state.remove_case(name))

    def _on_locate(self) -> None:
        name = self.cases.chosen
        path, _ = QFileDialog.getOpenFileName(self, f"Locate the image of {name}")
        if path and name:
            self._try(lambda: self._locate(name, Path(path)))

    def _locate(self, name: str, path: Path) -> None:
        self.project_state.locate(name, path)
        self.locate.hide()

    def _on_import(self) -> None:
        chosen = QFileDialog.getExistingDirectory(
            self, "Choose an nnU-Net or Decathlon folder, the one with dataset.json"
        )
        if chosen:
            self._try(
                lambda: self.project_state.exchange(
                    f"Importing {Path(chosen).name} …", lambda p: _import(p, Path(chosen))
                )
            )

    def _on_export(self, layout: Layout) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Choose an empty folder for the export")
        if chosen:
            self._try(
                lambda: self.project_state.exchange(
                    f"Exporting to {Path(chosen).name} …",
                    lambda p: _export(p, Path(chosen), layout),
                )
            )

    def _try(self, action: Callable[[], None]) -> None:
        try:
            self.status.show_message("")
            action()
        except LDSegError as error:
            self.show_error(str(error))


def _import(project: Project, folder: Path) -> str:
    return _report("Imported", import_from(project, folder))


def _export(project: Project, folder: Path, layout: Layout) -> str:
    return _report("Exported", export(project, folder, layout))


def _report(verb: str, outcome: Outcome) -> str:
    text = f"{verb} {outcome.done} case{'s' if outcome.done != 1 else ''}."
    if outcome.left_out:
        reasons = " ".join(outcome.left_out[:LEFT_OUT_SHOWN])
        text += f" {len(outcome.left_out)} left out: {reasons}"
        if len(outcome.left_out) > LEFT_OUT_SHOWN:
            text += " …"
    return text
