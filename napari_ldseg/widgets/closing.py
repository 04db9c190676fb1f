"""What becomes of a training when the window closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from .durations import about

if TYPE_CHECKING:
    from .training_state import TrainingState

QUESTION = (
    "It can go on without napari; the result waits here for your decision. Or it stops now, with what it "
    "has learnt on the disk, and goes on when you say so."
)


def ask_before_closing(state: TrainingState, window: QWidget) -> bool:
    """Ask what becomes of a training at work; return whether the window may close."""
    state.poll()
    if not state.at_work or state.run is None or state.status is None:
        return True
    left = state.status.seconds_left
    rest = "" if left is None else f": {about(left)} left"
    box = QMessageBox(
        QMessageBox.Icon.Question,
        "Close napari?",
        f"{state.run.request.name} is being trained{rest}.",
    )
    box.setParent(window, box.windowFlags())
    box.setInformativeText(QUESTION)
    keep = box.addButton("Keep training", QMessageBox.ButtonRole.AcceptRole)
    stop = box.addButton("Stop and resume later", QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(keep)
    box.setEscapeButton(cancel)
    box.exec()
    if box.clickedButton() is stop:
        state.stop()
    return box.clickedButton() in (keep, stop)
