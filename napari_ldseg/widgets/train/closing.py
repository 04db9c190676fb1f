"""The question about a running training when the window closes."""

from __future__ import annotations

from typing import Literal

from qtpy.QtWidgets import QMessageBox, QWidget

from ...utils.text import about

QUESTION = (
    "The training can continue without napari; you then find the result in the Train tab. Or it stops "
    "now, saves its state, and continues when you press Resume in the Train tab."
)
Answer = Literal["continue", "stop", "cancel"]


def ask_before_closing(
    window: QWidget, name: str, paused: bool, seconds_left: float | None
) -> Answer:
    """Ask whether the training of the model ``name`` continues without the window.

    ``cancel`` keeps the window open. ``seconds_left`` is None where it is unknown.
    """
    doing = "is paused" if paused else "is being trained"
    rest = "" if seconds_left is None or paused else f": {about(seconds_left)} left"
    box = QMessageBox(QMessageBox.Icon.Question, "Close napari?", f"{name} {doing}{rest}.")
    box.setParent(window, box.windowFlags())
    box.setInformativeText(QUESTION)
    keep = box.addButton("Keep training", QMessageBox.ButtonRole.AcceptRole)
    stop = box.addButton("Stop and resume later", QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(keep)
    box.setEscapeButton(cancel)
    box.exec()
    if box.clickedButton() is keep:
        return "continue"
    return "stop" if box.clickedButton() is stop else "cancel"
