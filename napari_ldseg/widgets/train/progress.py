"""An active training: its progress, its curves, and a held-out case."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ...finetuning.launch import FineTuningRun
from ...training.run_folder import Status
from ...utils.text import about
from .plot_view import PlotView

BAR_STEPS = 1000


class TrainingProgress(QWidget):
    """Shows what the run's process has written, and has the buttons to pause and cancel it."""

    paused = Signal()
    resumed = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setRange(0, BAR_STEPS)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.pause = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip(
            "Stop the training; its state stays on the disk until you discard it"
        )
        self.curves = PlotView("Loss and validation DSC")
        self.preview = PlotView("A held-out case")
        buttons = QHBoxLayout()
        buttons.addWidget(self.pause, 1)
        buttons.addWidget(self.cancel, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        layout.addWidget(self.curves)
        layout.addWidget(self.preview)
        self._requested = ""
        self.pause.clicked.connect(self._on_pause)
        self.cancel.clicked.connect(self._on_cancel)

    def show_status(self, run: FineTuningRun, status: Status) -> None:
        """Show the status of ``run``."""
        self.title.setText(f"<b>{escape(run.config.name)}</b> is being trained")
        paused = status.phase == "paused"
        done = status.update / status.updates if status.updates else 0.0
        # Otherwise the bar repaints the window twice, once for its own change.
        self.bar.setUpdatesEnabled(False)
        self.bar.setValue(round(BAR_STEPS * done))
        self.bar.setFormat(
            f"{about(status.seconds_left)} left"
            if status.seconds_left is not None and not paused
            else f"{100 * done:.0f} %"
        )
        self.bar.setUpdatesEnabled(True)
        if self._requested == "pause" and (paused or status.ended):
            self._requested = ""
        if self._requested == "resume" and not paused:
            self._requested = ""
        waiting = {"pause": "Pausing …", "resume": "Continuing …", "cancel": "Stopping …"}
        self.text.setText(waiting.get(self._requested, status.text))
        self.pause.setText("Continue" if paused else "Pause")
        self.pause.setEnabled(not self._requested and status.phase != "starting")
        self.cancel.setEnabled(self._requested != "cancel")
        self.curves.show_file(run.folder / "curves.png")
        self.preview.show_file(run.folder / "preview.png")

    def reset(self) -> None:
        """Drop the request that was made to an earlier run."""
        self._requested = ""

    def _on_pause(self) -> None:
        resume = self.pause.text() == "Continue"
        self._requested = "resume" if resume else "pause"
        self.pause.setEnabled(False)
        (self.resumed if resume else self.paused).emit()

    def _on_cancel(self) -> None:
        self._requested = "cancel"
        self.cancel.setEnabled(False)
        self.pause.setEnabled(False)
        self.text.setText("Stopping …")
        self.cancelled.emit()
