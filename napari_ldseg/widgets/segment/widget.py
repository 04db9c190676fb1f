"""The Segment widget: its controls and what they show. The session does the work."""

from __future__ import annotations

from typing import Any

import napari
from magicgui.widgets import ComboBox
from napari.layers import Image, Labels, Shapes
from qtpy.QtGui import QHideEvent
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
from ...inference.checks import is_larger, larger_images
from ...layers.channels import holds_channels, split_channels
from ...layers.geometry import layer_scan
from ...utils.installed import can_compute
from ..common.class_labels import classes_of
from ..common.device_choice import DeviceChoice
from ..common.layers import RESULT_KEY, add_unselected
from ..common.legend import Legend
from ..common.model_choice import ModelChoice
from ..common.notice import Notice
from ..common.qt import main_window
from ..common.style import PROMINENT, narrowed, scrolled
from ..project.save_result import SaveResult
from ..project.tab import Tab
from ..train.state import training_of
from .channel_choice import ChannelChoice
from .pixel_size_part import PixelSizePart
from .sampling import SamplingSettings, Snapshot
from .server_part import ServerPart
from .session import Choices, Session

OPEN_FIRST = "Open a scan first: File > Open, or File > Open Sample > LDSeg."
SERVER = "server"  # among the devices
DISCLAIMER = "For research only; not for diagnosis or treatment."


