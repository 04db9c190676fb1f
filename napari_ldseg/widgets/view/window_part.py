"""Window and level of the image shown: presets for CT, numbers, the full range and automatic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..common.layers import RESULT_KEY
from ..common.style import breakable
from .windows import CT_WINDOWS, auto_limits, full_limits, is_ct, limits_of, window_of

COLUMNS = 3
LIMIT = 1e6


class WindowPart(QWidget):
    """Sets the contrast limits of the selected image, or of the lowest one that is visible."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None):
        super().__init__(parent)
        self._viewer = viewer
        self.layer: Image | None = None
        self._setting = False
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.width_field, self.level_field = _field(), _field()
        self.width_field.setMinimum(1e-6)
        self.width_field.setToolTip("Window width: how many values lie between black and white")
        self.level_field.setToolTip("Window level: the value in the middle, shown grey")
        self.presets = {name: QPushButton(name) for name in CT_WINDOWS}
        for name, button in self.presets.items():
            width, level = CT_WINDOWS[name]
            button.setToolTip(f"Width {width:g} HU, level {level:g} HU")
            button.clicked.connect(lambda _, n=name: self._set(limits_of(*CT_WINDOWS[n])))
        self.auto, self.full = QPushButton("Auto"), QPushButton("Full range")
        self.auto.setToolTip("From the 0.5th to the 99.5th percentile of the image")
        self.full.setToolTip("From the lowest to the highest value of the image")
        self.auto.clicked.connect(lambda: self._set_by(auto_limits))
        self.full.clicked.connect(lambda: self._set_by(full_limits))
        for field in (self.width_field, self.level_field):
            field.valueChanged.connect(self._on_field)
        for button in (self.auto, self.full, *self.presets.values()):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        form = QFormLayout()
        form.addRow("Width", self.width_field)
        form.addRow("Level", self.level_field)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        grid = QGridLayout()
        for i, button in enumerate((*self.presets.values(), self.auto, self.full)):
            grid.addWidget(button, i // COLUMNS, i % COLUMNS)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.title)
        column.addLayout(grid)
        column.addLayout(form)
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered, layers.renamed):
            event.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_layers)
        self._on_layers()

    def shut_down(self) -> None:
        """Release the viewer and the layer."""
        layers = self._viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.reordered, layers.renamed):
            event.disconnect(self._on_layers)
        self._viewer.layers.selection.events.active.disconnect(self._on_layers)
        self._watch(None)

    def _on_layers(self, event: Any = None) -> None:
        layer = self._chosen()
        if layer is not self.layer:
            self._watch(layer)
            for button in self.presets.values():
                button.setVisible(layer is not None and is_ct(layer))
        self.title.setText(
            "Open an image to set its window." if layer is None else breakable(layer.name)
        )
        for part in (self.width_field, self.level_field, self.auto, self.full):
            part.setEnabled(layer is not None)
        self._show()

    def _chosen(self) -> Image | None:
        active = self._viewer.layers.selection.active
        images = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Image) and not layer.rgb and RESULT_KEY not in layer.metadata
        ]
        visible = [layer for layer in images if layer.visible]
        chosen = [layer for layer in images if layer == active or layer is self.layer]
        chosen.sort(key=lambda layer: layer != active)
        return next(iter([*chosen, *visible, *images]), None)

    def _watch(self, layer: Image | None) -> None:
        if self.layer is not None:
            self.layer.events.contrast_limits.disconnect(self._show)
        if layer is not None:
            layer.events.contrast_limits.connect(self._show)
        self.layer = layer

    def _show(self, event: Any = None) -> None:
        if self.layer is None:
            return
        self._setting = True
        for field, value in zip(
            (self.width_field, self.level_field), window_of(self.layer.contrast_limits), strict=True
        ):
            field.setDecimals(0 if abs(value) >= 100 else 3 if abs(value) < 5 else 1)
            field.setSingleStep(max(10.0 ** -field.decimals(), abs(value) / 20))
            field.setValue(value)
        self._setting = False

    def _on_field(self) -> None:
        if not self._setting:
            self._set(limits_of(self.width_field.value(), self.level_field.value()))

    def _set_by(self, limits: Callable[[Image], tuple[float, float]]) -> None:
        if self.layer is not None:
            self._set(limits(self.layer))

    def _set(self, limits: tuple[float, float]) -> None:
        layer = self.layer
        if layer is None:
            return
        low, high = layer.contrast_limits_range
        layer.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
        layer.contrast_limits = limits


def _field() -> QDoubleSpinBox:
    field = QDoubleSpinBox()
    field.setRange(-LIMIT, LIMIT)
    field.setKeyboardTracking(False)  # else each digit typed is a window of its own
    return field
