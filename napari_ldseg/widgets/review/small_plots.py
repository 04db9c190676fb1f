"""Two small plots: the sizes of the samples, and areas over the frames of a loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from ..common.sizes import Unit
from ..common.style import QUIET

BINS = 12
MARGIN = 4
HEADROOM = 1.2  # of the highest value, for the text
TEXT = 14  # from the top line down to the text below it


class Histogram(QWidget):
    """The sizes of the samples as bars, their interval as a band, the size of the labels as a line."""

    def __init__(self, colour: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.setFixedHeight(26)
        self._colour = QColor(colour)
        self._sizes: Sequence[float] = ()
        self._interval: tuple[float, float] | None = None
        self._size = 0.0

    def show_sizes(
        self, sizes: Sequence[float], interval: tuple[float, float] | None, size: float
    ) -> None:
        """Show the ``sizes`` of the samples, their ``interval``, and the ``size`` of the labels."""
        self._sizes, self._interval, self._size = sizes, interval, size
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw bars, band and line."""
        if not self._sizes:
            return
        values = [*self._sizes, *(self._interval or ()), self._size]
        low, high = min(values), max(values)
        span = (high - low) or 1.0
        width, height = self.width() - 2 * MARGIN, self.height() - 2

        def x(value: float) -> float:
            return MARGIN + (value - low) / span * width

        painter = QPainter(self)
        if self._interval is not None:
            left, right = (x(end) for end in self._interval)
            band = QColor(self._colour)
            band.setAlpha(60)
            painter.fillRect(QRectF(left, 0, max(right - left, 1.0), height), band)
        counts, edges = np.histogram(self._sizes, BINS, (low, low + span))
        grey = QColor(QUIET)
        for count, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
            bar = height * 0.85 * count / counts.max()
            painter.fillRect(QRectF(x(start) + 1, height - bar, x(stop) - x(start) - 2, bar), grey)
        painter.fillRect(QRectF(0, height, self.width(), 1), grey)
        painter.setPen(QPen(self._colour, 3))
        painter.drawLine(QPointF(x(self._size), 0), QPointF(x(self._size), height))
        painter.end()


class AreaCurve(QWidget):
    """Areas over the frames with their bands, a line at the frame shown; a click goes to a frame."""

    clicked = Signal(int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setFixedHeight(120)
        self.setToolTip("Area in each frame, with the band of the samples. Click to go to a frame.")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.frame = 0
        self._unit = Unit("pixels", 1)
        self._curves: list[
            tuple[QColor, Sequence[float], Sequence[tuple[float, float]] | None]
        ] = []

    def show_areas(
        self,
        curves: Sequence[tuple[str, Sequence[float], Sequence[tuple[float, float]] | None]],
        unit: Unit,
    ) -> None:
        """Show curves of (colour, area per frame, band per frame or None), and the top in ``unit``."""
        self._unit = unit
        self._curves = [(QColor(colour), areas, bands) for colour, areas, bands in curves]
        self.update()

    def show_frame(self, frame: int) -> None:
        """Mark ``frame``."""
        if frame != self.frame:
            self.frame = frame
            self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bands, the curves and the mark."""
        if not self._curves:
            return
        frames = len(self._curves[0][1])
        tops = [max(areas) for _, areas, _ in self._curves]
        tops += [max(high for _, high in bands) for _, _, bands in self._curves if bands]
        top = max(tops) * HEADROOM or 1.0
        height = self.height() - 2 * MARGIN

        def point(frame: int, value: float) -> QPointF:
            return QPointF(self._x(frame, frames), MARGIN + (1 - value / top) * height)

        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(QUIET), 1))
        painter.drawLine(point(0, 0), point(frames - 1, 0))
        painter.drawLine(point(0, top), point(frames - 1, top))
        painter.drawText(point(0, top) + QPointF(0, TEXT), self._unit.text(top))
        painter.setPen(QPen(QColor(QUIET), 1, Qt.PenStyle.DashLine))
        painter.drawLine(point(self.frame, 0), point(self.frame, top))
        for colour, areas, bands in self._curves:
            if bands:
                band = QColor(colour)
                band.setAlpha(70)
                outline = [point(i, high) for i, (_, high) in enumerate(bands)]
                outline += [point(i, low) for i, (low, _) in enumerate(bands)][::-1]
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(band)
                painter.drawPolygon(QPolygonF(outline))
            painter.setPen(QPen(colour, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPolyline(QPolygonF([point(i, area) for i, area in enumerate(areas)]))
            if self.frame < len(areas):
                painter.setBrush(colour)
                painter.drawEllipse(point(self.frame, areas[self.frame]), 3, 3)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the frame that was clicked."""
        if event is None or not self._curves:
            return
        frames = len(self._curves[0][1])
        places = [abs(self._x(i, frames) - event.position().x()) for i in range(frames)]
        self.clicked.emit(int(np.argmin(places)))

    def _x(self, frame: int, frames: int) -> float:
        return MARGIN + frame / max(frames - 1, 1) * (self.width() - 2 * MARGIN)
