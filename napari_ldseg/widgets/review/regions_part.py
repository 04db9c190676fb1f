"""The list of uncertain regions, the buttons to go through them, and how much expected error is left."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from ...review.regions import UncertainRegion
from ..common.style import GOOD, QUIET, ReadingTable, breakable
from .keys import key_of, tip
from .reviewer import NO_RESULT, REVIEWED, SKIPPED, TO_DO, Reviewer

ROWS_SHOWN = 6
SWATCH = 12
BACKGROUND_SHOWN = "#55585f"
MARKS = {REVIEWED: "✓", SKIPPED: "later"}


class RegionsPart(QWidget):
    """Shows the reviewer's regions and passes on clicks."""

    def __init__(
        self, reviewer: Reviewer, accept: Callable[[], object], parent: QWidget | None = None
    ):
        super().__init__(parent)
        self._reviewer = reviewer
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.left = QProgressBar()
        self.left.setRange(0, 1000)
        self.left.setToolTip(
            "The expected wrong volume of the result: the sum of the probabilities that each voxel is "
            "wrong. What you have reviewed or painted has none left."
        )
        self.table = ReadingTable(("in doubt", "slice", "wrong", ""), ROWS_SHOWN)
        self.table.setIconSize(QSize(2 * SWATCH + 2, SWATCH))
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keys stay with the image
        self.question = QLabel()
        self.question.setWordWrap(True)
        self.previous = action_button("‹ Previous", "previous", reviewer.previous)
        self.next = action_button("Next ›", "next", reviewer.next)
        self.accept = action_button("Accept", "accept", accept)
        self.correct = action_button("Correct", "correct", reviewer.correct)
        self.border = action_button("Edge", "border", reviewer.draw_border)
        self.skip = action_button("Later", "skip", reviewer.skip)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.summary)
        column.addWidget(self.left)
        column.addWidget(self.table)
        column.addWidget(self.question)
        for buttons in (
            (self.previous, self.next),
            (self.accept, self.skip),
            (self.correct, self.border),
        ):
            row = QHBoxLayout()
            for button in buttons:
                row.addWidget(button)
            column.addLayout(row)
        self.table.cellClicked.connect(lambda row, _: reviewer.go_to(row))
        reviewer.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the regions and states as they are now."""
        reviewer = self._reviewer
        has_result, regions = reviewer.layer is not None, reviewer.regions
        self.table.setVisible(bool(regions))
        self.left.setVisible(has_result and not reviewer.busy)
        self.summary.setText(breakable(self._summary()))
        self.question.setText(self._question())
        self.question.setVisible(bool(self.question.text()))
        left, total = reviewer.error_left
        self.left.setValue(round(1000 * (1 - left / total)) if total else 1000)
        unit = reviewer.unit
        self.left.setFormat(f"expected error left: {unit.text(left)} {unit.name}")
        for button in (self.previous, self.next):
            button.setEnabled(bool(regions))
        for button in (self.accept, self.skip):
            button.setEnabled(reviewer.region is not None)
        for button in (self.correct, self.border):
            button.setEnabled(has_result)
        self._fill()

    def _summary(self) -> str:
        reviewer = self._reviewer
        if reviewer.layer is None:
            return NO_RESULT
        if reviewer.busy:
            return "Looking for uncertain regions …"
        if not reviewer.regions:
            return f"<b>{reviewer.layer.name}</b> has no uncertain region; it may still be wrong."
        to_do = sum(state != REVIEWED for state in reviewer.states)
        return (
            f"<b>{reviewer.layer.name}</b>: {to_do} of {len(reviewer.regions)} regions to review."
        )

    def _question(self) -> str:
        reviewer, region = self._reviewer, self._reviewer.region
        if region is None or reviewer.current is None:
            return ""
        state = f" ({reviewer.states[reviewer.current]})" * (
            reviewer.states[reviewer.current] != TO_DO
        )
        return (
            f"Region {reviewer.current + 1} of {len(reviewer.regions)}{state}: "
            f"<b>{self._names(region)}?</b>"
        )

    def _names(self, region: UncertainRegion) -> str:
        return " or ".join(self._reviewer.name_of(c) for c in region.classes)

    def _fill(self) -> None:
        reviewer, unit = self._reviewer, self._reviewer.unit
        self.table.set_rows(len(reviewer.regions))
        flat = reviewer.layer is None or reviewer.layer.ndim < 3
        self.table.setColumnHidden(1, flat)
        self.table.setHorizontalHeaderItem(2, QTableWidgetItem(f"wrong {unit.name}"))
        with signals_blocked(self.table):
            self.table.clearSelection()
            for row, (region, state) in enumerate(
                zip(reviewer.regions, reviewer.states, strict=True)
            ):
                names = self._names(region)
                where = ", ".join(str(i) for i in region.peak[:-2])
                size = unit.text(region.expected)
                for column, text in enumerate((names, where, size, MARKS.get(state, ""))):
                    item = QTableWidgetItem(text)
                    item.setToolTip(
                        f"{names}: {size} {unit.name} are expected to be wrong; {state}"
                    )
                    if column == 0:
                        item.setIcon(pair_of_swatches(*(self._colour(c) for c in region.classes)))
                    if state == REVIEWED:
                        item.setForeground(QColor(GOOD if column == 3 else QUIET))
                    if column == 2:
                        item.setTextAlignment(
                            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                        )
                    self.table.setItem(row, column, item)
            if reviewer.current is not None:
                self.table.selectRow(reviewer.current)
                self.table.scrollToItem(self.table.item(reviewer.current, 0))

    def _colour(self, value: int) -> str:
        target = self._reviewer.target
        info = None if target is None else target.classes.get(value)
        return BACKGROUND_SHOWN if value == 0 or info is None else info.colour


def pair_of_swatches(first: str, second: str) -> QIcon:
    """Return an icon of two small squares."""
    pixmap = QPixmap(2 * SWATCH + 2, SWATCH)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.fillRect(0, 0, SWATCH, SWATCH, QColor(first))
    painter.fillRect(SWATCH + 2, 0, SWATCH, SWATCH, QColor(second))
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else Qt tints it when selected
    return icon


def action_button(text: str, action: str, run: Callable[[], object]) -> QPushButton:
    """Return a button with the key and the tip of ``action``; the keys stay with the image."""
    button = QPushButton(f"{text}  ({key_of(action)})")
    button.setToolTip(tip(action))
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    button.clicked.connect(lambda: run())
    return button
