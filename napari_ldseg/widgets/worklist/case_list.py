"""The list of the entries: a thumbnail, the name, the expected error and the status of each."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QKeyEvent, QPainter
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from ...batch.worklist import CORRECTED, REVIEWED, SIGNED_OFF, TO_DO, Entry
from ..common.style import GOOD, QUIET
from .thumbnails import Thumbnails

ROW, PICTURE, MARGIN = 76, 68, 6
ACCENT = "#4a85ec"
COLOURS = {TO_DO: "#e6a23c", CORRECTED: ACCENT, REVIEWED: GOOD, SIGNED_OFF: GOOD}
ENTRY, PIXMAP, IS_OPEN = (Qt.ItemDataRole.UserRole + n for n in range(1, 4))


class EntryModel(QAbstractListModel):
    """The entries that are listed; a thumbnail is made when its row is drawn for the first time."""

    def __init__(self, thumbnails: Thumbnails, parent: QObject):
        super().__init__(parent)
        self.entries: list[Entry] = []
        self._thumbnails = thumbnails
        self._open: str | None = None
        thumbnails.made.connect(self._on_made)

    def show_entries(self, entries: list[Entry], open_name: str | None) -> None:
        """List ``entries`` and mark the one that is open."""
        if [e.name for e in entries] != [e.name for e in self.entries]:
            self.beginResetModel()
            self.entries, self._open = entries, open_name
            self.endResetModel()
        elif entries != self.entries or open_name != self._open:
            self.entries, self._open = entries, open_name
            self.dataChanged.emit(self.index(0), self.index(len(entries) - 1))

    def row_of(self, name: str | None) -> int:
        """Return the row of an entry, -1 if it is not listed."""
        return next((row for row, entry in enumerate(self.entries) if entry.name == name), -1)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of rows."""
        return len(self.entries)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what ``role`` asks for."""
        if not 0 <= index.row() < len(self.entries):
            return None
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.name}, {entry.status}, {error_text(entry)}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(entry)
        if role == PIXMAP:
            return self._thumbnails.get(entry)
        if role == ENTRY:
            return entry
        return entry.name == self._open if role == IS_OPEN else None

    def _on_made(self, name: str) -> None:
        row = self.row_of(name)
        if row >= 0:
            self.dataChanged.emit(self.index(row), self.index(row))


class EntryDelegate(QStyledItemDelegate):
    """Draws an entry on two lines beside its thumbnail."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Return the height of every row."""
        return QSize(0, ROW)

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Draw one row."""
        entry = index.data(ENTRY)
        if painter is None or entry is None:
            return
        painter.save()
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        self._draw_ground(painter, option, bool(index.data(IS_OPEN)))
        area = option.rect.adjusted(MARGIN, 4, -MARGIN, -4)
        box = QRect(area.left(), area.top(), PICTURE, PICTURE)
        self._draw_picture(painter, box, index)
        text = area.adjusted(PICTURE + 10, 9, 0, -9)
        self._draw_text(painter, option, text, entry)
        painter.restore()

    def _draw_ground(self, painter: QPainter, option: QStyleOptionViewItem, is_open: bool) -> None:
        chosen = option.state & QStyle.StateFlag.State_Selected
        over = option.state & QStyle.StateFlag.State_MouseOver
        ground = QColor(255, 255, 255, 26 if chosen else 12 if over else 0)
        painter.fillRect(option.rect, ground)
        if is_open:
            painter.fillRect(QRect(option.rect.topLeft(), QSize(3, ROW)), QColor(ACCENT))

    def _draw_picture(self, painter: QPainter, box: QRect, index: QModelIndex) -> None:
        painter.fillRect(box, QColor(0, 0, 0, 90))
        picture = index.data(PIXMAP)
        if picture is not None and not picture.isNull():
            size = picture.size().scaled(box.size(), Qt.AspectRatioMode.KeepAspectRatio)
            target = QRect(box.topLeft(), size)
            target.moveCenter(box.center())
            painter.drawPixmap(target, picture)

    def _draw_text(
        self, painter: QPainter, option: QStyleOptionViewItem, area: QRect, entry: Entry
    ) -> None:
        upper = QRect(area.left(), area.top(), area.width(), area.height() // 2)
        lower = upper.translated(0, area.height() // 2)
        font = QFont(option.font)
        font.setBold(entry.status == TO_DO)
        painter.setFont(font)
        painter.setPen(option.palette.text().color())
        name = painter.fontMetrics().elidedText(
            entry.name, Qt.TextElideMode.ElideMiddle, upper.width()
        )
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(upper, left | middle, name)
        painter.setFont(option.font)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(COLOURS[entry.status]))
        painter.drawEllipse(lower.left() + 1, lower.center().y() - 3, 7, 7)
        painter.setPen(option.palette.text().color())
        painter.drawText(lower.adjusted(14, 0, 0, 0), left | middle, entry.status)
        painter.setPen(QColor(QUIET))
        painter.drawText(lower, right | middle, error_text(entry))


class CaseList(QListView):
    """The entries, one of which can be chosen; ``opened`` is emitted with the name to open."""

    opened = Signal(str)
    chosen_changed = Signal()

    def __init__(self, thumbnails: Thumbnails, parent: QWidget | None = None):
        super().__init__(parent)
        self.entries = EntryModel(thumbnails, self)
        self.setModel(self.entries)
        self.setItemDelegate(EntryDelegate(self))
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(3 * ROW)
        self.clicked.connect(self._open)

    @property
    def chosen(self) -> str | None:
        """The name of the chosen entry."""
        index = self.currentIndex()
        return index.data() if index.isValid() else None

    def choose(self, name: str | None) -> None:
        """Choose an entry and scroll to it; nothing if it is not listed."""
        row = self.entries.row_of(name)
        if row >= 0:
            index = self.entries.index(row)
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def show_entries(self, entries: list[Entry], open_name: str | None) -> None:
        """List ``entries``; the chosen one stays chosen."""
        chosen = self.chosen
        self.entries.show_entries(entries, open_name)
        if self.chosen != chosen:
            self.choose(chosen)
        self.chosen_changed.emit()

    def currentChanged(self, current: QModelIndex, previous: QModelIndex) -> None:
        """Report another choice."""
        super().currentChanged(current, previous)
        self.chosen_changed.emit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Open the chosen entry with Enter; letters are the viewer's keys, not a search in the list."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._open(self.currentIndex())
        elif event is not None and event.text().isalnum():
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _open(self, index: QModelIndex) -> None:
        if index.isValid():
            self.opened.emit(index.data())


def error_text(entry: Entry) -> str:
    """Return the expected error of ``entry`` as text."""
    error = entry.expected_error
    return "expected error –" if error is None else f"expected error {error:.2f}"


def _tip(entry: Entry) -> str:
    lines = [entry.name]
    if entry.result is not None:
        lines.append(str(entry.result.images[0]))
    if entry.case is not None and entry.case != entry.name:
        lines.append(f"{entry.case} in the project")
    return "\n".join(lines)
