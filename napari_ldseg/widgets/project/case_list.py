"""The list of the project's cases."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QWidget
from superqt.utils import signals_blocked

from ...project.schema import CaseRecord
from ..common.qt import existing, stretch_column


class CaseList(QTableWidget):
    """The state and use of each case, sorted by name; unreadable cases come last. One can be selected."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(0, 3, parent)
        self.setHorizontalHeaderLabels(["case", "state", "used for"])
        existing(self.verticalHeader()).hide()
        self.setShowGrid(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(120)
        stretch_column(self.horizontalHeader(), 0)

    @property
    def chosen(self) -> str | None:
        """The name of the selected case."""
        item = self.item(self.currentRow(), 0) if self.selectedItems() else None
        return item.text() if item is not None else None

    def choose(self, name: str) -> None:
        """Select a case."""
        for row in range(self.rowCount()):
            if existing(self.item(row, 0)).text() == name:
                self.selectRow(row)

    def fill(self, records: Mapping[str, CaseRecord], unreadable: Mapping[str, str]) -> None:
        """Show the cases of ``records``, then the unreadable ones with the reason; keep the selection."""
        rows: list[tuple[str, str, str, str]]
        rows = [(name, r.state, r.split, _tip(name, r)) for name, r in records.items()]
        rows += [(name, "cannot be read", "", reason) for name, reason in unreadable.items()]
        chosen = self.chosen
        with signals_blocked(self):
            self.clearSelection()
            self.setRowCount(len(rows))
            for row, (*cells, tip) in enumerate(rows):
                for column, text in enumerate(cells):
                    item = QTableWidgetItem(text)
                    item.setToolTip(tip)
                    self.setItem(row, column, item)
            if chosen is not None:
                self.choose(chosen)


def _tip(name: str, record: CaseRecord) -> str:
    tip = f"{name}\nPatient: {record.patient}"
    if record.sign_off is not None:
        signed = record.sign_off
        tip += f"\nSigned off by {signed.who}, {signed.when}: {signed.verdict}"
    elif record.earlier_sign_offs:
        tip += f"\nChanged since {record.earlier_sign_offs[-1].who} signed it off"
    return tip
