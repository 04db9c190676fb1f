"""One of the three planes: its layers, crosshair, letters, and what the mouse does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from ...layers.anatomy import Anatomy, letters
from ..common.canvas_text import outlined_size, paint_outlined
from ..common.upright import PLANES
from .slice_images import LayerGrid, slice_image

COLOURS = ("#ff5a5a", "#6fd36f", "#ffd84a")  # of the axial, coronal and sagittal plane
MARGIN, GAP = 6, 8
LETTER_POINTS = 11
SIZE = QSize(280, 280)  # at first
BLENDING = {
    "additive": QPainter.CompositionMode.CompositionMode_Plus,
    "minimum": QPainter.CompositionMode.CompositionMode_Darken,
}


class PlaneView(QWidget):
    """Shows a plane through a point of the world, right way up, with equal mm in both directions.

    ``picked`` has the point (superior, posterior, left) under the mouse; ``stepped`` how many slices the wheel
    was turned by, ``zoomed`` by which factor.
    """

    picked = Signal(object)
    stepped = Signal(int)
    zoomed = Signal(float)

    def __init__(self, name: str, parent: QWidget | None = None):
        super().__init__(parent)
        self.name, self.hidden = name, PLANES[name]
        self.rows, self.columns = (axis for axis in range(3) if axis != self.hidden)
        self.box = np.array([[0.0, 1.0]] * 3)  # of the world that fits into the view at zoom 1
        self.zoom = 1.0
        self.point = np.zeros(3)
        self.title = name.capitalize()
        self.edges: dict[str, str] = {}
        self.images: list[tuple[QImage, QRectF, float, str, bool]] = []
        self._shown: tuple[int, ...] | None = None
        self.setMinimumSize(90, 90)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip("Click or drag: move the crosshair. Wheel: slices. Ctrl and wheel: zoom.")

    def sizeHint(self) -> QSize:
        """Return the size that the view has in a new dock."""
        return SIZE

    @property
    def upwards(self) -> bool:
        """Whether the row axis runs up, towards superior; else down, towards posterior."""
        return self.rows == 0

    def set_anatomy(self, anatomy: Anatomy | None) -> None:
        """Take the letters from ``anatomy``; none without it."""
        self.edges = {}
        if anatomy is not None:
            down, right = anatomy.direction(self.rows), anatomy.direction(self.columns)
            down = -down if self.upwards else down
            self.edges = {"top": letters(-down), "bottom": letters(down)}
            self.edges |= {"left": letters(-right), "right": letters(right)}
        self.update()

    def show_point(
        self, layers: Sequence[tuple[Layer, LayerGrid]], point: Sequence[float], again: bool
    ) -> None:
        """Show the plane through ``point``; ``again`` also if it is the slice that is shown already."""
        self.point = np.asarray(point, float)[-3:]
        shown = tuple(
            int(i)
            for _, grid in layers
            for axis, i in enumerate(grid.index(point))
            if axis not in (len(grid.scale) - 3 + self.rows, len(grid.scale) - 3 + self.columns)
        )
        if again or shown != self._shown:
            self._shown = shown
            self.images = []
            for layer, grid in layers:
                found = slice_image(layer, grid, point, self.hidden)
                if found is not None:
                    smooth = str(getattr(layer, "interpolation2d", "nearest")) != "nearest"
                    look = (float(layer.opacity), str(layer.blending), smooth)
                    self.images.append((*found, *look))
        self.update()

    def pixel_of(self, world: Sequence[float] | np.ndarray) -> QPointF:
        """Return where a point (superior, posterior, left) is drawn."""
        x, y = world[self.columns], world[self.rows]
        return self._drawn(float(x), float(y))

    def world_at(self, pixel: QPointF) -> np.ndarray:
        """Return the point (superior, posterior, left) that is drawn at ``pixel``, in the plane shown."""
        scale, centre = self._scale(), self._centre()
        down = (pixel.y() - self.height() / 2) / scale
        world = self.point.copy()
        world[self.columns] = centre[0] + (pixel.x() - self.width() / 2) / scale
        world[self.rows] = centre[1] + (-down if self.upwards else down)
        return world

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the layers from below, then the crosshair and the text."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        for image, where, opacity, blending, smooth in self.images:
            painter.setOpacity(opacity)
            painter.setCompositionMode(
                BLENDING.get(blending, QPainter.CompositionMode.CompositionMode_SourceOver)
            )
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
            first = self._drawn(where.left(), where.top())
            last = self._drawn(where.right(), where.bottom())
            painter.save()
            painter.translate(first)
            flip = -1 if self.upwards else 1
            painter.scale(1, flip)
            size = last - first
            painter.drawImage(QRectF(0, 0, size.x(), flip * size.y()), image)
            painter.restore()
        painter.setOpacity(1)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)
        self._paint_crosshair(painter)
        self._paint_text(painter)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Move the crosshair to the mouse."""
        self._pick(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Move the crosshair with the mouse, while a button is held."""
        self._pick(event)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Step through the slices; with Ctrl zoom."""
        if event is None or not event.angleDelta().y():
            return
        up = event.angleDelta().y() > 0
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomed.emit(1.2 if up else 1 / 1.2)
        else:
            self.stepped.emit(1 if up else -1)
        event.accept()

    def _pick(self, event: QMouseEvent | None) -> None:
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self.picked.emit(self.world_at(event.position()))

    def _scale(self) -> float:
        """Return pixels per world unit."""
        sizes = np.maximum(self.box[:, 1] - self.box[:, 0], 1e-9)
        fit = min(self.width() / sizes[self.columns], self.height() / sizes[self.rows])
        return float(fit) * self.zoom

    def _centre(self) -> tuple[float, float]:
        """Return the world position in the middle of the view: of the box, or zoomed in of the crosshair."""
        middle = self.box.mean(axis=1) if self.zoom <= 1 else self.point
        return float(middle[self.columns]), float(middle[self.rows])

    def _drawn(self, x: float, y: float) -> QPointF:
        scale, centre = self._scale(), self._centre()
        down = (centre[1] - y) if self.upwards else (y - centre[1])
        return QPointF(self.width() / 2 + (x - centre[0]) * scale, self.height() / 2 + down * scale)

    def _paint_crosshair(self, painter: QPainter) -> None:
        at = self.pixel_of(self.point)
        painter.setPen(QPen(QColor(COLOURS[self.rows]), 1))  # the plane that it is the line of
        painter.drawLine(QPointF(0, at.y()), QPointF(at.x() - GAP, at.y()))
        painter.drawLine(QPointF(at.x() + GAP, at.y()), QPointF(self.width(), at.y()))
        painter.setPen(QPen(QColor(COLOURS[self.columns]), 1))
        painter.drawLine(QPointF(at.x(), 0), QPointF(at.x(), at.y() - GAP))
        painter.drawLine(QPointF(at.x(), at.y() + GAP), QPointF(at.x(), self.height()))

    def _paint_text(self, painter: QPainter) -> None:
        width, height = self.width(), self.height()
        for edge, text in self.edges.items():
            image = _letter_image(text)
            x, y = (width - image.width()) / 2, (height - image.height()) / 2
            x = {"left": MARGIN, "right": width - image.width() - MARGIN}.get(edge, x)
            y = {"top": MARGIN, "bottom": height - image.height() - MARGIN}.get(edge, y)
            painter.drawImage(QPointF(x, y), image)
        at = QPointF(MARGIN, MARGIN + painter.fontMetrics().ascent())
        painter.setPen(Qt.GlobalColor.black)  # a shadow
        painter.drawText(at + QPointF(1, 1), self.title)
        painter.setPen(QColor(COLOURS[self.hidden]))
        painter.drawText(at, self.title)


@lru_cache
def _letter_image(text: str) -> QImage:
    """Return outlined letters, which take longer to draw than a slice."""
    font = QFont()
    font.setPointSize(LETTER_POINTS)
    font.setBold(True)
    size = outlined_size(text, font)
    image = QImage(size, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    paint_outlined(painter, QRectF(image.rect()), text, font)
    painter.end()
    return image
