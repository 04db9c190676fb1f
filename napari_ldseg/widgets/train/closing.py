"""What becomes of a training when the window closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox, QWidget

from ...utils.durations import about

if TYPE_CHECKING:
    from .state import TrainingState

QUESTION = (
    "It can go on without napari; the result waits here for your decision. Or it stops now, with what it "
    "has learnt on the disk, and goes on when you say so."
)


def ask_before_closing(state: TrainingState, window: QWidget) -> bool:
    """Ask what becomes of a training at work; return whether the window may close."""
    state.poll()
    if not state.at_work or state.run is None or state.status is None:
        return True
    left, paused = state.status.seconds_left, state.status.phase == "paused"
    doing = "is paused" if paused else "is being trained"
    rest = "" if left is None or paused else f": {about(left)} left"
    box = QMessageBox(
        QMessageBox.Icon.Question,
        "Close napari?",
        f"{state.run.config.name} {doing}{rest}.",
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
    elif box.clickedButton() is keep:
        state.unpause()  # with nobody there to end a pause
    return box.clickedButton() in (keep, stop)
