"""A framed message with up to two buttons, for a decision that can wait."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

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
        self._actions: list[Callable[[], None]] = []
        for position, button in enumerate((self.first, self.second)):
            button.clicked.connect(lambda _, i=position: self._actions[i]())
        buttons = QHBoxLayout()
        buttons.addWidget(self.first)
        buttons.addWidget(self.second)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self.hide()

    def show_text(self, text: str, *choices: Choice, urgent: bool = False) -> None:
        """Show ``text`` with a button for each of ``choices``: its label and its action."""
        self.text.setText(text)
        self.setStyleSheet(STYLE % (URGENT if urgent else CALM))
        self._actions = [action for _, action in choices]
        for position, button in enumerate((self.first, self.second)):
            button.setVisible(position < len(choices))
            if position < len(choices):
                button.setText(choices[position][0])
        self.show()
