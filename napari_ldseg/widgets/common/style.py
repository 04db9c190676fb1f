"""The common look of the widgets: the main button, colours, the status line, tables, scrolling."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QLabel,
    QScrollArea,
    QTableWidget,
    QWidget,
)

from .qt import existing, stretch_column

PROMINENT = """
QPushButton { background: #2f6fde; color: white; font-weight: bold; padding: 6px; }
QPushButton:hover { background: #4a85ec; }
QPushButton:disabled { background: #414851; color: #8a8f98; }
"""
ROW_HEIGHT = 24
WIDTH = 316  # of every widget: all are tabs of one dock, and the longest model names fit
GOOD, BAD, QUIET = "#5fc77a", "#ff6b6b", "#8a8f98"
ERROR = f"color: {BAD}; font-weight: bold;"


def scrolled(content: QWidget) -> QScrollArea:
    """Return a vertical scroll area that is filled by ``content`` in its whole width."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(content)
    return scroll


def narrowed(combo: QComboBox) -> QComboBox:
    """Return ``combo``, which may now be narrower than its longest entry."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(4)
    return combo


def breakable(text: str) -> str:
    """Return ``text`` in which a label may break long names after each underscore."""
    return text.replace("_", "_\u200b")


class StatusLine(QLabel):
    """One message at the end of a widget; hidden while it is empty."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def show_message(self, text: str, error: bool = False) -> None:
        """Show ``text``, an error in bold red."""
        self.setText(text)
        self.setStyleSheet(ERROR if error else "")
        self.setVisible(bool(text))


class WarningLine(QLabel):
    """The warning of a result, in red; hidden if there is none."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWordWrap(True)
        self.setStyleSheet(ERROR)
        self.hide()

    def show_of(self, summary: Mapping) -> None:
        """Show the warning in a ``Posterior.summary()``; an older or empty one has none."""
        self.setText(breakable(summary.get("warning") or ""))
        self.setVisible(bool(self.text()))


class ReadingTable(QTableWidget):
    """A table to read: the first column takes the spare width; at most ``most_rows`` rows high."""

    def __init__(self, columns: tuple[str, ...], most_rows: int):
        super().__init__(0, len(columns))
        self._most_rows = most_rows
        self.setHorizontalHeaderLabels(columns)
        rows = existing(self.verticalHeader())
        rows.hide()
        rows.setDefaultSectionSize(ROW_HEIGHT)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # _ED and _ES differ at the end
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        stretch_column(self.horizontalHeader(), 0)

    def set_rows(self, count: int) -> None:
        """Set the number of rows and the height that shows them."""
        self.setRowCount(count)
        rows = min(self._most_rows, max(1, count))
        header = existing(self.horizontalHeader()).sizeHint().height()
        self.setFixedHeight(header + rows * ROW_HEIGHT + 2 * self.frameWidth() + 2)
