"""A framed sentence with at most two buttons: what the user may decide without being stopped."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from .project_state import ProjectState

STYLE = "Notice { border: 1px solid %s; border-radius: 4px; } "
CALM, URGENT = "#2f6fde", "#ff6b6b"
Choice = tuple[str, Callable[[], None]]


class Notice(QFrame):
    """Hidden until there is something to decide."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.first, self.second = QPushButton(), QPushButton()
        self._choices: list[Callable[[], None]] = []
        for position, button in enumerate((self.first, self.second)):
            button.clicked.connect(lambda _, i=position: self._choices[i]())
        buttons = QHBoxLayout()
        buttons.addWidget(self.first)
        buttons.addWidget(self.second)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self.hide()

    def show_text(self, text: str, *choices: Choice, urgent: bool = False) -> None:
        """Show ``text`` with a button for each of ``choices``."""
        self.text.setText(text)
        self.setStyleSheet(STYLE % (URGENT if urgent else CALM))
        self._choices = [action for _, action in choices]
        for position, button in enumerate((self.first, self.second)):
            button.setVisible(position < len(choices))
            if position < len(choices):
                button.setText(choices[position][0])
        self.show()


class ProjectNotice(Notice):
    """What the project has to say: corrections that cannot be saved, or that a crash left behind."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None):
        super().__init__(parent)
        self._state = state
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the most urgent thing, or nothing."""
        problem, left = self._state.problem, self._state.left_behind
        if problem:
            self.show_text(problem, ("Try now", self._state.retry), urgent=True)
        elif left and not self._state.busy:
            names = left[-1].name
            if len(left) > 1:
                names += f" and {len(left) - 1} more"
            self.show_text(
                f"napari ended before the corrections of {names} were put away. Restore opens them "
                "as they were within the last second; Discard goes back to the label before them and "
                "keeps their file aside.",
                ("Restore", self._state.restore),
                ("Discard", self._state.discard),
            )
        else:
            self.hide()
