"""What the widgets look alike in: the one button to press, what went wrong, tables, scrolling."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QScrollArea,
    QTableWidget,
    QWidget,
)

PROMINENT = """
QPushButton { background: #2f6fde; color: white; font-weight: bold; padding: 6px; }
QPushButton:hover { background: #4a85ec; }
QPushButton:disabled { background: #414851; color: #8a8f98; }
"""
ROW_HEIGHT = 24
WIDTH = 316  # of every widget: they are tabs of one dock, and the longest model names fit
GOOD, BAD, QUIET = "#5fc77a", "#ff6b6b", "#8a8f98"
ERROR = f"color: {BAD}; font-weight: bold;"


def scrolled(content: QWidget) -> QScrollArea:
    """Return ``content`` as wide as there is room, with a bar where it is higher."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(content)
    return scroll


def narrowed(combo: QComboBox) -> QComboBox:
    """Return ``combo``, which no longer asks for the room that its longest entry would need."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(4)
    return combo


def breakable(text: str) -> str:
    """Return ``text`` with places where a label may break its long names: after each underscore."""
    return text.replace("_", "_\u200b")


class StatusLine(QLabel):
    """One sentence at the widget's end; hidden while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.hide()

    def say(self, text: str, error: bool = False) -> None:
        """Show ``text``, an error in red and bold."""
        self.setText(text)
        self.setStyleSheet(ERROR if error else "")
        self.setVisible(bool(text))


class ReadingTable(QTableWidget):
    """A table to read: the first column takes the room, and it is as high as its rows, up to some."""

    def __init__(self, columns: tuple[str, ...], most_rows: int):
        super().__init__(0, len(columns))
        self._most_rows = most_rows
        self.setHorizontalHeaderLabels(columns)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # _ED and _ES differ at the end
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def set_rows(self, count: int) -> None:
        """Make room for ``count`` rows, the height included."""
        self.setRowCount(count)
        rows = min(self._most_rows, max(1, count))
        header = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(header + rows * ROW_HEIGHT + 2 * self.frameWidth() + 2)
