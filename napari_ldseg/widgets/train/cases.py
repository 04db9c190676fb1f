"""The project's cases for a training: training cases, held-out cases, and unusable ones."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QTableWidgetItem, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from ...finetuning.comparison import FEWEST_CASES
from ...finetuning.plan import SelectableCase
from ...utils.text import count_text
from ..common.style import QUIET, ReadingTable

MAX_ROWS = 8
ROLES = {"training": "training", "validation": "held out"}
TIPS = {
    "training": "The new model is trained on what is reviewed in it.",
    "validation": "Never used for training: the new and the old model are compared on it.",
}


class TrainingCases(QWidget):
    """One row with a check box per case; unchecked cases stay unchecked while the project changes."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._candidates: Sequence[SelectableCase] = ()
        self._left_out: set[str] = set()
        self.table = ReadingTable(("case", "role", "reviewed"), MAX_ROWS)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.summary)
        self.table.itemChanged.connect(self._on_checked)

    @property
    def chosen(self) -> list[SelectableCase]:
        """The cases that take part."""
        return [c for c in self._candidates if not c.problem and c.name not in self._left_out]

    @property
    def problem(self) -> str:
        """Why no training can start with these cases, or ""."""
        if not self._candidates:
            return "The project has no cases yet: correct a segmentation, then mark it as reviewed."
        if any(c.split == "training" for c in self.chosen):
            return ""
        if any(c.split == "training" and not c.problem for c in self._candidates):
            return "Check at least one training case."
        if all(c.problem for c in self._candidates):
            reasons = {c.problem for c in self._candidates}
            if len(reasons) == 1:
                return reasons.pop()
            return "No case can be used yet; point at a case in the list to read why."
        return "All usable cases are held out; review cases of more patients."

    def show_candidates(self, candidates: Sequence[SelectableCase]) -> None:
        """Show ``candidates``, the usable ones first."""
        ordered = sorted(candidates, key=lambda c: bool(c.problem))
        if ordered == self._candidates:
            return
        self._candidates = ordered
        with signals_blocked(self.table):
            self.table.set_rows(len(ordered))
            for row, candidate in enumerate(ordered):
                self._fill_row(row, candidate)
        self._summarise()
        self.changed.emit()

    def _fill_row(self, row: int, candidate: SelectableCase) -> None:
        share = f"{max(1, int(100 * candidate.reviewed))} %" if candidate.reviewed else "–"
        role = ROLES[candidate.split] if not candidate.problem else "not usable"
        tip = candidate.problem or TIPS[candidate.split]
        tip = f"{candidate.name}\n{tip}\nPatient: {candidate.patient}"
        for column, text in enumerate((candidate.name, role, share)):
            item = QTableWidgetItem(text)
            item.setToolTip(tip)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            if column == 2:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            if candidate.problem:
                item.setForeground(QColor(QUIET))
            elif column == 0:
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
                checked = candidate.name not in self._left_out
                item.setCheckState(Qt.CheckState.Checked if checked else Qt.CheckState.Unchecked)
            self.table.setItem(row, column, item)

    def _on_checked(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            if item.checkState() == Qt.CheckState.Checked:
                self._left_out.discard(item.text())
            else:
                self._left_out.add(item.text())
            self._summarise()
            self.changed.emit()

    def _summarise(self) -> None:
        training = sum(c.split == "training" for c in self.chosen)
        held_out = len(self.chosen) - training
        unusable = sum(bool(c.problem) for c in self._candidates)
        parts = []
        if self.chosen:
            parts.append(f"{count_text(training, 'training case')}.")
            if not held_out:
                parts.append(
                    "No case is held out, so the new model cannot be compared with the old one."
                )
            else:
                few = f" ({FEWEST_CASES} are needed for a verdict)"
                parts.append(f"{count_text(held_out, 'case')} held out to compare the models")
                parts[-1] += f"{few if held_out < FEWEST_CASES else ''}."
        patients = {c.patient for c in self.chosen}
        if len(patients) == 1 < len(self.chosen):
            parts.append(
                f"All are of the patient {patients.pop()}; if that is wrong, correct it in the Project tab."
            )
        if unusable:
            parts.append(
                f"{count_text(unusable, 'case')} cannot be used; point at one to read why."
            )
        self.summary.setText(" ".join(parts))
        self.summary.setVisible(bool(parts))
