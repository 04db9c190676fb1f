"""A button of a correction tool: words, key, tip, and the reason when it cannot be used."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

from .tools import Tool

ARMED_STYLE = "QPushButton:checked { background: #2f6fde; color: white; font-weight: bold; }"


class ToolButton(QPushButton):
    """A tool's words on the left, its key on the right."""

    def __init__(self, tool: Tool):
        super().__init__()
        self.tool = tool
        self.setCheckable(tool.armed)
        self.setStyleSheet(ARMED_STYLE)
        # The keyboard stays with the canvas: Space there moves the camera.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(tool.words)
        self._words, self._key = QLabel(tool.words), QLabel(tool.key.replace("Shift+", "⇧"))
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 0, 8, 0)
        row.addWidget(self._words, 1)
        row.addWidget(self._key)
        for label in (self._words, self._key):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            label.setStyleSheet("background: transparent;")
        self.setMinimumHeight(28)
        self.setMinimumWidth(row.sizeHint().width())

    def show_reason(self, reason: str) -> None:
        """Enable the button, or disable it and say why in its tooltip."""
        self.setEnabled(not reason)
        self._key.setVisible(not reason)
        self.setToolTip(reason or f"{self.tool.tip} Key: {self.tool.key}.")
