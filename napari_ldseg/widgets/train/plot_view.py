"""A picture from a file, as wide as its place allows, that opens large when it is clicked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent, QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

SCREEN_SHARE = 0.85
WIDEST = 600


class PlotView(QWidget):
    """Draws a PNG that somebody else keeps rewriting; hidden until there is one."""

    def __init__(self, title: str, parent: QWidget | None = None):
        super().__init__(parent)
        self._title = title
        self._file: Path | None = None
        self._stamp = 0
        self._worker: Any = None
        self._whole, self._scaled = QPixmap(), QPixmap()
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click to enlarge")
        self.hide()

    def show_file(self, path: Path | None) -> None:
        """Show what ``path`` holds now; read in a worker thread, and only when it has changed."""
        try:
            stamp = 0 if path is None else path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        if path is None or not stamp:
            self._file, self._stamp, self._whole = None, 0, QPixmap()
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
        self._whole, self._scaled = QPixmap.fromImage(image), QPixmap()
        self.updateGeometry()
        self.update()
        self.show()

    def sizeHint(self) -> QSize:
        """As wide as it may be."""
        return QSize(280, self.heightForWidth(280))

    def heightForWidth(self, width: int) -> int:
        """Return the height that keeps the picture's shape."""
        if self._whole.isNull():
            return 0
        return round(width * self._whole.height() / self._whole.width())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw at the screen's own resolution, scaled once per size."""
        if self._whole.isNull():
            return
        ratio = self.devicePixelRatioF()
        width = round(min(self.width(), self.width() * self.height() / max(1, self._wanted())))
        if self._scaled.width() != round(width * ratio):
            smooth = Qt.TransformationMode.SmoothTransformation
            self._scaled = self._whole.scaledToWidth(max(1, round(width * ratio)), smooth)
            self._scaled.setDevicePixelRatio(ratio)
        QPainter(self).drawPixmap((self.width() - width) // 2, 0, self._scaled)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Show the picture in a window of its own, as large as the file or the screen."""
        whole = QPixmap(str(self._file))
        if whole.isNull():
            return
        dialog = QDialog(self)
        dialog.setWindowTitle(self._title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        room = self.screen().availableSize() * SCREEN_SHARE
        ratio = self.devicePixelRatioF()
        width = min(whole.width(), room.width())
        smooth = Qt.TransformationMode.SmoothTransformation
        pixmap = whole.scaledToWidth(round(width * ratio), smooth)
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
        bar = scroll.verticalScrollBar().sizeHint().width() if height > room.height() else 0
        dialog.resize(width + bar, min(height, room.height()))
        dialog.show()

    def event(self, event: QEvent) -> bool:
        """Scale anew when the window moves to a screen of another resolution."""
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._scaled = QPixmap()
        return super().event(event)

    def _wanted(self) -> int:
        return self.heightForWidth(self.width())


def _read(path: Path, stamp: int) -> tuple[QImage, Path, int]:
    """Return the picture, no wider than a dock may get, and what it was read from."""
    image = QImage(str(path))
    smooth = Qt.TransformationMode.SmoothTransformation
    return image.scaledToWidth(WIDEST, smooth) if image.width() > WIDEST else image, path, stamp
