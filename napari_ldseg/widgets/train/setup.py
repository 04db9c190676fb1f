"""The settings of a training: the model to start from, the cases, the effort, and the name."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ...checkpoint.metadata import ClassInfo
from ...errors import LDSegError
from ...finetuning.config import FineTuningConfig, Pace, name_problem
from ...finetuning.launch import MODELS
from ...finetuning.plan import (
    NOT_RETRAINED,
    expected_seconds,
    selectable_cases,
    settings_for,
    suggest_model_name,
)
from ...utils.text import about
from ..common.class_labels import BACKGROUND
from ..common.device_choice import DeviceChoice
from ..common.model_choice import ModelChoice
from ..common.style import PROMINENT, narrowed
from ..project.state import ProjectState
from .cases import TrainingCases

PACES = {
    "quick": ("Quick", "Enough to see whether the corrections help"),
    "thorough": (
        "Thorough",
        "Takes several times longer; gives a better model if there are many cases",
    ),
}
FROM_SCRATCH = "start from random weights"


class TrainingSetup(QWidget):
    """Collects the settings; ``started`` carries the FineTuningConfig."""

    started = Signal(object)
    failed = Signal(str)

    def __init__(self, project: ProjectState, parent: QWidget | None = None):
        super().__init__(parent)
        self._project = project
        self._suggested_for: tuple[frozenset[str], int] | None = None
        self._build_controls()
        self._lay_out()
        self.model.changed.connect(self.refresh)
        self.model.failed.connect(self.failed)
        self.cases.changed.connect(self._refresh_start)
        self.classes.currentIndexChanged.connect(self._refresh_cases)
        self.scratch.toggled.connect(self._refresh_cases)
        for button in self.paces.values():
            button.toggled.connect(self._refresh_start)
        self.start.clicked.connect(self._on_start)

    def _build_controls(self) -> None:
        self.model = ModelChoice()
        self.cases = TrainingCases()
        self.paces = {name: QRadioButton(label) for name, (label, _) in PACES.items()}
        for name, (_, tip) in PACES.items():
            self.paces[name].setToolTip(tip)
        self.paces["quick"].setChecked(True)
        self.name = QLineEdit()
        self.name.setMaxLength(100)
        self.classes = narrowed(QComboBox())
        self.classes.setToolTip("The classes that the new model segments")
        self.scratch = QCheckBox(FROM_SCRATCH)
        self.scratch.setToolTip("Train a new model; this needs many cases and a long time")
        self.device = DeviceChoice()
        self.start = QPushButton("Start training")
        self.start.setStyleSheet(PROMINENT)
        self.reason = QLabel()
        self.reason.setWordWrap(True)

    def _lay_out(self) -> None:
        paces = QVBoxLayout()
        for button in self.paces.values():
            paces.addWidget(button)
        pace = QFormLayout()
        pace.addRow("Effort", paces)
        more = QWidget()
        options = QFormLayout(more)
        options.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        options.addRow("Name", self.name)
        options.addRow("Classes", self.classes)
        options.addRow(self.scratch)
        options.addRow("Device", self.device)
        self.folded = QCollapsible("Name and options", expandedIcon="▼", collapsedIcon="▶")
        self.folded.addWidget(more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Start from"))
        layout.addWidget(self.model)
        layout.addWidget(self.cases, 1)
        layout.addLayout(pace)
        layout.addWidget(self.folded)
        layout.addWidget(self.start)
        layout.addWidget(self.reason)

    @property
    def pace(self) -> Pace:
        """The chosen effort."""
        return cast(Pace, next(n for n, button in self.paces.items() if button.isChecked()))

    def start_from(self, path: Path) -> None:
        """Start from the model that the viewer uses, unless it has none of the cases' classes."""
        self.model.prefer(path)
        self._suggested_for = None
        self.refresh()

    def refresh(self) -> None:
        """Show the project, the model and the cases as they are now."""
        self._suggest_model()
        metadata = self.model.metadata
        if metadata is not None:
            stem = suggest_model_name(self._project.folder, metadata.name)
            self.name.setPlaceholderText(stem)
        of_model = metadata.classes if metadata is not None else ()
        of_project = self._project_classes(of_model)
        choices = [("the model's", of_model)] if of_model else []
        model_names, project_names = ({c.name for c in cs} for cs in (of_model, of_project))
        if project_names != model_names and len(of_project) > 1:
            choices.append(("the project's", of_project))
        chosen = self.classes.currentText()
        with QSignalBlocker(self.classes):
            self.classes.clear()
            for whose, classes in choices:
                self.classes.addItem(f"{whose}: {', '.join(c.name for c in classes[1:])}", classes)
            row = self.classes.findText(chosen)
            default = self.classes.count() - 1 if project_names - model_names else 0
            self.classes.setCurrentIndex(row if row >= 0 else default)
        self._refresh_cases()

    def _suggest_model(self) -> None:
        """Select the model with most of the cases' classes, until the user chooses another."""
        records = list(self._project.records().values())
        records = [record for record in records if record.reviewed_voxels] or records
        if records:
            names = frozenset(name for record in records for name in record.values[1:])
            wanted = names, len(records[0].geometry.shape)
            # Only if something has changed: every stroke comes here, and files are read.
            if wanted != self._suggested_for:
                self._suggested_for = wanted
                self.model.suggest_for(*wanted)

    def _refresh_cases(self) -> None:
        project, metadata = self._project.project, self.model.metadata
        classes = self.classes.currentData() or ()
        found = []
        if project is not None:
            old = None if self.scratch.isChecked() else metadata
            dims = old.architecture.dims if old is not None else None
            names = [c.name for c in classes]
            found = selectable_cases(project, names, dims, self._project.records())
        self.cases.show_candidates(found)
        self._refresh_start()

    def _refresh_start(self) -> None:
        problem = self._project.open_problem or self.cases.problem
        if self.model.metadata is None:
            problem = "Choose a model to start from."
        elif self.model.metadata.baseline and not self.scratch.isChecked():
            problem = NOT_RETRAINED.format(self.model.metadata.name)
        self.start.setEnabled(not problem)
        text = problem or self._class_change()
        self.reason.setText(text)
        self.reason.setVisible(bool(text))
        for name, button in self.paces.items():
            label = PACES[name][0]
            if not problem:
                label += f" · {about(self._expected(cast(Pace, name)))}"
            button.setText(label)

    def _class_change(self) -> str:
        """Return which classes the new model gains and loses, or ""."""
        metadata = self.model.metadata
        if metadata is None or self.scratch.isChecked():
            return ""
        old = [c.name for c in metadata.classes[1:]]
        new = [c.name for c in (self.classes.currentData() or ())[1:]]
        gained = [name for name in new if name not in old]
        lost = [name for name in old if name not in new]
        parts = [f"New to the model: {', '.join(gained)}."] if gained else []
        parts += [f"No longer in the new model: {', '.join(lost)}."] if lost else []
        return " ".join(parts)

    def _expected(self, pace: Pace) -> float:
        metadata = self.model.metadata
        assert metadata is not None
        settings = settings_for(pace, metadata, None if self.scratch.isChecked() else metadata)
        held_out = sum(c.images for c in self.cases.chosen if c.split == "validation")
        return expected_seconds(self._project.folder, metadata, settings, held_out)

    def _project_classes(self, of_model: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
        """Return the classes of the reviewed cases, those of the model first."""
        project = self._project.project
        if project is None:
            return ()
        used = [r.values[1:] for r in self._project.records().values() if r.reviewed_voxels]
        names = dict.fromkeys(name for values in used for name in values)
        known = {c.name: c for c in (*project.record.classes, *of_model)}
        order = [c.name for c in of_model[1:] if c.name in names]
        order += [name for name in names if name not in order and name in known]
        background = of_model[0] if of_model else BACKGROUND
        return (background, *(known[name] for name in order))

    def _on_start(self) -> None:
        metadata, base = self.model.metadata, self.model.path
        assert metadata is not None
        folder = self._project.folder
        name = self.name.text().strip()
        if problem := name_problem(name):
            self.failed.emit(problem)
            return
        if name and (folder / MODELS / f"{name}.safetensors").exists():
            self.failed.emit(f"The project already has a model named {name}; choose another name.")
            return
        try:
            config = FineTuningConfig(
                project=folder,
                base=None if self.scratch.isChecked() else cast(Path, base),
                name=name or suggest_model_name(folder, metadata.name),
                classes=self.classes.currentData(),
                cases=tuple(c.name for c in self.cases.chosen),
                pace=self.pace,
                device=self.device.name,
            )
        except (ValueError, LDSegError) as error:
            self.failed.emit(f"The training cannot start: {error}.")
            return
        self.name.clear()
        self.scratch.setChecked(False)
        self.started.emit(config)
