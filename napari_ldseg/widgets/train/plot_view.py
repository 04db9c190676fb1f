"""A plot from a PNG file, as wide as the dock allows; a click shows it large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from ..common.qt import existing

SCREEN_SHARE = 0.85
MAX_WIDTH = 600


class PlotView(QWidget):
    """Shows a PNG that another process rewrites again and again; hidden while there is none."""

    def __init__(self, title: str, parent: QWidget | None = None):
        super().__init__(parent)
        self._title = title
        self._file: Path | None = None
        self._stamp = 0
        self._worker: Any = None
        self._full, self._scaled = QPixmap(), QPixmap()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click to enlarge")
        self.hide()

    def show_file(self, path: Path | None) -> None:
        """Show the plot in ``path``; it is read in a worker thread, and only when it has changed."""
        try:
            stamp = 0 if path is None else path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if path is None or not stamp:
            self._file, self._stamp, self._full = None, 0, QPixmap()
            self.hide()
        elif (path, stamp) != (self._file, self._stamp):
            self._file, self._stamp = path, stamp
            worker = create_worker(_read, path, stamp, _start_thread=False, _ignore_errors=True)
            worker.returned.connect(self._show)
            self._worker = worker
            worker.start()

    def _show(self, read: tuple[QImage, Path, int]) -> None:
        image, path, stamp = read
        if image.isNull() or (path, stamp) != (self._file, self._stamp):
            return
        self._full, self._scaled = QPixmap.fromImage(image), QPixmap()
        self.updateGeometry()
        self.update()
        self.show()

    def sizeHint(self) -> QSize:
        """Return a size with the shape of the plot."""
        return QSize(280, self.heightForWidth(280))

    def heightForWidth(self, width: int) -> int:
        """Return the height that keeps the shape of the plot."""
        if self._full.isNull():
            return 0
        return round(width * self._full.height() / self._full.width())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw at the resolution of the screen, scaled once per size."""
        if self._full.isNull():
            return
        ratio = self.devicePixelRatioF()
        width = round(min(self.width(), self.width() * self.height() / max(1, self._wanted())))
        if self._scaled.width() != round(width * ratio):
            smooth = Qt.TransformationMode.SmoothTransformation
            self._scaled = self._full.scaledToWidth(max(1, round(width * ratio)), smooth)
            self._scaled.setDevicePixelRatio(ratio)
        QPainter(self).drawPixmap((self.width() - width) // 2, 0, self._scaled)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Show the plot in its own window, as large as the file but no larger than the screen."""
        plot = QPixmap(str(self._file))
        if plot.isNull():
            return
        dialog = QDialog(self)
        dialog.setWindowTitle(self._title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        room = existing(self.screen()).availableSize() * SCREEN_SHARE
        ratio = self.devicePixelRatioF()
        width = min(plot.width(), room.width())
        smooth = Qt.TransformationMode.SmoothTransformation
        pixmap = plot.scaledToWidth(round(width * ratio), smooth)
        pixmap.setDevicePixelRatio(ratio)
        label = QLabel()
        label.setPixmap(pixmap)
        scroll = QScrollArea()
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(label)
        layout = QVBoxLayout(dialog)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        height = self.heightForWidth(width)
        bar = (
            existing(scroll.verticalScrollBar()).sizeHint().width() if height > room.height() else 0
        )
        dialog.resize(width + bar, min(height, room.height()))
        dialog.show()

    def event(self, event: QEvent | None) -> bool:
        """Scale again when the window moves to a screen with another resolution."""
        if event is not None and event.type() == QEvent.Type.DevicePixelRatioChange:
            self._scaled = QPixmap()
        return super().event(event)

    def _wanted(self) -> int:
        return self.heightForWidth(self.width())


def _read(path: Path, stamp: int) -> tuple[QImage, Path, int]:
    """Return the plot, no wider than a dock can be, with ``path`` and ``stamp``."""
    image = QImage(str(path))
    smooth = Qt.TransformationMode.SmoothTransformation
    return (
        image.scaledToWidth(MAX_WIDTH, smooth) if image.width() > MAX_WIDTH else image,
        path,
        stamp,
    )
