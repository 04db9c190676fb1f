"""The View widget: the plane, what is written over the image, the grey value window, and three planes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import napari
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..common.canvas import scale_bar_of
from ..common.canvas_text import canvas_text_of
from ..common.layers import unwrapped
from ..common.style import WIDTH, scrolled
from ..common.upright import PLANES, plane_of, show_plane, upright_of
from ..project.tab import Tab
from .three_planes import ThreePlanes
from .window_part import WindowPart

PLANES_DOCK = "LDSeg: Planes"


class ViewWidget(Tab):
    """Shows images as they are read: planes the right way up, millimetres, and windows."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self._upright, self._text = upright_of(napari_viewer), canvas_text_of(napari_viewer)
        self.planes = {name: QPushButton(name.capitalize()) for name in PLANES}
        for name, button in self.planes.items():
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda _, n=name: self._on_plane(n))
        self.radiological = QCheckBox("as radiologists read them")
        self.radiological.setToolTip(
            "Superior or anterior at the top and the patient's left on the right; off: as napari draws them"
        )
        self.letters = QCheckBox("orientation and position")
        self.letters.setToolTip(
            "R L A P S I at the edges, and where the slice and the cursor are in the patient, if the file "
            "gives it"
        )
        self.scale_bar = QCheckBox("scale bar")
        self.three = QPushButton("Three planes")
        self.three.setCheckable(True)
        self.three.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.three.setToolTip(
            "Axial, coronal and sagittal together, with a crosshair: click in one of them, or hold Shift and "
            "move the mouse over the image"
        )
        self.three_planes: ThreePlanes | None = None
        self.windows = WindowPart(unwrapped(napari_viewer))
        self._lay_out()
        self.radiological.setChecked(self._upright.enabled)
        self.letters.setChecked(self._text.enabled)
        bar = scale_bar_of(napari_viewer)
        bar.visible = True
        self.scale_bar.setChecked(True)
        self.radiological.toggled.connect(lambda on: setattr(self._upright, "enabled", on))
        self.letters.toggled.connect(lambda on: setattr(self._text, "enabled", on))
        self.scale_bar.toggled.connect(lambda on: setattr(bar, "visible", on))
        self.three.toggled.connect(self._on_three)
        self._upright.changed.connect(self._refresh)
        self._refresh()

    def shut_down(self) -> None:
        """Release the viewer."""
        self._upright.changed.disconnect(self._refresh)
        self.windows.shut_down()
        self._close_planes()

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.project_notice)
        column.addWidget(_heading("Plane"))
        row = QHBoxLayout()
        for button in self.planes.values():
            row.addWidget(button)
        column.addLayout(row)
        column.addWidget(self.three)
        for box in (self.radiological, self.letters, self.scale_bar):
            column.addWidget(box)
        column.addWidget(_heading("Window"))
        column.addWidget(self.windows)
        column.addStretch(1)
        column.addWidget(self.status)
        content.setMinimumWidth(WIDTH - 16)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(content))

    def _on_plane(self, name: str) -> None:
        show_plane(self.viewer, name)
        self.viewer.reset_view()
        self._refresh()

    def _on_three(self, on: bool) -> None:
        if not on:
            self._close_planes()
            return
        viewer = unwrapped(self.viewer)
        self.three_planes = ThreePlanes(viewer)
        self.three_planes.closed.connect(self._on_closed)
        viewer.window.add_dock_widget(self.three_planes, name=PLANES_DOCK, area="bottom")

    def _close_planes(self) -> None:
        planes, self.three_planes = self.three_planes, None
        if planes is not None:
            planes.shut_down()
            with suppress(LookupError, RuntimeError):  # napari has closed the dock already.
                unwrapped(self.viewer).window.remove_dock_widget(planes)
            planes.deleteLater()

    def _on_closed(self) -> None:
        self.three_planes = None
        self.three.setChecked(False)

    def _refresh(self, event: Any = None) -> None:
        viewer = unwrapped(self.viewer)
        for name, button in self.planes.items():
            button.setEnabled(viewer.dims.ndim >= 3)
            button.setChecked(viewer.dims.ndim >= 3 and plane_of(viewer) == name)


def _heading(text: str) -> QLabel:
    return QLabel(f"<b>{text}</b>")
