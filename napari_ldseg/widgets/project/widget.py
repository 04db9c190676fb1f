"""The Project widget: the folder, its cases, reviewing and signing off, import and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import (
    QCompleter,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
)

from ...errors import LDSegError
from ...project.exchange import Layout, Outcome, export, import_from
from ...project.folder import REMOVED, Project
from ...project.schema import CaseRecord
from ...utils.text import count_text
from ..common.layers import unwrapped
from .case_list import CaseList
from .review_box import ReviewBox
from .tab import Tab

LEFT_OUT_SHOWN = 3


class ProjectWidget(Tab):
    """Shows the project and lets a reader review, sign off, open, import and export cases."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(unwrapped(napari_viewer))
        self._records: dict[str, CaseRecord] = {}
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
        self.review = ReviewBox(self.viewer, self.project_state, self.status)

    def _lay_out(self) -> None:
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(self.change)
        patient = QFormLayout()
        patient.addRow("Patient", self.patient)
        actions = QGridLayout()
        for position, button in enumerate((self.open, self.remove, self.import_cases, self.export)):
            actions.addWidget(button, *divmod(position, 2))
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
        self.review.refresh()
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
    text = f"{verb} {count_text(outcome.done, 'case')}."
    if outcome.left_out:
        reasons = " ".join(outcome.left_out[:LEFT_OUT_SHOWN])
        text += f" {len(outcome.left_out)} left out: {reasons}"
        if len(outcome.left_out) > LEFT_OUT_SHOWN:
            text += " …"
    return text
