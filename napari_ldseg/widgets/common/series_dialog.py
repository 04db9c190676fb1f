"""The dialog that asks which of the series in a DICOM folder to open."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...scans.dicom.series import Series
from .qt import existing

HEADINGS = ("series", "modality", "description", "size", "images")
DESCRIPTION = 2
ROWS_SHOWN = 12


class SeriesDialog(QDialog):
    """A table with one series per row, of which any number can be selected; the largest one is at first.

    It shows what was imaged, never whose image it is.
    """

    def __init__(self, parent: QWidget | None, series: list[Series]):
        super().__init__(parent)
        self.setWindowTitle("Open DICOM series")
        self._series = series
        self.table = QTableWidget(len(series), len(HEADINGS))
        self.table.setHorizontalHeaderLabels(list(HEADINGS))
        existing(self.table.verticalHeader()).hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setShowGrid(False)
        for row, one in enumerate(series):
            for column, text in enumerate(_cells(one)):
                item = QTableWidgetItem(text)
                if column > DESCRIPTION:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(row, column, item)
        header = existing(self.table.horizontalHeader())
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(DESCRIPTION, QHeaderView.ResizeMode.Stretch)
        self.table.doubleClicked.connect(self.accept)
        self.table.itemSelectionChanged.connect(self._show_count)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self._open = existing(buttons.button(QDialogButtonBox.StandardButton.Open))
        layout = QVBoxLayout(self)
        layout.addWidget(
            QLabel(f"This folder holds {len(series)} series. Select those to open as layers.")
        )
        layout.addWidget(self.table)
        layout.addWidget(buttons)
        self.resize(620, 150 + 30 * min(len(series), ROWS_SHOWN))
        self.table.selectRow(max(range(len(series)), key=lambda i: series[i].voxels))

    @property
    def chosen(self) -> list[Series]:
        """The selected series, in the order of the table."""
        rows = {index.row() for index in existing(self.table.selectionModel()).selectedRows()}
        return [one for row, one in enumerate(self._series) if row in rows]

    def _show_count(self) -> None:
        self._open.setEnabled(bool(self.chosen))


def _cells(series: Series) -> tuple[str, ...]:
    first = series.headers[0]
    _, rows, columns, _ = first.shape
    count, unit = series.images, series.unit
    images = f"{count} {unit}{'s' * (count != 1)}"
    number = first.number or "–"
    return number, first.modality, series.description, f"{columns} × {rows}", images
