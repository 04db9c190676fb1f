"""A training at work: how far it is, its curves, and a case that improves."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from ...finetuning.launch import FineTuningRun
from ...training.run_folder import Status
from ...utils.durations import about
from .plot_view import PlotView

STEPS = 1000


class TrainingProgress(QWidget):
    """Shows what the run's process has written, and takes the orders for it."""

    paused = Signal()
    continued = Signal()
    cancelled = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setRange(0, STEPS)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.pause = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; what has been learnt stays on the disk until you discard it")
        self.curves = PlotView("Loss and validation DSC")
        self.preview = PlotView("A case that is kept aside")
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
        self._ordered = ""
        self.pause.clicked.connect(self._on_pause)
        self.cancel.clicked.connect(self._on_cancel)

    def show_status(self, run: FineTuningRun, status: Status) -> None:
        """Show where ``run`` stands."""
        self.title.setText(f"<b>{escape(run.config.name)}</b> is being trained")
        paused = status.phase == "paused"
        done = status.update / status.updates if status.updates else 0.0
        # Otherwise the bar repaints the window at once, and again with the rest.
        self.bar.setUpdatesEnabled(False)
        self.bar.setValue(round(STEPS * done))
        self.bar.setFormat(
            f"{about(status.seconds_left)} left"
            if status.seconds_left is not None and not paused
            else f"{100 * done:.0f} %"
        )
        self.bar.setUpdatesEnabled(True)
        if self._ordered == "pause" and (paused or status.ended):
            self._ordered = ""
        if self._ordered == "go on" and not paused:
            self._ordered = ""
        waiting = {"pause": "Pausing …", "go on": "Going on …", "cancel": "Stopping …"}
        self.text.setText(waiting.get(self._ordered, status.text))
        self.pause.setText("Continue" if paused else "Pause")
        self.pause.setEnabled(not self._ordered and status.phase != "starting")
        self.cancel.setEnabled(self._ordered != "cancel")
        self.curves.show_file(run.folder / "curves.png")
        self.preview.show_file(run.folder / "preview.png")

    def begin(self) -> None:
        """Forget what was ordered of an earlier run."""
        self._ordered = ""

    def _on_pause(self) -> None:
        going_on = self.pause.text() == "Continue"
        self._ordered = "go on" if going_on else "pause"
        self.pause.setEnabled(False)
        (self.continued if going_on else self.paused).emit()

    def _on_cancel(self) -> None:
        self._ordered = "cancel"
        self.cancel.setEnabled(False)
        self.pause.setEnabled(False)
        self.text.setText("Stopping …")
        self.cancelled.emit()