class SegmentWidget(Tab):
    """Segments the chosen image with the chosen model and shows where the model is unsure."""

    def __init__(self, napari_viewer: napari.Viewer):
        super().__init__(napari_viewer)
        self.session = Session(napari_viewer, self)
        self.training = training_of(napari_viewer)
        self._suggested_for: Image | None = None
        self._next_image: Image | None = None
        self._ending = False
        self._result_image: Image | None = None
        self._build_controls()
        self._lay_out()
        self.save_result.hide()
        self._connect()
        self._refresh()
        self._on_active()
        self._list_models()
        if not can_compute():
            self.more.expand(animate=False)
        self.device.list_accelerators()

    def _build_controls(self) -> None:
        self.channels = ChannelChoice()
        self.model = ModelChoice()
        self.image = ComboBox(choices=lambda _: self._images())
        self.region = ComboBox(choices=lambda _: self._regions())
        for layers in (self.image, self.region):
            narrowed(layers.native)
        self.region.tooltip = (
            "The whole image, in which the region is searched if the model was trained on smaller "
            "images, or the box on a Shapes layer"
        )
        self.pixel_size = PixelSizePart(self.viewer, self.project_state)
        self.samples = QSpinBox()
        self.samples.setRange(1, 1000)
        self.samples.setValue(10)
        self.samples.setToolTip("More samples give a finer uncertainty")
        self.this_slice = QCheckBox("only the slice shown")
        self.steps = QSpinBox()
        self.steps.setRange(0, 1000)
        self.steps.setSpecialValueText("automatic")
        self.steps.setToolTip(
            "Steps per sample. Automatic: the number that the model was tested with, and labels of "
            "one estimate in few steps. With a number of yours the labels are the mean of the samples"
        )
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same result")
        self.device = DeviceChoice()
        self.device.addItem("a server", SERVER)
        self.server = ServerPart()
        self.segment = QPushButton("Segment")
        self.segment.setToolTip("Segment the image several times, once per sample")
        self.segment.setStyleSheet(PROMINENT)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; the samples so far are kept")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.update_notice = Notice()
        self.legend = Legend()
        self.save_result = SaveResult(
            self.viewer, lambda: self.session.result_on(self._result_image)
        )

    def _lay_out(self) -> None:
        main = QFormLayout()
        main.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._image_label = QLabel("Image")
        main.addRow(self._image_label, self.image.native)
        main.addRow(self.channels)
        main.addRow(self.pixel_size)
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
        settings.addRow(self.server)
        self.more = folded = QCollapsible("More settings", expandedIcon="▼", collapsedIcon="▶")
        folded.addWidget(more)
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment, 2)
        buttons.addWidget(self.cancel, 1)
        disclaimer = QLabel(DISCLAIMER)
        disclaimer.setWordWrap(True)
        disclaimer.setEnabled(False)
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
        column.addWidget(self.save_result)
        column.addStretch(1)
        column.addWidget(disclaimer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scrolled(content))

    def _connect(self) -> None:
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed, layers.reordered):
            event.connect(self._refresh)
        self.viewer.layers.selection.events.active.connect(self._on_active)
        self.image.changed.connect(self._on_image)
        self.channels.changed.connect(self._on_channels)
        self.pixel_size.changed.connect(self._on_pixel_size)
        self.pixel_size.failed.connect(self.show_error)
        self.model.changed.connect(self._on_model)
        self.model.failed.connect(self.show_error)
        self.device.currentIndexChanged.connect(self._on_device)
        self.server.changed.connect(self._on_device)
        self.server.failed.connect(self.show_error)
        self.segment.clicked.connect(self._on_segment)
        self.cancel.clicked.connect(self._on_cancel)
        self.save_result.message.connect(self.status.show_message)
        self.session.progressed.connect(self._on_progress)
        self.session.ended.connect(self._on_ended)
        self.session.proposal_changed.connect(self._refresh_proposal)
        self.project_state.changed.connect(self._on_project)
        self.training.models_changed.connect(self._offer_model)
        self.training.adopted.connect(self.model.choose)
        self._offer_model()

    def shut_down(self) -> None:
        """Stop a run."""
        self.model.shut_down()
        self.session.shut_down()
        self.server.shut_down()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Stop a run when the whole window closes, not when only the dock is hidden."""
        if not main_window(self).isVisible():
            self.shut_down()
        super().hideEvent(event)

    def _images(self) -> list[Image]:
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and RESULT_KEY not in layer.metadata
        ]

    def _regions(self) -> list[tuple[str, Shapes | None]]:
        shapes = [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]
        whole = "find the region" if self._is_searched() else "whole image"
        return [(whole, None), *((layer.name, layer) for layer in shapes)]

    def _is_searched(self) -> bool:
        """Return whether the model finds its structures in the image, which is too large for it."""
        image, metadata = self.image.value, self.model.metadata
        if image is None or metadata is None or larger_images(metadata) != "find":
            return False
        if self._in_one_layer(image):
            return False
        scan = layer_scan(image)
        return scan.space >= metadata.architecture.dims and is_larger(metadata, scan)

    @property
    def _on_server(self) -> bool:
        return self.device.name == SERVER

    def _on_device(self) -> None:
        self.status.show_message("")
        self._list_models()

    def _list_models(self) -> None:
        """List the models of the server, or those of this computer."""
        self.server.setVisible(self._on_server)
        self.model.offer_server(self.server.models if self._on_server else None)

    def _on_model(self) -> None:
        if self.image.value is not None and self.model.path is not None and not self._on_server:
            self.training.note_use(self.model.path)
        self._refresh()

    def _refresh(self, event: Any = None) -> None:
        self.image.reset_choices()
        self.region.reset_choices()
        self._refresh_slices()
        self._refresh_channels()
        self._refresh_buttons()

    def _on_active(self, event: Any = None) -> None:
        """Choose the image that was opened or selected; during a run, after its end."""
        active = self.viewer.layers.selection.active
        image = next((i for i in self._images() if i == active), None)
        if image is not None:
            self._next_image = image
            self._take_next_image()

    def _take_next_image(self) -> None:
        if not self.session.running and self._next_image in self._images():
            self.image.value = self._next_image
            self._next_image = None

    def _on_image(self, event: Any = None) -> None:
        self._next_image = None
        self._refresh_channels()
        self.region.reset_choices()
        if not self.session.running and not self._ending and self.image.value is not None:
            # What was reported, and the table, belong to the image chosen before.
            self._result_image = self._first_layer()
            self.status.show_message("")
            self._refresh_legend()
        self._refresh_slices()

    def _on_project(self) -> None:
        if not self.session.running:
            self._refresh_legend()  # a case may have been opened

    def _refresh_channels(self) -> None:
        """Show a row per channel instead of the image's, if the model needs several layers."""
        image, metadata = self.image.value, self.model.metadata
        names: tuple[str, ...] = ()
        if image is not None and metadata is not None and not image.rgb:
            several = len(metadata.channels) > 1 and not self._in_one_layer(image)
            names = metadata.channels if several else ()
        grey = [layer for layer in self._images() if not layer.rgb]
        self.channels.show_for(names, grey, image)
        for part in (self._image_label, self.image.native):
            part.setVisible(not names)

    def _on_channels(self) -> None:
        """Follow the choice of the first channel, whose layer stands for the image."""
        first = self._first_layer()
        if first is not None and first is not self.image.value:
            self.image.value = first

    def _first_layer(self) -> Image | None:
        """Return the layer that the results belong to."""
        chosen = self.channels.chosen
        return chosen[0] if chosen and chosen[0] is not None else self.image.value

    def _in_one_layer(self, image: Image) -> bool:
        """Return whether the first axis of ``image`` is that of the model's channels."""
        metadata = self.model.metadata
        return metadata is not None and holds_channels(
            image, len(metadata.channels), metadata.architecture.dims
        )

    def _layers(self, image: Image) -> tuple[Image, ...]:
        """Return the layers of the model's channels, split from one if necessary; none if it has no rows.

        Raises
        ------
        LDSegError
            If a channel has no layer, or two have the same.
        """
        if self.channels.names:
            return self.channels.layers()
        if not self._in_one_layer(image):
            return ()
        layers = split_channels(image)
        for layer in layers:
            add_unselected(self.viewer, layer)
        image.visible = False
        self.image.value = layers[0]
        return tuple(layers)

    def _on_pixel_size(self, image: Image) -> None:
        """Show the results of ``image`` in its new unit."""
        self.session.follow_image(image)
        self._suggested_for = None
        self.status.show_message("")
        self._refresh()

    def _refresh_legend(self) -> None:
        """Show the table of the newest result on the image, if a layer of it is left."""
        layer = self.session.result_on(self._result_image)
        self.save_result.setVisible(isinstance(layer, Labels))
        if layer is None:
            self.legend.clear()
            return
        summary = layer.metadata[RESULT_KEY]
        if isinstance(layer, Labels):
            self.legend.show_result(summary, list(classes_of(layer).values()), layer)
        elif self.session.results is not None:
            self.legend.show_result(summary, self.session.results.metadata.classes[1:])

    def _refresh_slices(self, event: Any = None) -> None:
        if self.image.value is not None and self.image.value is not self._suggested_for:
            self._suggested_for = self.image.value
            self.model.suggest(layer_scan(self.image.value))
        elif self.image.value is None and self._suggested_for is not None:
            self._suggested_for = None
            self.model.suggest(None)
        image, metadata = self.image.value, self.model.metadata
        sliced = (
            image is not None
            and metadata is not None
            and image.ndim - self._in_one_layer(image) > metadata.architecture.dims
        )
        self.this_slice.setVisible(sliced)

    def _refresh_buttons(self) -> None:
        running = self.session.running
        if not running:
            self._refresh_legend()
        ready = self.image.value is not None and self.model.path is not None
        self.segment.setEnabled(ready and not running)
        self.pixel_size.show_for(self.image.value)
        for part in (self.pixel_size, self.device, self.server):
            part.setEnabled(not running)
        self.cancel.setEnabled(running)
        self.progress.setVisible(running)
        if self.image.value is None and not running and not self.status.text():
            self.status.show_message(OPEN_FIRST)
        elif self.image.value is not None and self.status.text() == OPEN_FIRST:
            self.status.show_message("")

    def _on_segment(self) -> None:
        image, checkpoint = self.image.value, self.model.path
        if image is None or checkpoint is None:
            return
        settings = SamplingSettings(
            checkpoint=checkpoint,
            samples=self.samples.value(),
            steps=self.steps.value() or None,
            seed=self.seed.value(),
            device=self.device.name,
            server=self.server.server if self._on_server else None,
        )
        this_slice_only = self.this_slice.isVisible() and self.this_slice.isChecked()
        try:
            layers = self._layers(image)
            image = layers[0] if layers else image
            choices = Choices(image, self.region.value, this_slice_only, settings, layers)
            self.session.start(choices)
        except LDSegError as error:
            self.show_error(str(error))
            return
        self.model.settle()
        self._result_image = image
        self.status.show_message("")
        self.progress.setValue(0)
        self._refresh_buttons()

    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.status.show_message("Stopping …")
        self.session.cancel()

    def _on_progress(self, snapshot: Snapshot) -> None:
        self.progress.setValue(round(1000 * snapshot.fraction))
        self.progress.setFormat(snapshot.message)
        if snapshot.result is not None and snapshot.result.summary is not None:
            self._refresh_legend()

    def _on_ended(self, message: str, error: bool) -> None:
        self.status.show_message(message, error)
        # The message stays although an image that was opened meanwhile is chosen now.
        self._ending = True
        self._take_next_image()
        self._ending = False
        self._refresh_buttons()

    def _offer_model(self) -> None:
        self.model.offer(self.training.model_in_use)
        self._suggested_for = None
        self._refresh()

    def _refresh_proposal(self) -> None:
        proposal = self.session.proposal
        if proposal is None:
            self.update_notice.hide()
            return
        self.update_notice.show_text(
            proposal.message,
            ("Apply", self._on_apply),
            ("Keep both", self._on_keep_both),
        )

    def _on_apply(self) -> None:
        changed = self.session.apply_proposal()
        self.status.show_message(
            f"{changed:,} voxels were updated; press Ctrl+Z to undo the whole update."
            if changed
            else "Nothing was updated: you have edited, reviewed or removed these labels since then."
        )

    def _on_keep_both(self) -> None:
        self.session.decline_proposal()
        self.status.show_message("Both labels layers were kept.")
