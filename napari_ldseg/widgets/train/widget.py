"""The Train widget: trains a model on the project's corrected cases, in a process of its own."""

from __future__ import annotations

from html import escape

import napari
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout, QWidget

from ...finetuning.config import FineTuningConfig
from ..common.notice import Notice
from ..common.style import scrolled
from ..project.tab import Tab
from .model_tree import ModelTree
from .outcome import TrainingOutcome
from .progress import TrainingProgress
from .setup import TrainingSetup
from .state import training_of
from .suggestions import Suggestions


class TrainWidget(Tab):
    """Shows one of three things: the settings of a training, its progress, or its outcome."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self.state = training_of(napari_viewer)
        self.setup = TrainingSetup(self.project_state)
        self.progress = TrainingProgress()
        self.halted = Notice()
        self.outcome = TrainingOutcome()
        self.suggestions = Suggestions(self.project_state, lambda: self.setup.model.path)
        self.models = QPushButton("Models of this project …")
        self._lay_out()
        self._connect()
        self._offer_model()
        if self.state.segments_with is not None:
            self.setup.start_from(self.state.segments_with)
        self.setup.refresh()
        self._refresh()

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.project_notice)
        column.addWidget(self.setup)
        column.addWidget(self.progress)
        column.addWidget(self.outcome)
        column.addWidget(self.halted)
        column.addWidget(self.status)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setEnabled(False)
        column.addWidget(line)
        column.addWidget(self.suggestions)
        column.addWidget(self.models)
        column.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(content))

    def _connect(self) -> None:
        state = self.state
        state.changed.connect(self._refresh)
        state.models_changed.connect(self._offer_model)
        state.failed.connect(self.show_error)
        state.adopted.connect(self.setup.model.choose)
        state.used.connect(self.setup.start_from)
        self.project_state.changed.connect(self._on_project)
        self.setup.started.connect(self._on_start)
        self.setup.failed.connect(self.show_error)
        self.progress.paused.connect(state.pause)
        self.progress.resumed.connect(state.unpause)
        self.progress.cancelled.connect(state.stop)
        self.outcome.used.connect(self._on_use)
        self.outcome.kept.connect(self._on_keep)
        self.suggestions.failed.connect(self.show_error)
        self.models.clicked.connect(self._on_models)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Bring the widget up to date, which it is not while hidden."""
        super().showEvent(event)
        self.setup.device.list_accelerators()
        self._on_project()

    def _offer_model(self) -> None:
        self.setup.model.offer(self.state.model_in_use)
        self.setup.refresh()

    def _on_project(self) -> None:
        # Not while another tab is in front: every stroke changes the project.
        if self.isVisible():
            self.setup.refresh()
            self.suggestions.refresh()

    def _refresh(self) -> None:
        state, run, status = self.state, self.state.run, self.state.status
        finished = status is not None and status.phase == "finished"
        halted = status is not None and status.ended and not finished
        self.setup.setVisible(run is None)
        self.setup.setEnabled(not state.busy)
        self.progress.setVisible(state.active)
        self.outcome.setVisible(finished)
        if state.busy:
            self.status.show_message(state.busy)
        elif self.status.text().endswith("…"):
            self.status.show_message("")
        if run is None or status is None or not halted or state.busy:
            self.halted.hide()
        if run is None or status is None:
            return
        if state.active:
            self.progress.show_status(run, status)
        elif finished:
            self.outcome.show_outcome(run, state.comparison)
        elif not state.busy:
            self.progress.reset()
            again = "Resume" if status.phase != "failed" else "Try again"
            done = f" ({status.update} of {status.updates} updates)" if status.update else ""
            self.halted.show_text(
                f"<b>{escape(run.config.name)}</b>{done}<br>{escape(status.text)}",
                (again, state.resume),
                ("Discard", state.discard),
                urgent=status.phase == "failed",
            )

    def _on_start(self, config: FineTuningConfig) -> None:
        self.status.show_message("")
        self.progress.reset()
        self.state.start(config)

    def _on_use(self) -> None:
        status = self.state.status
        if status is not None and status.checkpoint is not None:
            name = status.checkpoint.stem
            self.status.show_message(f"{name} is now in use and selected in the Segment tab.")
            self.state.use(status.checkpoint)

    def _on_keep(self) -> None:
        self.status.show_message(
            "The old model stays in use; the new one is in the list of the project's models."
        )
        self.state.keep()

    def _on_models(self) -> None:
        ModelTree(self.state, self).show()
