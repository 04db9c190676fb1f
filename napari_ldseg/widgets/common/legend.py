"""The legend of a result: what the uncertainty colours mean, and the size of each class."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QLinearGradient, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import layer_scan
from .layers import SD_RANGE
from .map_colours import map_colormap, ramp_for
from .qt import existing, stretch_column
from .sizes import LabelSizes, Unit, differs
from .style import WarningLine, breakable

MEANING = "Bright means that the model is unsure. A low value does not prove that the model suits this scan."
CORRECTED = "corrected"


class ColourBar(QWidget):
    """The colours of the SD from its lowest to its highest value."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setFixedHeight(12)
        self.show_for(())

    def show_for(self, classes: Sequence[ClassInfo]) -> None:
        """Show the colours that the SD has over ``classes``, without the background."""
        self._colours = map_colormap(ramp_for([info.colour for info in classes])).colors
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Fill the widget with the gradient."""
        gradient = QLinearGradient(0, 0, self.width(), 0)
        last = len(self._colours) - 1
        for i in range(0, last + 1, max(1, last // 16)):
            gradient.setColorAt(i / last, QColor.fromRgbF(*map(float, self._colours[i])))
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        painter.fillRect(self.rect(), gradient)
        painter.end()


class Legend(QWidget):
    """Hidden until there is a result."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._summary: dict = {}
        self._classes: Sequence[ClassInfo] = ()
        self._labels: Labels | None = None
        self._unit = Unit("voxels", 1)
        self._sizes = LabelSizes(self)
        self._sizes.changed.connect(self._on_counted)
        self._sd = QWidget()
        bar = QVBoxLayout(self._sd)
        bar.setContentsMargins(0, 0, 0, 0)
        bar.addWidget(QLabel("Uncertainty: SD of the class probability"))
        self._bar = ColourBar()
        bar.addWidget(self._bar)
        ends = QHBoxLayout()
        for text, side in (
            (f"{SD_RANGE[0]:g} sure", Qt.AlignmentFlag.AlignLeft),
            (f"unsure {SD_RANGE[1]:g}", Qt.AlignmentFlag.AlignRight),
        ):
            ends.addWidget(QLabel(text), alignment=side)
        bar.addLayout(ends)
        meaning = QLabel(MEANING)
        meaning.setWordWrap(True)
        bar.addWidget(meaning)
        self._caption = QLabel()
        self._caption.setWordWrap(True)
        self.warning = WarningLine()
        self._table = QTableWidget(0, 3)
        existing(self._table.verticalHeader()).hide()
        self._table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self._table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self._table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        stretch_column(self._table.horizontalHeader(), 0)
        self._calibration = QLabel()
        self._calibration.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._caption)
        layout.addWidget(self.warning)
        layout.addWidget(self._table)
        layout.addWidget(self._calibration)
        layout.addWidget(self._sd)
        self.hide()

    def show_result(
        self, summary: dict, classes: Sequence[ClassInfo], labels: Labels | None = None
    ) -> None:
        """Show the class sizes of ``Posterior.summary()`` and what the colours of the uncertainty mean.

        ``classes`` are without the background. The sizes follow the corrections of the layer ``labels``.
        """
        shown = summary is self._summary and labels is self._labels
        if shown and list(classes) == list(self._classes):
            self.show()
            return
        self._summary, self._classes, self._labels = summary, classes, labels
        self._unit = _unit(summary, labels)
        self._sizes.watch(labels)
        unit, calibration = self._unit.name, summary["calibrated"]
        last = "interval" if calibration["intervals"] else "samples"
        self._table.setHorizontalHeaderLabels(["class", f"labels\n{unit}", f"{last}\n{unit}"])
        existing(self._table.horizontalHeaderItem(1)).setToolTip("Size in the labels layer")
        existing(self._table.horizontalHeaderItem(2)).setToolTip(
            calibration["meaning"]
            if calibration["intervals"]
            else "Smallest and largest size among the samples"
        )
        self.warning.show_of(summary)
        self._calibration.setText(calibration["meaning"])
        self._bar.show_for(classes)
        self._table.setRowCount(len(classes))
        self._fill()
        self._table.resizeRowsToContents()
        rows = sum(self._table.rowHeight(r) for r in range(self._table.rowCount()))
        header = existing(self._table.horizontalHeader()).sizeHint().height()
        self._table.setFixedHeight(rows + header + 4)
        self.show()

    def clear(self) -> None:
        """Hide the legend and forget its result."""
        self._summary, self._classes, self._labels = {}, (), None
        self._sizes.watch(None)
        self.hide()

    def _on_counted(self) -> None:
        if self._sizes.of_result() is not None:
            self._fill()

    def _fill(self) -> None:
        """Show the sizes; those that differ from the result's have no interval."""
        found, unit = self._sizes.of_result() or {}, self._unit
        self._caption.setText(breakable(_caption(self._summary)))
        for row, info in enumerate(self._classes):
            result = self._summary["classes"].get(info.name)
            size = found.get(info.name, result["size"] if result else 0.0)
            corrected = result is None or differs(size, result["size"])
            if corrected:
                spread = CORRECTED
            else:
                spread = " – ".join(unit.text(end) for end in result["interval"] or ()) or "–"
            for column, text in enumerate((info.name, unit.text(size), spread)):
                item = QTableWidgetItem(text)
                if column == 0:
                    item.setIcon(swatch(info.colour))
                else:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                if column == 2 and corrected and result is not None:
                    item.setToolTip(f"The model's result: {unit.text(result['size'])} {unit.name}")
                self._table.setItem(row, column, item)


def _unit(summary: dict, labels: Labels | None) -> Unit:
    known = {"mm3": Unit("ml", 1000), "mm2": Unit("mm²", 1)}
    flat = labels is not None and layer_scan(labels).space == 2
    return known.get(summary["unit"], Unit("pixels" if flat else "voxels", 1))


def _caption(summary: dict) -> str:
    provenance = summary["provenance"]
    text = f"{provenance['checkpoint']} on {provenance['image']}"
    if summary["part_of_image"]:
        text += ", only the box or slice of this run"
    if summary["time_points"] > 1:
        text += f", mean of {summary['time_points']} time points"
    return f"{text}:"


def swatch(colour: str) -> QIcon:
    """Return an icon that is a small square of ``colour``."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(colour))
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else Qt tints it when selected
    return icon
