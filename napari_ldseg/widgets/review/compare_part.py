"""The controls of a comparison, its table and the legend of the overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...errors import LDSegError
from ...scans.files import SUFFIXES
from ..common.legend import swatch
from ..common.style import ReadingTable, breakable, narrowed
from .comparer import COLOURS, Comparer, Result

ROWS_SHOWN = 6
SWATCH = 12
TIPS = (
    "",
    "Dice similarity coefficient: 1 is the same, 0 has nothing in common",
    "95th percentile of the distances between the surfaces, the larger of both directions",
    "Size in the second minus size in the first",
)


class ComparePart(QWidget):
    """Shows the comparer's result and passes on clicks."""

    def __init__(self, comparer: Comparer, parent: QWidget | None = None):
        super().__init__(parent)
        self._comparer = comparer
        self.first, self.second = narrowed(QComboBox()), narrowed(QComboBox())
        self.first.setToolTip("The labels to compare")
        self.second.setToolTip("Other labels of the same image, or a reference file")
        self.file = QPushButton("Reference file …")
        self.file.setToolTip("Compare with labels in a file, on the same voxels")
        self.compare = QPushButton("Compare")
        self.compare.setToolTip("Compute the numbers and show where the labels differ")
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Remove the overlay and the numbers")
        self.table = ReadingTable(("class", "DSC", "HD95", "change"), ROWS_SHOWN)
        for column, text in enumerate(TIPS):
            item = self.table.horizontalHeaderItem(column)
            if item is not None:
                item.setToolTip(text)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.legend = Legend()
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("First", self.first)
        form.addRow("Second", self.second)
        form.addRow("", self.file)
        buttons = QHBoxLayout()
        buttons.addWidget(self.compare, 2)
        buttons.addWidget(self.clear, 1)
        column_ = QVBoxLayout(self)
        column_.setContentsMargins(0, 0, 0, 0)
        column_.addLayout(form)
        column_.addLayout(buttons)
        column_.addWidget(self.note)
        column_.addWidget(self.table)
        column_.addWidget(self.legend)
        self.first.activated.connect(lambda _: self.refresh())
        self.second.activated.connect(lambda _: self._refresh_buttons())
        self.file.clicked.connect(lambda: self._on_file())
        self.compare.clicked.connect(lambda: self._on_compare())
        self.clear.clicked.connect(lambda: comparer.clear())
        comparer.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the layers that can be compared, and the result."""
        comparer = self._comparer
        _fill(self.first, [(layer.name, layer) for layer in comparer.layers()])
        first = self.first.currentData()
        layers = [] if first is None else [(o.name, o) for o in comparer.others(first)]
        _fill(self.second, layers + [(f"file: {name}", name) for name in comparer.files])
        self._refresh_buttons()
        result = comparer.result
        self.note.setText(self._note())
        self.note.setVisible(bool(self.note.text()))
        self.table.setVisible(result is not None and bool(result.comparison.classes))
        self.legend.setVisible(result is not None)
        if result is not None:
            self._fill_table(result)
            self.legend.show_names(result.first, result.second)

    def _refresh_buttons(self) -> None:
        chosen = self.first.currentData() is not None
        self.file.setEnabled(chosen)
        both = chosen and self.second.currentData() is not None
        self.compare.setEnabled(both and not self._comparer.busy)
        self.clear.setEnabled(self._comparer.result is not None)

    def _note(self) -> str:
        comparer = self._comparer
        if comparer.busy:
            return "Comparing …"
        if comparer.result is not None and comparer.outdated:
            return "The labels have changed since; press Compare again."
        if comparer.result is not None and not comparer.result.comparison.classes:
            return "Both are empty."
        if self.first.currentData() is None:
            return "There are no labels yet."
        if self.second.currentData() is None:
            return "No other labels are on this image; choose a reference file."
        return ""

    def _fill_table(self, result: Result) -> None:
        lengths = "mm" if result.calibrated else "pixels"
        for column, title in ((2, f"HD95\n{lengths}"), (3, f"change\n{result.unit.name}")):
            item = self.table.horizontalHeaderItem(column)
            if item is not None:
                item.setText(title)
        classes = result.comparison.classes
        self.table.set_rows(len(classes))
        for row, one in enumerate(classes):
            sign = "+" if one.difference > 0 else "−" if one.difference < 0 else ""
            cells = (
                result.names.get(one.value, f"label {one.value}"),
                f"{one.dsc:.3f}",
                "–" if one.hd95 is None else f"{one.hd95:.1f}",
                f"{sign}{result.unit.text(abs(one.difference))}",
            )
            sizes = (
                f"{result.unit.text(size)} {result.unit.name}" for size in (one.first, one.second)
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                elif one.value in result.colours:
                    item.setIcon(swatch(result.colours[one.value]))
                self.table.setItem(row, column, item)
            existing_item = self.table.item(row, 3)
            if existing_item is not None:
                existing_item.setToolTip(" → ".join(sizes))

    def _on_file(self) -> None:
        first = self.first.currentData()
        if first is None:
            return
        kinds = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        chosen, _ = QFileDialog.getOpenFileName(self, "Reference labels", "", f"Labels ({kinds})")
        if not chosen:
            return
        try:
            name = self._comparer.add_file(Path(chosen), first)
        except LDSegError as error:
            self._comparer.message.emit(str(error), True)
            return
        self.refresh()
        self.second.setCurrentIndex(self.second.findText(f"file: {name}"))
        self._on_compare()

    def _on_compare(self) -> None:
        first, second = self.first.currentData(), self.second.currentData()
        if first is None or second is None:
            return
        try:
            self._comparer.compare(first, second)
        except LDSegError as error:
            self._comparer.message.emit(str(error), True)


class Legend(QWidget):
    """What the overlay's three colours mean."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(2)
        self.texts = [QLabel() for _ in COLOURS]
        for colour, text in zip(COLOURS, self.texts, strict=True):
            icon = QLabel()
            icon.setPixmap(swatch(colour).pixmap(SWATCH, SWATCH))
            text.setWordWrap(True)
            form.addRow(icon, text)

    def show_names(self, first: str, second: str) -> None:
        """Show the meaning for labels of these names."""
        meanings = (f"only in {first}", f"only in {second}", "in both, of different classes")
        for text, meaning in zip(self.texts, meanings, strict=True):
            text.setText(breakable(meaning))


def _fill(combo: QComboBox, entries: list[tuple[str, Labels | str]]) -> None:
    """Offer ``entries`` of text and data; the choice stays if it is still there."""
    before: Any = combo.currentData()
    combo.clear()
    for text, data in entries:
        combo.addItem(text, data)
    for row, (_, data) in enumerate(entries):
        if data is before:
            combo.setCurrentIndex(row)
