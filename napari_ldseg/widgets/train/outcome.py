"""The outcome of a training: the old and the new model on the held-out cases."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QPushButton, QTableWidgetItem, QVBoxLayout, QWidget

from ...finetuning.comparison import EQUAL, CaseChange, Comparison
from ...finetuning.launch import FineTuningRun
from ..common.style import BAD, GOOD, PROMINENT, ReadingTable
from .plot_view import PlotView

MAX_ROWS = 8
ADVICE = {"better": "use", "worse": "keep", "same": "keep"}


class TrainingOutcome(QWidget):
    """The verdict, the change per case, and a plot; the user decides between the models."""

    used = Signal()
    kept = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.use = QPushButton("Use the new model")
        self.keep = QPushButton("Keep the old one")
        self.use.setToolTip("Segment with the new model from now on")
        self.keep.setToolTip("The new model stays in the list of the project's models")
        self.table = ReadingTable(("DSC of case", "before", "after", "change"), MAX_ROWS)
        self.plot = PlotView("Before and after, on the held-out cases")
        # One above the other: side by side they do not fit a narrow dock.
        buttons = QVBoxLayout()
        buttons.addWidget(self.use)
        buttons.addWidget(self.keep)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.verdict)
        layout.addLayout(buttons)
        layout.addWidget(self.table)
        layout.addWidget(self.plot)
        self.use.clicked.connect(self.used)
        self.keep.clicked.connect(self.kept)

    def show_outcome(self, run: FineTuningRun, comparison: Comparison | None) -> None:
        """Show ``comparison`` and highlight the recommended button."""
        self.title.setText(f"<b>{escape(run.config.name)}</b> is ready")
        advice = "keep"
        if comparison is None:
            self.verdict.setText(
                "The comparison with the old model cannot be read; keep the old model."
            )
            self._fill((), ())
        else:
            verdict = comparison.verdict
            self.verdict.setText(f"{verdict.text} {comparison.warning}".strip())
            unmeasured = verdict.kind == "none" and comparison.base is not None
            advice = "keep" if unmeasured else ADVICE.get(verdict.kind, "")
            self._fill(comparison.changes, comparison.classes)
        self.use.setStyleSheet(PROMINENT if advice == "use" else "")
        self.keep.setStyleSheet(PROMINENT if advice == "keep" else "")
        self.plot.show_file(run.folder / "comparison.png")

    def _fill(self, changes: tuple[CaseChange, ...], classes: tuple[str, ...]) -> None:
        self.table.setVisible(bool(changes))
        self.table.set_rows(len(changes))
        ordered = sorted(changes, key=lambda c: (c.gain is None, c.gain or 0.0))
        for row, change in enumerate(ordered):
            gain = change.gain
            cells = (change.case, *map(_dice, change.means), _signed(gain))
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(_per_class(change, classes))
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                if column == 3 and gain is not None and abs(gain) > EQUAL:
                    item.setForeground(QColor(GOOD if gain > 0 else BAD))
                self.table.setItem(row, column, item)


def _dice(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _per_class(change: CaseChange, classes: tuple[str, ...]) -> str:
    before = change.before or (None,) * len(classes)
    rows = [
        row for row in zip(classes, before, change.after, strict=False) if row[0] not in change.new
    ]
    lines = [f"{name}: {_dice(old)} before, {_dice(new)} after" for name, old, new in rows]
    lines += [
        f"{name}: {new:.3f}, a class that is new to the model" for name, new in change.new.items()
    ]
    return "\n".join([f"{change.case}, DSC where reviewed", *lines])
