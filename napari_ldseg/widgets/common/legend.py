"""The legend of a result: what the uncertainty colours mean, and the size of each class."""

from __future__ import annotations

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

from ...checkpoint.metadata import Metadata
from .layers import SD_RANGE, sd_colormap
from .qt import existing, stretch_column
from .style import breakable

MEANING = "Bright means that the samples disagree. A low value does not prove that the model suits this scan."
UNITS = {"mm3": "ml", "mm2": "cm²", "voxels": "voxels"}
PER_SHOWN_UNIT = {"mm3": 1000.0, "mm2": 100.0, "voxels": 1.0}


class ColourBar(QWidget):
    """The SD colormap from its lowest to its highest value."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setFixedHeight(12)
        self._colours = sd_colormap().colors

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
        self._sd = QWidget()
        bar = QVBoxLayout(self._sd)
        bar.setContentsMargins(0, 0, 0, 0)
        bar.addWidget(QLabel("Uncertainty: SD of the samples"))
        bar.addWidget(ColourBar())
        ends = QHBoxLayout()
        for text, side in (
            (f"{SD_RANGE[0]:g} agree", Qt.AlignmentFlag.AlignLeft),
            (f"disagree {SD_RANGE[1]:g}", Qt.AlignmentFlag.AlignRight),
        ):
            ends.addWidget(QLabel(text), alignment=side)
        bar.addLayout(ends)
        meaning = QLabel(MEANING)
        meaning.setWordWrap(True)
        bar.addWidget(meaning)
        self._caption = QLabel()
        self._caption.setWordWrap(True)
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
        layout.addWidget(self._table)
        layout.addWidget(self._calibration)
        layout.addWidget(self._sd)
        self.hide()

    def show_summary(self, summary: dict, metadata: Metadata) -> None:
        """Show the class sizes of ``Posterior.summary()`` and, from two samples on, the colour bar."""
        unit, per = UNITS[summary["unit"]], PER_SHOWN_UNIT[summary["unit"]]
        counted = summary["unit"] == "voxels"
        calibration = summary["calibrated"]
        last = "interval" if calibration["intervals"] else "samples"
        self._table.setHorizontalHeaderLabels(["class", f"labels\n{unit}", f"{last}\n{unit}"])
        self._caption.setText(breakable(_caption(summary)))
        self._table.setRowCount(len(metadata.classes) - 1)
        for row, info in enumerate(metadata.classes[1:]):
            sizes = summary["classes"][info.name]
            ends = [_size_text(size / per, counted) for size in sizes["interval"] or ()]
            spread = " – ".join(ends) or "–"
            cells = (info.name, _size_text(sizes["size"] / per, counted), spread)
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                if column == 0:
                    item.setIcon(swatch(info.colour))
                else:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self._table.setItem(row, column, item)
        existing(self._table.horizontalHeaderItem(1)).setToolTip(
            "Size in the labels layer, before any edit"
        )
        existing(self._table.horizontalHeaderItem(2)).setToolTip(
            calibration["meaning"]
            if calibration["intervals"]
            else "Smallest and largest size among the samples"
        )
        self._calibration.setText(calibration["meaning"])
        self._table.resizeRowsToContents()
        rows = sum(self._table.rowHeight(r) for r in range(self._table.rowCount()))
        header = existing(self._table.horizontalHeader()).sizeHint().height()
        self._table.setFixedHeight(rows + header + 4)
        self._sd.setVisible(summary["mean_sample_sd"] is not None)
        self.show()


def _caption(summary: dict) -> str:
    provenance = summary["provenance"]
    text = f"{provenance['checkpoint']} on {provenance['image']}"
    if summary["part_of_image"]:
        text += ", only the box or slice of this run"
    if summary["time_points"] > 1:
        text += f", mean of {summary['time_points']} time points"
    return f"{text}, before any edits:"


def _size_text(value: float, counted: bool) -> str:
    return f"{value:.0f}" if counted or value >= 100 else f"{value:#.3g}"


def swatch(colour: str) -> QIcon:
    """Return an icon that is a small square of ``colour``."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(colour))
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # else Qt tints it when selected
    return icon
