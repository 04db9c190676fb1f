"""Text over the canvas: orientation letters at its edges, and where the slice and the cursor are in the patient."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QObject, QRectF, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPainterPath, QPaintEvent, QPen
from qtpy.QtWidgets import QLabel, QWidget

from ...layers.anatomy import Anatomy, coordinate_text, letters, position_text
from .canvas import camera_of, native_canvas
from .per_viewer import OnePerViewer
from .upright import PLANES, plane_of, reference_layer, upright_of

MARGIN = 10
PAUSE_MS = 30  # between two readings of the cursor
LIGHT = "#ffe9a8"
GROUND = QColor(0, 0, 0, 150)
LETTER_POINTS, POSITION_POINTS = 15, 10


class OutlinedText(QLabel):
    """Light text, small on a dark ground, large with a dark outline, to read on every image and theme.

    Clicks go through it.
    """

    def __init__(self, points: int, parent: QWidget | None = None):
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        font = self.font()
        font.setPointSize(points)
        font.setBold(points >= LETTER_POINTS)
        self.setFont(font)

    def show_text(self, text: str) -> None:
        """Show ``text``, of one or more lines; hide with none."""
        self.setText(text)
        self.resize(outlined_size(text, self.font()))
        self.setVisible(bool(text))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the text."""
        painter = QPainter(self)
        if not self.font().bold():
            painter.setBrush(GROUND)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.drawRoundedRect(self.rect(), 3, 3)
        paint_outlined(painter, QRectF(self.rect()), self.text(), self.font())
        painter.end()


def outlined_size(text: str, font: QFont) -> QSize:
    """Return the size that ``text`` needs."""
    metrics = QFontMetricsF(font)
    lines = text.split("\n")
    width = max(metrics.horizontalAdvance(line) for line in lines)
    return QRectF(0, 0, width + 6, metrics.height() * len(lines) + 4).toAlignedRect().size()


def paint_outlined(
    painter: QPainter, where: QRectF, text: str, font: QFont, colour: str = LIGHT
) -> None:
    """Paint ``text`` from the top left of ``where``; bold text with a dark outline."""
    metrics, path = QFontMetricsF(font), QPainterPath()
    for row, line in enumerate(text.split("\n")):
        y = where.y() + 2 + metrics.ascent() + row * metrics.height()
        path.addText(where.x() + 3, y, font, line)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    if font.bold():
        pen = QPen(QColor(0, 0, 0, 200), 3)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.strokePath(path, pen)
    painter.fillPath(path, QColor(colour))


class CanvasText(QObject):
    """Keeps the text over the canvas of one viewer; there is none for layers without a known orientation."""

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        self._viewer = ref(viewer)
        self._canvas = native_canvas(viewer)
        self._anatomy: Anatomy | None = None
        self._enabled = True
        if self._canvas is None:
            return
        self.edges = {
            edge: OutlinedText(LETTER_POINTS, self._canvas)
            for edge in ("left", "right", "top", "bottom")
        }
        self.position = OutlinedText(POSITION_POINTS, self._canvas)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._show_position)
        self._canvas.installEventFilter(self)
        self._canvas.destroyed.connect(self._on_destroyed)
        upright_of(viewer).changed.connect(self.refresh)
        camera_of(viewer).events.orientation.connect(self.refresh)
        viewer.cursor.events.position.connect(self._on_moved)
        viewer.dims.events.point.connect(self._on_moved)
        self.refresh()

    @property
    def enabled(self) -> bool:
        """Whether there is any text."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """Show what belongs to the plane and the layers as they are now."""
        viewer = self._viewer()
        if viewer is None or self._canvas is None:
            return
        layer = reference_layer(viewer) if self._enabled else None
        shown = layer is not None and plane_of(viewer) is not None
        self._anatomy = Anatomy(layer) if layer is not None and shown else None
        for edge, label in self.edges.items():
            label.show_text(self._letter(viewer, edge))
        self._show_position()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow the size of the canvas."""
        if event is not None and event.type() == QEvent.Type.Resize:
            self._place()
        return False

    def _on_destroyed(self) -> None:
        self._canvas = self._anatomy = None
        self._timer.stop()

    def _on_moved(self, event: Any = None) -> None:
        if self._anatomy is not None and not self._timer.isActive():
            self._timer.start()

    def _letter(self, viewer: ViewerModel, edge: str) -> str:
        if self._anatomy is None:
            return ""
        _, vertical, horizontal = (
            str(getattr(o, "value", o)) for o in camera_of(viewer).orientation
        )
        rows, columns = (axis - viewer.dims.ndim + 3 for axis in viewer.dims.displayed)
        axis = rows if edge in ("top", "bottom") else columns
        towards = {"top": vertical == "up", "bottom": vertical == "down"}
        towards |= {"right": horizontal == "right", "left": horizontal == "left"}
        return letters(self._anatomy.direction(axis) * (1 if towards[edge] else -1))

    def _show_position(self) -> None:
        viewer, anatomy = self._viewer(), self._anatomy
        if viewer is None or self._canvas is None:
            return
        text = ""
        if anatomy is not None:
            text = f"{slice_text(viewer, anatomy)}\n{_cursor_text(viewer, anatomy)}".rstrip()
        self.position.show_text(text)
        self._place()

    def _place(self) -> None:
        canvas = self._canvas
        if canvas is None:
            return
        width, height = canvas.width(), canvas.height()
        for edge, label in self.edges.items():
            x, y = (width - label.width()) // 2, (height - label.height()) // 2
            x = {"left": MARGIN, "right": width - label.width() - MARGIN}.get(edge, x)
            y = {"top": MARGIN, "bottom": height - label.height() - MARGIN}.get(edge, y)
            label.move(x, y)
        self.position.move(MARGIN, height - self.position.height() - MARGIN)


def slice_text(viewer: ViewerModel, anatomy: Anatomy) -> str:
    """Return the plane, the slice as napari counts it, and where it is, such as "Axial slice 24 · S 33.1 mm"."""
    layer, plane = reference_layer(viewer), plane_of(viewer)
    if layer is None or plane is None:
        return ""
    axis = PLANES[plane]
    number = int(np.rint(np.asarray(layer.world_to_data(viewer.dims.point))[-3:][axis]))
    # An oblique slice has another position at each point; that of the crosshair stands for it.
    where = coordinate_text(2 - axis, anatomy.position(np.asarray(viewer.dims.point))[2 - axis])
    return f"{plane.capitalize()} slice {number} · {where} mm"


def _cursor_text(viewer: ViewerModel, anatomy: Anatomy) -> str:
    position = viewer.cursor.position
    if len(position) != viewer.dims.ndim:
        return ""
    return position_text(anatomy.position(np.asarray(position)))


canvas_text_of: OnePerViewer[CanvasText] = OnePerViewer(CanvasText)
