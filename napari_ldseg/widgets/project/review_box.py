"""The Review part of the Project tab: mark the selected labels as reviewed, and sign them off."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
)
from superqt.utils import signals_blocked

from ...errors import LDSegError
from ..common.sizes import LabelSizes
from ..common.style import StatusLine, breakable
from .review_part import (
    SLICE,
    extents,
    hidden_axes,
    part_of,
    review_summary,
    shown_position,
)
from .state import ProjectState

NAME_KEY = "reviewer"


class ReviewBox(QGroupBox):
    """Follows the selected labels layer; says what was done in ``status``."""

    def __init__(self, viewer: ViewerModel, state: ProjectState, status: StatusLine):
        super().__init__("Review")
        self._viewer, self._state, self._status = viewer, state, status
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self._reviewed = np.zeros(())
        self._build_controls()
        self._lay_out()
        self._connect()

    def _build_controls(self) -> None:
        self.reviewing = QLabel()
        self.reviewing.setWordWrap(True)
        self.sizes = LabelSizes(self)
        self.sizes_shown = QLabel()
        self.sizes_shown.setWordWrap(True)
        self.extent = QComboBox()
        self.extent.setToolTip("How much of the labels you have checked")
        self.mark = QPushButton("Mark as reviewed")
        self.mark.setToolTip("Later segmentations do not change what is marked")
        self.unmark = QPushButton("Unmark")
        self.unmark.setToolTip("Remove the mark, so that later segmentations may change this part")
        self.name = QLineEdit(self._settings.value(NAME_KEY) or "")
        self.name.setPlaceholderText("your name")
        self.sign = QPushButton("Sign off")
        self.sign.setToolTip("Mark everything as reviewed and sign it with your name")

    def _lay_out(self) -> None:
        form = QFormLayout(self)
        form.addRow(self.reviewing)
        form.addRow(self.sizes_shown)
        form.addRow("Extent", self.extent)
        marks = QHBoxLayout()
        marks.addWidget(self.mark, 2)
        marks.addWidget(self.unmark, 1)
        form.addRow(marks)
        signing = QHBoxLayout()
        signing.addWidget(self.name, 2)
        signing.addWidget(self.sign, 1)
        form.addRow(signing)

    def _connect(self) -> None:
        layers, dims = self._viewer.layers, self._viewer.dims.events
        for event in (
            layers.events.inserted,
            layers.events.removed,
            layers.events.renamed,
            layers.selection.events.active,
            dims.order,
            dims.ndisplay,
            dims.ndim,
        ):
            event.connect(self.refresh)
        dims.current_step.connect(self._refresh_summary)
        self.sizes.changed.connect(self._refresh_sizes)
        self.extent.currentIndexChanged.connect(self._refresh_summary)
        self.mark.clicked.connect(lambda: self._on_mark(True))
        self.unmark.clicked.connect(lambda: self._on_mark(False))
        self.sign.clicked.connect(self._on_sign)
        self.name.editingFinished.connect(
            lambda: self._settings.setValue(NAME_KEY, self.name.text())
        )

    def refresh(self, event: object = None) -> None:
        """Follow the selected layer and the parts that can be marked."""
        labels = self._labels()
        chosen = self.extent.currentText()
        with signals_blocked(self.extent):
            self.extent.clear()
            self.extent.addItems(extents(self._viewer, labels))
            self.extent.setCurrentIndex(max(0, self.extent.findText(chosen)))
        for control in (self.extent, self.mark, self.name, self.sign):
            control.setEnabled(labels is not None)
        tracked = self._state.labels.find(labels)
        recorder = tracked.recorder if tracked is not None else None
        self._reviewed = (
            recorder.reviewed_along(hidden_axes(self._viewer, labels))
            if recorder is not None
            else np.zeros(())
        )
        self.sizes.watch(labels)
        self._refresh_sizes()
        self._refresh_summary()

    def _refresh_sizes(self) -> None:
        """Show the sizes that are signed off."""
        parts = [
            f"{size.name} {size.text}{' (corrected)' if size.corrected else ''}"
            for size in self.sizes.of_layer()
        ]
        self.sizes_shown.setText(breakable(", ".join(parts)))
        self.sizes_shown.setVisible(bool(parts))

    def _refresh_summary(self, event: object = None) -> None:
        """Show what is reviewed, beginning with the slice shown; also after scrolling."""
        labels = self._labels()
        if labels is None:
            self.reviewing.setText("Select a labels layer of LDSeg to review it.")
            self.unmark.setEnabled(False)
            return
        axes = hidden_axes(self._viewer, labels)
        shown = shown_position(self._viewer, labels) if self._reviewed.ndim == len(axes) else None
        summary = review_summary(self._reviewed, shown)
        self.reviewing.setText(f"{breakable(labels.name)}\n{summary}")
        only_slice = self.extent.currentText() == SLICE and shown is not None
        self.unmark.setEnabled(
            bool((self._reviewed[shown] if only_slice else self._reviewed).any())
        )

    def _labels(self) -> Labels | None:
        """Return the selected labels layer if it belongs to the project."""
        active = self._viewer.layers.selection.active
        layer = next((x for x in self._viewer.layers if x is active), None)
        return layer if self._state.labels.find(layer) is not None else None

    def _on_mark(self, reviewed: bool) -> None:
        labels, extent = self._labels(), self.extent.currentText()
        if labels is None:
            return
        signed = self._state.reviews.sign_off_of(labels)
        try:
            part = part_of(self._viewer, labels, extent)
            self._state.reviews.mark(labels, part, reviewed)
        except LDSegError as error:
            self._status.show_message(str(error), error=True)
            return
        shown = shown_position(self._viewer, labels)
        if extent == SLICE and shown is not None and len(shown) == 1:
            extent = f"slice {shown[0]}"
        done = "is marked as reviewed" if reviewed else "is no longer marked as reviewed"
        text = f"{extent[0].upper()}{extent[1:]} of {labels.name} {done}"
        if signed is not None and not reviewed:
            text += f", and {signed.who}'s sign-off is withdrawn"
        self._status.show_message(f"{text}.")
        self.refresh()

    def _on_sign(self) -> None:
        labels, who = self._labels(), self.name.text().strip()
        if labels is None:
            return
        try:
            self._state.reviews.sign_off(labels, who)
        except LDSegError as error:
            self._status.show_message(str(error), error=True)
            return
        if self._state.problem:
            self._status.show_message(
                f"{who}'s sign-off of {labels.name} is not saved yet; it will be saved together with the "
                "corrections that are waiting."
            )
        else:
            self._status.show_message(f"{who} signed off {labels.name}.")
