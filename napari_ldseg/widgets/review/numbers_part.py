"""The measurements of each class with their intervals, to read, copy and save."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ...review.measurements import COLUMNS, ClassSize, Interval, LoopArea
from ...utils.atomic import atomic_write
from ..common.legend import swatch
from ..common.qt import existing
from .numbers import Measured, Numbers
from .reviewer import Reviewer
from .small_plots import AreaCurve, Histogram

SWATCH = 12
DIAMETERS_TIP = "The longest diameter in any slice, and the longest perpendicular to it"
CHANGE_TIP = "Fractional area change: the share of the largest area that is gone in the smallest"
PLOT_TIP = "Bars: the sizes of {n} samples. Band: the interval. Line: the labels."


class NumbersPart(QWidget):
    """Shows what ``Numbers`` has measured."""

    def __init__(
        self,
        numbers: Numbers,
        reviewer: Reviewer,
        viewer: ViewerModel,
        parent: QWidget | None = None,
    ):
        super().__init__(parent)
        self._numbers, self._reviewer, self._viewer = numbers, reviewer, viewer
        self.note = QLabel()
        self.note.setWordWrap(True)
        self._cards = QVBoxLayout()
        self._cards.setSpacing(8)
        self.cards: list[ClassCard] = []
        self.curve = AreaCurve()
        self.curve.clicked.connect(self._go_to_frame)
        self.curve_title = QLabel()
        self.copy = QPushButton("Copy")
        self.copy.setToolTip("Copy all numbers, to paste into a spreadsheet")
        self.save = QPushButton("Save …")
        self.save.setToolTip("Save all numbers as a CSV file")
        self.copy.clicked.connect(self._on_copy)
        self.save.clicked.connect(self._on_save)
        buttons = QHBoxLayout()
        for button in (self.copy, self.save):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._cards)
        column.addWidget(self.curve_title)
        column.addWidget(self.curve)
        column.addWidget(self.note)
        column.addLayout(buttons)
        numbers.changed.connect(self.refresh)
        viewer.dims.events.current_step.connect(self._on_step)
        self.refresh()

    def shut_down(self) -> None:
        """Release the viewer."""
        self._viewer.dims.events.current_step.disconnect(self._on_step)

    def refresh(self) -> None:
        """Show the measurements as they are now."""
        measured = self._numbers.measured
        classes = [] if measured is None else [one.value for one in measured.sizes]
        colours = {} if measured is None else {v: measured.classes[v].colour for v in classes}
        if [(card.value, card.colour) for card in self.cards] != list(colours.items()):
            for card in self.cards:
                self._cards.removeWidget(card)
                card.deleteLater()
            self.cards = [ClassCard(value, colour) for value, colour in colours.items()]
            for card in self.cards:
                self._cards.addWidget(card)
        loops = {} if measured is None else {loop.value: loop for loop in measured.loops}
        if measured is not None:
            for card, one in zip(self.cards, measured.sizes, strict=True):
                card.show_size(one, loops.get(one.value), measured)
        for widget in (self.curve, self.curve_title):
            widget.setVisible(bool(loops))
        if measured is not None and loops:
            self.curve_title.setText(f"Area over the frames ({measured.unit.name})")
            self.curve.show_areas(
                [(measured.classes[v].colour, loop.areas, loop.bands) for v, loop in loops.items()],
                measured.unit,
            )
            self._on_step()
        for button in (self.copy, self.save):
            button.setEnabled(measured is not None and not self._numbers.busy)
        self.note.setText(self._note(measured))
        self.note.setToolTip("" if measured is None else measured.calibration)
        self.note.setVisible(bool(self.note.text()))

    def _note(self, measured: Measured | None) -> str:
        if self._reviewer.layer is None:
            return "The sizes of the labels under review appear here."
        if self._numbers.busy or measured is None:
            return "Measuring …"
        intervals = [one.interval for one in measured.sizes if one.interval is not None]
        if not intervals:
            return "No intervals: they need the samples, two or more."
        text = f"{intervals[0].meaning}."
        return text if measured.calibrated else f"{text} The image has no units."

    def _on_copy(self) -> None:
        measured = self._numbers.measured
        if measured is not None:
            existing(QGuiApplication.clipboard()).setText(table_text(measured, "\t"))
            self._numbers.message.emit("The numbers were copied.", False)

    def _on_save(self) -> None:
        measured, layer = self._numbers.measured, self._reviewer.layer
        if measured is None or layer is None:
            return
        name = layer.name.removeprefix("labels · ")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the numbers", f"{name}.csv", "Tables (*.csv)"
        )
        if not chosen:
            return
        path = Path(chosen if chosen.lower().endswith(".csv") else f"{chosen}.csv")
        try:
            with atomic_write(path, ".csv") as temporary:
                text = table_text(measured, ",")
                temporary.write_text(text, encoding="utf-8-sig", newline="")
        except OSError as error:
            reason = error.strerror or error
            self._numbers.message.emit(f"{path} could not be written: {reason}.", True)
            return
        self._numbers.message.emit(f"The numbers were saved as {path.name}.", False)

    def _on_step(self, event: Any = None) -> None:
        layer = self._reviewer.layer
        if layer is not None and layer.ndim >= 3 and self.curve.isVisibleTo(self):
            self.curve.show_frame(round(layer.world_to_data(self._viewer.dims.point)[-3]))

    def _go_to_frame(self, frame: int) -> None:
        layer, dims = self._reviewer.layer, self._viewer.dims
        if layer is not None and layer.ndim >= 3:
            dims.set_point(dims.ndim - 3, layer.data_to_world((frame, 0, 0))[-3])


class ClassCard(QWidget):
    """The measurements of one class."""

    def __init__(self, value: int, colour: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.value, self.colour = value, colour
        icon = QLabel()
        icon.setPixmap(swatch(colour).pixmap(SWATCH, SWATCH))
        self.name, self.total, self.interval = QLabel(), QLabel(), QLabel()
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.more = QLabel()
        self.more.setToolTip(DIAMETERS_TIP)
        self.change = QLabel()
        self.plot = Histogram(colour)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        for column, label in enumerate((icon, self.name, self.total)):
            grid.addWidget(label, 0, column)
        for row, widget in enumerate((self.plot, self.interval, self.more, self.change), start=1):
            grid.addWidget(widget, row, 1, 1, 2)

    def show_size(self, one: ClassSize, loop: LoopArea | None, measured: Measured) -> None:
        """Show the measurements of this class."""
        unit = measured.unit
        self.name.setText(one.name)
        self.name.setToolTip(one.name)
        mean = "" if loop is None else "mean "  # over the frames
        self.total.setText(f"{mean}<b>{unit.text(one.size)} {unit.name}</b>")
        ends = None if one.interval is None else (one.interval.low, one.interval.high)
        self.interval.setVisible(ends is not None)
        if one.interval is not None and ends is not None:
            text = f"95 %: {' – '.join(map(unit.text, ends))} {unit.name}"
            sd = "" if one.mean_sd is None else f" · SD {one.mean_sd:.2f}"
            self.interval.setText(text + sd)
            self.interval.setToolTip(
                f"{one.interval.meaning}; the mean SD of the samples inside the class"
            )
        self.plot.setVisible(len(set(one.sample_sizes)) > 1)  # else nothing varies
        self.plot.setToolTip(PLOT_TIP.format(n=len(one.sample_sizes)))
        self.plot.show_sizes(one.sample_sizes, ends, one.size)
        self.more.setVisible(one.diameters is not None)
        if one.diameters is not None:
            longest, across = one.diameters.longest, one.diameters.perpendicular
            at = ", ".join(str(i) for i in one.diameters.at)
            where = f" · {'frame' if measured.space == 2 else 'slice'} {at}" if at else ""
            self.more.setText(f"Ø {longest:.1f} × {across:.1f} {measured.length_unit}{where}")
        self.change.setVisible(loop is not None and loop.change is not None)
        if loop is not None and loop.change is not None:
            change = _percent(loop.change, loop.change_interval)
            self.change.setText(f"Area change {change}")
            self.change.setToolTip(
                f"{CHANGE_TIP}: from frame {loop.largest} to frame {loop.smallest}"
            )


def table_text(measured: Measured, delimiter: str) -> str:
    """Return all numbers as lines of cells, with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(measured.rows())
    return stream.getvalue()


def _percent(change: float, interval: Interval | None) -> str:
    text = f"{100 * change:.0f} %"
    if interval is None:
        return text
    return f"{text} ({100 * interval.low:.0f} – {100 * interval.high:.0f} %)"
