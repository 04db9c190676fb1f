"""The Segment widget: its controls, and what they show. The work is the session's."""

from __future__ import annotations

import napari
from magicgui.widgets import ComboBox
from napari.layers import Image, Shapes
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ..common.device_choice import DeviceChoice
from ..common.docking import dock_as_tab
from ..common.layers import RESULT_KEY
from ..common.legend import Legend
from ..common.model_choice import ModelChoice
from ..common.notice import Notice
from ..common.style import PROMINENT, WIDTH, StatusLine, narrowed, scrolled
from ..project.project_notice import ProjectNotice
from ..train.state import training_of
from .sampling import Snapshot
from .session import Choices, Session

OPEN_FIRST = "Open a scan first: File > Open, or File > Open Sample > LDSeg."
NOTICE = "For research only; not for diagnosis or treatment."


class SegmentWidget(QWidget):
    """Segment the chosen image with the chosen model and show where the model is unsure."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__()
        self.viewer = napari_viewer
        self.session = Session(napari_viewer, self)
        self.training = training_of(napari_viewer)
        self._suggested_for: Image | None = None
        self._next_image: Image | None = None
        self._build_controls()
        self._lay_out()
        self._connect()
        self._refresh()
        self._on_active()
        self.device.find()

    def _build_controls(self) -> None:
        self.image = ComboBox(choices=lambda _: self._images())
        self.region = ComboBox(choices=lambda _: self._regions())
        for layers in (self.image, self.region):
            narrowed(layers.native)
        self.region.tooltip = "A Shapes layer with a box drawn around the structure"
        self.model = ModelChoice()
        self.samples = QSpinBox()
        self.samples.setRange(1, 1000)
        self.samples.setValue(10)
        self.samples.setToolTip("More samples give a finer uncertainty; one gives only labels")
        self.this_slice = QCheckBox("only the slice shown")
        self.steps = QSpinBox()
        self.steps.setRange(0, 1000)
        self.steps.setSpecialValueText("automatic")
        self.steps.setToolTip("Sampling steps; automatic takes what the model was measured with")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same result")
        self.device = DeviceChoice()
        self.segment = QPushButton("Segment")
        self.segment.setToolTip("Sample segmentations of the image")
        self.segment.setStyleSheet(PROMINENT)
        self.cancel = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.status = StatusLine()
        self.project_notice = ProjectNotice(self.session.project)
        self.update_notice = Notice()
        self.legend = Legend()

    def _lay_out(self) -> None:
        main = QFormLayout()
        main.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        main.addRow("Image", self.image.native)
        main.addRow("Region", self.region.native)
        main.addRow("Model", self.model)
        main.addRow("Samples", self.samples)
        main.addRow("", self.this_slice)
        more = QWidget()
        settings = QFormLayout(more)
        settings.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        settings.addRow("Steps", self.steps)
        settings.addRow("Seed", self.seed)
        settings.addRow("Device", self.device)
        folded = QCollapsible("More settings", expandedIcon="▼", collapsedIcon="▶")
        folded.addWidget(more)
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment, 2)
        buttons.addWidget(self.cancel, 1)
        notice = QLabel(NOTICE)
        notice.setWordWrap(True)
        notice.setEnabled(False)
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.project_notice)
        column.addLayout(main)
        column.addWidget(folded)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addWidget(self.update_notice)
        column.addWidget(self.legend)
        column.addStretch(1)
        column.addWidget(notice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(content))
        self.setMinimumWidth(WIDTH)

    def _connect(self) -> None:
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed, layers.reordered):
            event.connect(self._refresh)
        self.viewer.layers.selection.events.active.connect(self._on_active)
        self.image.changed.connect(self._on_image)
        self.model.changed.connect(self._refresh)
        self.model.failed.connect(lambda text: self.status.say(text, error=True))
        self.segment.clicked.connect(self._on_segment)
        self.cancel.clicked.connect(self._on_cancel)
        self.session.progressed.connect(self._on_progress)
        self.session.ended.connect(self._on_ended)
        self.session.proposed.connect(self._on_proposed)
        self.session.project.failed.connect(self._on_project_failed)
        self.training.models_changed.connect(self._offer_model)
        self.training.adopted.connect(self.model.choose)
        self._offer_model()

    def event(self, event: QEvent) -> bool:
        """Stop a run when the widget is taken out of its dock."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.session.shut_down()
        return super().event(event)

    def showEvent(self, event: QEvent) -> None:
        """Have the corrections saved when the window closes; share the dock with our other widgets."""
        self.session.project.window_guard.watch(self)
        dock_as_tab(self)
        super().showEvent(event)

    def hideEvent(self, event: QEvent) -> None:
        """Stop a run when the whole window closes, not when only the dock is hidden."""
        window = self.window()
        while window.parentWidget() is not None:
            window = window.parentWidget().window()
        if not window.isVisible():
            self.session.shut_down()
        super().hideEvent(event)

    def _images(self) -> list[Image]:
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and RESULT_KEY not in layer.metadata
        ]

    def _regions(self) -> list[tuple[str, Shapes | None]]:
        shapes = [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]
        return [("whole image", None), *((layer.name, layer) for layer in shapes)]

    def _refresh(self, event=None) -> None:
        self.image.reset_choices()
        self.region.reset_choices()
        self._refresh_slices()
        self._refresh_buttons()

    def _on_active(self, event=None) -> None:
        """Choose the image that was opened or selected; during a run it waits for the end."""
        active = self.viewer.layers.selection.active
        image = next((i for i in self._images() if i == active), None)
        if image is not None:
            self._next_image = image
            self._take_next_image()

    def _take_next_image(self) -> None:
        if not self.session.running and self._next_image in self._images():
            self.image.value = self._next_image
            self._next_image = None

    def _on_image(self, event=None) -> None:
        self._next_image = None
        self._refresh_slices()

    def _refresh_slices(self, event=None) -> None:
        if self.image.value is not None and self.image.value is not self._suggested_for:
            self._suggested_for = self.image.value
            self.model.suggest(layer_scan(self.image.value))
        image, metadata = self.image.value, self.model.metadata
        sliced = (
            image is not None and metadata is not None and image.ndim > metadata.architecture.dims
        )
        self.this_slice.setVisible(sliced)

    def _refresh_buttons(self) -> None:
        running = self.session.running
        results = self.session.results
        if results is not None and not running and not results.any_left:
            self.legend.hide()
        ready = self.image.value is not None and self.model.path is not None
        self.segment.setEnabled(ready and not running)
        self.cancel.setEnabled(running)
        self.progress.setVisible(running)
        if self.image.value is None and not running and not self.status.text():
            self.status.say(OPEN_FIRST)
        elif self.image.value is not None and self.status.text() == OPEN_FIRST:
            self.status.say("")

    def _on_segment(self) -> None:
        choices = Choices(
            image=self.image.value,
            region=self.region.value,
            this_slice_only=self.this_slice.isVisible() and self.this_slice.isChecked(),
            checkpoint=self.model.path,
            samples=self.samples.value(),
            steps=self.steps.value() or None,
            seed=self.seed.value(),
            device=self.device.name,
        )
        try:
            self.session.start(choices)
        except LDSegError as error:
            self.status.say(str(error), error=True)
            return
        self.status.say("")
        self.progress.setValue(0)
        self._refresh_buttons()

    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.status.say("Stopping …")
        self.session.cancel()

    def _on_progress(self, snapshot: Snapshot) -> None:
        self.progress.setValue(round(1000 * snapshot.fraction))
        self.progress.setFormat(snapshot.message)
        result = snapshot.result
        if result is not None and result.summary is not None and snapshot.metadata is not None:
            self.legend.show_summary(result.summary, snapshot.metadata)

    def _on_ended(self, message: str, error: bool) -> None:
        self.status.say(message, error)
        self._take_next_image()
        self._refresh_buttons()

    def _offer_model(self) -> None:
        self.model.offer(self.training.model_in_use)
        self._suggested_for = None
        self._refresh()

    def _on_project_failed(self, text: str) -> None:
        self.status.say(text, error=True)

    def _on_proposed(self) -> None:
        proposal = self.session.proposal
        if proposal is None:
            self.update_notice.hide()
            return
        self.update_notice.show_text(
            proposal.sentence,
            ("Apply", self._on_apply),
            ("Keep both", self._on_keep_both),
        )

    def _on_apply(self) -> None:
        changed = self.session.decide(True)
        self.status.say(
            f"{changed:,} voxels updated; Ctrl-Z takes the whole update back."
            if changed
            else "Nothing was updated: you have edited, reviewed or removed those labels since."
        )

    def _on_keep_both(self) -> None:
        self.session.decide(False)
        self.status.say("Both label layers were kept.")
