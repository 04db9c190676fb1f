"""The controls of the display: how the labels look, which map is over the image, and the surface in 3D."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from ..common.layers import SD_RANGE
from ..common.map_colours import map_colormap
from ..common.style import narrowed
from .display import LOOKS, NO_MAP, Display
from .keys import key_of, tip
from .surface_view import SurfaceView, surface_colours

STEPS = 20  # of the sliders
MEANINGS = {
    "sample_sd": "How much the samples disagree: the SD of their probabilities",
    "predictive_sd": "How unsure the probability p is: sqrt(p (1 - p))",
    "error_probability": "One minus the probability of the class in the label map",
    NO_MAP: "Only the image and the labels",
}
CLASS_MEANING = "The probability of this class"


class DisplayPart(QWidget):
    """Shows the display's choices and passes on the user's."""

    def __init__(self, display: Display, surface: SurfaceView, parent: QWidget | None = None):
        super().__init__(parent)
        self._display, self._surface = display, surface
        self.labels = QComboBox()
        self.labels.addItems(LOOKS)
        self.labels.setToolTip(tip("outline"))
        self.map = narrowed(QComboBox())
        self.map.setToolTip(tip("map"))
        self.bar = MapBar()
        self.low, self.high = QLabel(), QLabel()
        self.threshold = _slider("Lower values are transparent")
        self.opacity = _slider("How much of the image the map hides")
        for control in (self.labels, self.map):
            control.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the keys stay with the image
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(f"Labels ({key_of('outline')})", self.labels)
        form.addRow(f"Map ({key_of('map')})", self.map)
        ends = QHBoxLayout()
        ends.addWidget(self.low)
        ends.addWidget(self.bar, 1)
        ends.addWidget(self.high)
        self._scale = QWidget()
        scale = QFormLayout(self._scale)
        scale.setContentsMargins(0, 0, 0, 0)
        scale.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        scale.addRow(ends)
        scale.addRow("Shown from", self.threshold)
        scale.addRow("Opacity", self.opacity)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.surface = QPushButton("Surface in 3D")
        self.surface.setCheckable(True)
        self.surface.setToolTip(
            "Show only the surface of the labels, coloured by the uncertainty; press again to go back"
        )
        self.surface.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addWidget(self._scale)
        column.addWidget(self.note)
        column.addWidget(self.surface)
        self.labels.currentTextChanged.connect(display.set_labels)
        self.map.activated.connect(lambda row: display.set_map(self.map.itemData(row)))
        self.threshold.valueChanged.connect(lambda value: display.set_threshold(value / STEPS))
        self.opacity.valueChanged.connect(lambda value: display.set_opacity(value / STEPS))
        self.surface.clicked.connect(lambda on: surface.show() if on else surface.hide())
        display.changed.connect(self.refresh)
        surface.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the choices as they are now."""
        display, maps = self._display, self._display.maps()
        with signals_blocked(self.labels):
            self.labels.setCurrentText(display.labels)
        self.map.clear()
        for name, title in {**maps, NO_MAP: "none"}.items():
            self.map.addItem(title, name)
            self.map.setItemData(self.map.count() - 1, _meaning(name), Qt.ItemDataRole.ToolTipRole)
        self.map.setCurrentIndex(self.map.findData(display.map))
        for slider, share in ((self.threshold, display.threshold), (self.opacity, display.opacity)):
            with signals_blocked(slider):
                slider.setValue(round(share * STEPS))
        self._scale.setVisible(self._surface.shown or display.map != NO_MAP)
        self._show_range()
        self.note.setText("Decoding the samples for the probability …" * display.busy)
        self.note.setVisible(display.busy)
        self.surface.setVisible(self._surface.possible)
        self.surface.setChecked(self._surface.shown)

    def _show_range(self) -> None:
        """Show the colours of the map, or of the surface while it is shown instead."""
        display, in_3d = self._display, self._surface.shown
        threshold = 0.0 if in_3d else display.threshold
        low, high = SD_RANGE if in_3d else display.limits
        ramp = map_colormap(display.ramp, threshold)
        self.bar.show_colours((surface_colours(display.ramp) if in_3d else ramp).colors, threshold)
        self.low.setText(f"{low + threshold * (high - low):.2f}")
        self.high.setText(f"{high:.2f}")
        for control in (self.labels, self.map, self.threshold, self.opacity):
            control.setEnabled(not in_3d)


class MapBar(QWidget):
    """The colours of the map from the lowest value shown to the highest."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setFixedHeight(12)
        self.setToolTip("The colours from the lowest value shown to the highest")
        self._colours: list[QColor] = []

    def show_colours(self, colours: np.ndarray, threshold: float) -> None:
        """Show RGBA ``colours`` (n, 4) from the share ``threshold`` (0 to 1) of them on."""
        shown = colours[min(round(threshold * len(colours)), len(colours) - 2) :]
        self._colours = [QColor.fromRgbF(*map(float, c)) for c in shown]
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Fill the widget with the gradient, on black as on an image."""
        gradient = QLinearGradient(0, 0, self.width(), 0)
        last = len(self._colours) - 1
        for i in range(0, last + 1, max(1, last // 16)):
            gradient.setColorAt(i / last, self._colours[i])
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        painter.fillRect(self.rect(), gradient)
        painter.end()


def _meaning(name: str) -> str:
    return MEANINGS.get(name, CLASS_MEANING)


def _slider(text: str) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, STEPS)
    slider.setToolTip(text)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return slider
