"""The list of a layer's classes: colour, name, size and key. A click selects the class to correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QTreeWidget, QTreeWidgetItem, QWidget
from superqt.utils import signals_blocked

from ...checkpoint.metadata import ClassInfo
from ..common.legend import swatch
from ..common.qt import existing, stretch_column
from ..common.sizes import ClassSize
from ..common.style import ROW_HEIGHT

CLASS_KEYS = range(1, 10)
MAX_ROWS = 6


class ClassList(QTreeWidget):
    """As high as its rows, at most six of them; hidden while empty."""

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setColumnCount(3)
        self.setHeaderHidden(True)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        stretch_column(self.header(), 0)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolTip("The class to correct: click on it, or press Ctrl+1 to Ctrl+9")
        self.itemClicked.connect(
            lambda item: self.chosen.emit(item.data(0, Qt.ItemDataRole.UserRole))
        )

    def show_classes(self, classes: Mapping[int, ClassInfo], chosen: int) -> None:
        """Show ``classes`` by label value, with the class ``chosen`` selected."""
        with signals_blocked(self):
            self.clear()
            for number, (value, info) in enumerate(classes.items(), start=1):
                key = f"Ctrl+{number}" if number in CLASS_KEYS else ""
                item = QTreeWidgetItem([info.name, "", key])
                item.setTextAlignment(
                    1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
                item.setIcon(0, swatch(info.colour))
                item.setSizeHint(0, QSize(0, ROW_HEIGHT))
                item.setData(0, Qt.ItemDataRole.UserRole, value)
                code = f", SNOMED CT {info.snomed}" if info.snomed else ""
                item.setToolTip(0, f"Label {value}{code}")
                self.addTopLevelItem(item)
                if value == chosen:
                    self.setCurrentItem(item)
        rows = min(MAX_ROWS, len(classes))
        self.setFixedHeight(ROW_HEIGHT * rows + 2 * self.frameWidth() + 2)
        self.setVisible(bool(classes))

    def show_sizes(self, sizes: Sequence[ClassSize]) -> None:
        """Show the sizes of the classes as they are now."""
        known = {size.value: size for size in sizes}
        for row in range(self.topLevelItemCount()):
            item = existing(self.topLevelItem(row))
            size = known.get(item.data(0, Qt.ItemDataRole.UserRole))
            item.setText(1, "" if size is None else size.text)
            corrected = size is not None and size.corrected
            model = size.model if size is not None else ""
            item.setToolTip(1, f"Corrected; the model's result: {model}" if corrected else "")
