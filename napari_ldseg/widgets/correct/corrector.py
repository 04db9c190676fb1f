"""The Correct widget's state: the layer and class being corrected, the armed tool, the amounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal

from ...checkpoint.metadata import ClassInfo
from ...correction.change import Part
from ...errors import LDSegError
from ...layers.geometry import grid_of, layer_scan
from ...layers.straighten import straightened
from ..common.class_labels import classes_of, labels_on, redefine_classes, unnamed_class
from ..common.layers import PREVIEW_KEY, RESULT_KEY, ignore_cursor_error
from ..project.state import project_of
from .piece_click import Index, PieceClick
from .threshold_brush import ThresholdBrush
from .tool_job import ToolJob
from .tool_runner import ToolRunner
from .tools import TOOLS
from .view import View

SELECT = "Select a labels layer that is visible, or press New labels."
OBLIQUE = (
    "{name} is oblique to the view, where napari paints into the wrong slices; press Straighten to "
    "correct it on straight axes. Its true position is kept and saved."
)
DATA_EVENTS = ("paint", "set_data")
LAYER_EVENTS = ("selected_label", "mode", "visible", "name", "features", "colormap")


@dataclass
class Amounts:
    """The settings of the tools: distances in mm, or in voxels where the spacing is unknown."""

    slice_only: bool = False
    smoothing: float = 1.0
    distance: float = 1.0


class Corrector(QObject):
    """Applies tools to the selected labels layer. Lives in the GUI thread."""

    changed = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None):
        super().__init__(parent)
        self.target: Labels | None = None
        self.amounts = Amounts()
        self.armed: str | None = None
        self._viewer, self._view = viewer, View(viewer)
        self.brush = ThresholdBrush(self._view.axes)
        self._click = PieceClick(self._on_click)
        self._runner = ToolRunner(self._make_job, self)
        self._runner.changed.connect(self.changed)
        self._runner.message.connect(self.message)
        self._runner.written.connect(self._on_written)
        self._classes: dict[int, ClassInfo] = {}
        self._steps = (0, 0)
        layers = viewer.layers
        self._watched: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (layers.selection.events.active, self._find_target),
            (layers.events.inserted, self._find_target),
            (layers.events.removed, self._find_target),
            (viewer.dims.events.order, self._on_view),
            (viewer.dims.events.ndisplay, self._on_view),
        )
        for event, action in self._watched:
            event.connect(action)
        self._find_target()

    def shut_down(self) -> None:
        """Release the viewer and the layer; a change that is being computed is dropped."""
        self._runner.shut_down()
        self._set_target(None)
        for layer in self._labels():
            layer.events.visible.disconnect(self._find_target)
        for event, action in self._watched:
            event.disconnect(action)
        self._watched = ()

    @property
    def busy(self) -> bool:
        """Whether a change is being computed."""
        return self._runner.busy

    @property
    def value(self) -> int:
        """The label value of the class being corrected; 0 is background."""
        return 0 if self.target is None else int(self.target.selected_label)

    @property
    def classes(self) -> dict[int, ClassInfo]:
        """The target's classes by label value, the one being corrected included."""
        if self.target is None or self.value <= 0 or self.value in self._classes:
            return self._classes
        return {**self._classes, self.value: unnamed_class(self.target, self.value)}

    @property
    def unit(self) -> str:
        """``mm``, or ``px`` where the target's spacing is unknown."""
        return "mm" if self.target is None or layer_scan(self.target).calibrated else "px"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel sizes of the target's spatial axes in ``unit``."""
        scan = layer_scan(self.target)
        return scan.spacing[-min(3, len(scan.shape)) :]

    @property
    def by_slice(self) -> bool:
        """Whether the tools for pieces and shape change the slice shown only."""
        volume = self.target is not None and self.target.ndim >= 3
        return self.amounts.slice_only and volume

    def name_of(self, value: int) -> str:
        """Return the name of the target's class with that label value."""
        info = self.classes.get(int(value))
        return info.name if info is not None else f"label {value}"

    def choose(self, value: int) -> None:
        """Correct the class with label ``value``, if there is one."""
        if self.target is not None and value in self.classes:
            self.target.selected_label = value

    def images(self) -> list[Image]:
        """Return the grey images on the target's grid without results, the topmost first."""
        return [i for i in self._on_grid() if not i.rgb and RESULT_KEY not in i.metadata]

    def oblique(self) -> bool:
        """Return whether the target must be straightened before it can be painted."""
        return self.target is not None and self._view.is_oblique(self.target)

    def reason(self, name: str) -> str:
        """Return why the tool cannot be used now, in one sentence, or ""."""
        layer, tool = self.target, TOOLS[name]
        if layer is None:
            return SELECT
        if layer.multiscale or not isinstance(layer.data, np.ndarray):
            return f"{layer.name} is not in memory; save it as NIfTI and open the saved file."
        if not layer.visible:
            return f"{layer.name} is hidden; press the eye beside its name first."
        if self.oblique():
            return OBLIQUE.format(name=layer.name)
        if self.value <= 0 and name != "erase_piece":
            return "The background is selected; select a class first."
        if tool.across_slices and layer.ndim < 3:
            return f"{layer.name} is a 2D image, which has no slices."
        needs_slice = name.startswith("copy") or (self.by_slice and not tool.armed)
        if (tool.across_slices or needs_slice) and layer.ndim >= 3:
            if needs_slice and self._view.in_3d:
                return "The 3D view shows no slice; press the 2D/3D button at the bottom left."
            if self._view.slice_axis(layer) is None:
                return "The view shows no spatial slices; turn it with the roll button at the bottom left."
        if name == "threshold_brush" and not self.images():
            return f"There is no grey image on the grid of {layer.name}; the threshold brush needs one."
        return ""

    def use(self, name: str) -> None:
        """Apply a tool, or arm or disarm one that waits for the mouse."""
        reason = self.reason(name)
        if reason:
            self.message.emit(reason, True)
        elif TOOLS[name].armed:
            self._arm(None if self.armed == name else name)
        else:
            self._runner.start(name, None)

    @property
    def steps(self) -> tuple[int, int]:
        """How many steps of the target can be undone, and how many redone."""
        if self.target is None:
            return 0, 0
        return len(self.target._undo_history), len(self.target._redo_history)

    def undo(self) -> None:
        """Undo the last step, as Ctrl+Z does while the layer is selected."""
        if self.target is not None and not self.busy:
            self.target.undo()

    def redo(self) -> None:
        """Redo the step that was undone last."""
        if self.target is not None and not self.busy:
            self.target.redo()

    def typical_range(self) -> tuple[float, float] | None:
        """Return the range that holds the intensities of 90 % of the class's voxels in the part shown."""
        image = self.brush.image
        if image is None or self.target is None or self.value <= 0:
            return None
        part = Part.at(self._view.position(self.target))
        data = image.data[0] if image.multiscale else image.data
        inside = part.of(self.target.data) == self.value
        if not inside.any():
            return None
        low, high = np.percentile(np.asarray(part.of(data))[inside], (5, 95))
        return float(low), float(high)

    def count(self, value: int) -> int:
        """Return how many voxels of the target have ``value``."""
        return 0 if self.target is None else int(np.count_nonzero(self.target.data == value))

    def make_labels(self, image: Image, classes: dict[int, ClassInfo]) -> None:
        """Add an empty labels layer on ``image``, ready to paint its first class."""
        layer = labels_on(image, classes)
        with ignore_cursor_error():
            self._viewer.add_layer(layer)
        self._select(layer)
        layer.selected_label = min(classes)
        layer.mode = "paint"
        self.message.emit(f"Paint {classes[self.value].name} with the brush in the image.", False)

    def redefine(self, classes: dict[int, ClassInfo], moves: dict[int, int]) -> None:
        """Replace the target's classes and have it recorded; ``moves`` as in ``redefine_classes``."""
        redefine_classes(self.target, classes, moves)
        project_of(self._viewer).labels.track_if_classified(self.target)
        self.changed.emit()

    def straighten(self) -> None:
        """Add straight copies of the target and the images on its grid, and hide the originals."""
        originals = [*reversed(self._on_grid()), self.target]
        copies = [straightened(layer) for layer in originals]
        for layer, copy in zip(originals, copies, strict=True):
            copy.visible, layer.visible = layer.visible, False
            with ignore_cursor_error():
                self._viewer.add_layer(copy)
        viewer, labels = self._viewer, copies[-1]
        viewer.layers.selection.active = labels
        viewer.reset_view()
        centre = np.mean(labels.extent.world, axis=0)
        viewer.dims.point = (*viewer.dims.point[: -len(centre)], *centre)
        self.message.emit("Straight copies were added; the oblique layers are hidden.", False)

    def _on_grid(self) -> list[Image]:
        if self.target is None:
            return []
        grid = grid_of(self.target)
        images = [i for i in self._viewer.layers if isinstance(i, Image) and grid_of(i) == grid]
        return images[::-1]

    def _select(self, layer: Layer) -> None:
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer

    def _labels(self) -> list[Labels]:
        # napari hands plugins a proxy of the viewer; only iteration gives the layers themselves.
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [layer for layer in layers if PREVIEW_KEY not in layer.metadata]

    def _find_target(self, event: Any = None) -> None:
        labels = self._labels()
        for layer in labels:
            layer.events.visible.connect(self._find_target)  # connects only once
        active = self._viewer.layers.selection.active
        visible = [layer for layer in labels if layer.visible]
        # A hidden layer, as the ground truth of a sample, is selected when opened but not chosen.
        found = next((layer for layer in visible if layer == active), None)
        if found is None and any(layer is self.target for layer in labels):
            found = self.target
        if found is None and len(visible) == 1:
            found = visible[0]
        if found is not self.target:
            self._set_target(found)
        self.changed.emit()

    def _set_target(self, layer: Labels | None) -> None:
        self._arm(None)
        self._runner.set_layer(layer)
        if self.target is not None:
            for name in LAYER_EVENTS:
                getattr(self.target.events, name).disconnect(self._on_layer)
            for name in DATA_EVENTS:
                getattr(self.target.events, name).disconnect(self._on_data)
        self.target = layer
        self._classes = {}
        if layer is not None:
            self._classes = classes_of(layer) if not layer.multiscale else {}
            for name in LAYER_EVENTS:
                getattr(layer.events, name).connect(self._on_layer)
            for name in DATA_EVENTS:
                getattr(layer.events, name).connect(self._on_data)
        self._steps = self.steps

    def _on_layer(self, event: Any) -> None:
        if event.type in ("features", "colormap"):
            self._classes = classes_of(self.target)
        if event.type == "mode" and self.armed is not None:
            wanted = "paint" if self.armed == "threshold_brush" else "pan_zoom"
            if event.source.mode != wanted:
                self._arm(None)
        self.changed.emit()

    def _on_data(self, event: Any = None) -> None:
        before, self._steps = self._steps, self.steps
        if self._steps[1] > before[1]:
            self.message.emit("Undone.", False)
        if self._steps != before:
            self.changed.emit()

    def _on_view(self, event: Any = None) -> None:
        if self.armed is not None and self.reason(self.armed):
            self._arm(None)
        self.changed.emit()

    def _arm(self, name: str | None) -> None:
        """Arm a tool that waits for the mouse; with None only disarm."""
        self.armed = None
        self.brush.detach()
        self._click.detach()
        if name == "threshold_brush":
            self.brush.attach(self.target)
        elif name is not None:
            self._click.attach(self.target)
        self.armed = name
        if name is not None:
            self._select(self.target)
        self.changed.emit()

    def _on_click(self, index: Index | None) -> None:
        name = self.armed
        if name is None:
            return
        reason = self.reason(name)
        if reason or index is None:
            self.message.emit(reason or "There is no labelled voxel at that point.", bool(reason))
        else:
            self._runner.start(name, index)

    def _make_job(self, name: str, index: Index | None) -> ToolJob:
        """Return the job of a tool on the target as it is now. Raises LDSegError."""
        layer, reason = self.target, self.reason(name)
        if layer is None or reason:
            raise LDSegError(reason or SELECT)
        position = self._view.position(layer)
        return ToolJob(
            name=name,
            layer=layer,
            labels=layer.data,
            value=self.value,
            structure=self.name_of(self.value),
            position=index or position,
            slice_axis=self._view.slice_axis(layer),
            # A click in the 3D view is on a piece of the volume.
            by_slice=self.by_slice and not self._view.in_3d,
            spacing=self.spacing,
            unit=self.unit,
            smoothing=self.amounts.smoothing,
            distance=self.amounts.distance,
        )

    def _on_written(self, job: ToolJob) -> None:
        if job.slice_axis is not None and job.next_position is not None:
            self._view.go_to(job.layer, job.slice_axis, job.next_position)
