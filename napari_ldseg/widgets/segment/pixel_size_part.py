"""The pixel size of a picture that has none: typed, or from a line of known length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...layers.pixel_size import (
    ENTERED_KEY,
    is_flat,
    layers_over,
    may_be_clip,
    needs_pixel_size,
    set_clip,
    set_pixel_size,
)
from ..common.layers import RESULT_KEY, RUNS_KEY, ignore_cursor_error, unwrapped
from ..common.style import BAD
from ..project.state import ProjectState

LINE_NAME = "line of known length"
SMALLEST, LARGEST = 1e-5, 1000.0  # mm


class PixelSizePart(QWidget):
    """Hidden unless the image's pixel size is the user's to give. ``changed`` has the image that got one."""

    changed = Signal(object)
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, project: ProjectState, parent: QWidget | None = None):
        super().__init__(parent)
        self._viewer, self._project = unwrapped(viewer), project
        self.image: Image | None = None
        self._line: Shapes | None = None
        self.text = QLabel()
        self.enter = QPushButton("Enter …")
        self.enter.setCheckable(True)
        self.clip = QCheckBox("the first axis is time")
        self.clip.setToolTip(
            "Frames of a clip, such as an ultrasound loop; else slices of a volume"
        )
        self.mm, self.known_length = _field(), _field()
        self.mm.setDecimals(5)
        self.mm.setToolTip(
            "Millimetres per pixel, such as from the scanner or the scale of the picture"
        )
        self.known_length.setToolTip(
            "Length of the line in millimetres, such as on the picture's own ruler"
        )
        self.set_size, self.set_length = QPushButton("Set"), QPushButton("Set")
        self.draw = QPushButton("Draw a line")
        self.draw.setToolTip("Draw along something of known length, then type its length")
        self._panel = QWidget()
        grid = QGridLayout(self._panel)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(QLabel("mm per pixel"), 0, 0)
        grid.addWidget(self.mm, 0, 1)
        grid.addWidget(self.set_size, 0, 2)
        grid.addWidget(self.draw, 1, 0)
        grid.addWidget(self.known_length, 1, 1)
        grid.addWidget(self.set_length, 1, 2)
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.enter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.clip)
        column.addWidget(self._panel)
        self.enter.toggled.connect(self._panel.setVisible)
        self.clip.clicked.connect(self._on_clip)
        self.set_size.clicked.connect(lambda: self._set(self.mm.value))
        self.set_length.clicked.connect(lambda: self._set(self._from_line))
        self.draw.clicked.connect(self._on_draw)
        self.show_for(None)

    def show_for(self, image: Image | None) -> None:
        """Show what is known of ``image``."""
        if image is not self.image:
            self.enter.setChecked(False)
        self.image = image
        needed = image is not None and needs_pixel_size(image)
        flat = image is not None and needed and is_flat(image)
        unknown_axis = image is not None and needed and may_be_clip(image)
        self.setVisible(flat or unknown_axis)
        self.clip.setVisible(unknown_axis)
        self.clip.setChecked(flat)
        self.enter.setVisible(flat)
        self._panel.setVisible(flat and self.enter.isChecked())
        if image is None:
            return
        entered = image.metadata.get(ENTERED_KEY)
        self.text.setStyleSheet("" if entered else f"color: {BAD};")
        self.text.setText(f"Pixel size: {entered:.4g} mm" if entered else "Pixel size: unknown")
        self.text.setToolTip(
            "You gave it; it is kept with the case"
            if entered
            else "Sizes are in pixels until you enter it"
        )
        self.enter.setText("Change …" if entered else "Enter …")

    def _on_clip(self) -> None:
        image = self.image
        if image is not None:
            layers = layers_over(image, self._viewer.layers)
            set_clip(layers, self.clip.isChecked())
            self._finish(image, layers, 1.0)

    def _on_draw(self) -> None:
        """Add a layer for the line, or select it, ready to draw."""
        image = self.image
        if image is None:
            return
        if self._line not in self._viewer.layers:
            self._line = Shapes(
                ndim=2, name=LINE_NAME, edge_color="yellow", edge_width=2, units=image.units[-2:]
            )
            if (entered := image.metadata.get(ENTERED_KEY)) is not None:
                self._line.metadata[ENTERED_KEY] = entered
            with ignore_cursor_error():
                self._viewer.add_layer(self._line)
        assert self._line is not None
        self._viewer.layers.selection.active = self._line
        self._line.mode = "add_line"

    def _from_line(self) -> float:
        """Return mm per pixel by the newest line. Raises LDSegError."""
        line, image = self._line, self.image
        drawn = line is not None and line in self._viewer.layers and len(line.data) > 0
        if line is None or image is None or not drawn or line.shape_type[-1] != "line":
            raise LDSegError("Press Draw a line and draw along something of known length first.")
        first, last = (np.array(line.data_to_world(end))[-2:] for end in line.data[-1])
        pixels = np.linalg.norm(last - first) / layer_scan(image).spacing[2]
        if pixels < 2:
            raise LDSegError("The line is shorter than two pixels; draw a longer one.")
        return self.known_length.value() / float(pixels)

    def _set(self, size: Callable[[], float]) -> None:
        image = self.image
        if image is None:
            return
        for field in (self.mm, self.known_length):
            field.interpretText()  # what was typed counts without another key
        try:
            mm = size()
            if not SMALLEST <= mm <= LARGEST:
                raise LDSegError(
                    f"A pixel of {image.name} cannot be {mm:.3g} mm; type the size or the length in millimetres."
                )
        except LDSegError as error:
            self.failed.emit(str(error))
            return
        before = layer_scan(image)
        layers = layers_over(image, self._viewer.layers)
        factor = set_pixel_size(layers, mm)
        if self._line is not None and self._line in self._viewer.layers:
            self._line.mode = "pan_zoom"
        self._finish(image, layers, factor**2 if before.calibrated else mm**2)
        self._viewer.reset_view()

    def _finish(self, image: Image, layers: list[Layer], area: float) -> None:
        """Bring the results' sizes, which grow by ``area``, and the case up to date."""
        for layer in layers:
            calibrated = isinstance(layer, Image | Labels) and layer_scan(layer).calibrated
            if layer.metadata.get(RESULT_KEY) and calibrated:
                runs = [rescaled(run, area) for run in layer.metadata.get(RUNS_KEY, ())]
                layer.metadata[RUNS_KEY] = runs
                layer.metadata[RESULT_KEY] = rescaled(layer.metadata[RESULT_KEY], area)
            tracked = self._project.labels.find(layer)
            if tracked is not None and tracked.recorder is not None:
                runs = layer.metadata.get(RUNS_KEY, ())
                tracked.recorder.set_grid(layer_scan(layer), runs=tuple(runs)[-100:])
        self.show_for(image)
        self.changed.emit(image)


def rescaled(summary: dict[str, Any], area: float) -> dict[str, Any]:
    """Return ``Posterior.summary()`` with sizes in mm2 that are ``area`` times as large."""
    if "classes" not in summary:
        return summary
    classes = {}
    for name, one in summary["classes"].items():
        ends = one["interval"]
        classes[name] = {
            **one,
            "size": one["size"] * area,
            "sample_sizes": [size * area for size in one["sample_sizes"]],
            "interval": None if ends is None else [end * area for end in ends],
        }
    return {**summary, "unit": "mm2", "classes": classes}


def _field() -> QDoubleSpinBox:
    field = QDoubleSpinBox()
    field.setRange(0, LARGEST)
    field.setDecimals(2)
    field.setKeyboardTracking(False)
    return field
