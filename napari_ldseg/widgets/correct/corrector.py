"""The Correct widget's state: the layer and class being corrected, the tool in hand, the amounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal

from ...checkpoint.metadata import ClassInfo
from ...correction.change import Part
from ...layers.geometry import layer_scan, place
from ..common.class_labels import classes_of, labels_on, redefine_classes, unnamed_class
from ..common.layers import PREVIEW_KEY, RESULT_KEY, tolerate_cursor
from ..project.state import project_of
from .piece_click import Index, PieceClick
from .straight_layers import straighten
from .threshold_brush import ThresholdBrush
from .tool_runner import ToolRunner
from .tools import TOOLS
from .view import View

SELECT = "Select a labels layer that is not hidden, or press New labels."
OBLIQUE = (
    "{name} lies oblique in the window, where napari paints into other slices; press Straighten to "
    "correct it on straight axes. Its true position is kept and saved."
)
DATA_EVENTS = ("paint", "set_data")
LAYER_EVENTS = ("selected_label", "mode", "visible", "name", "features", "colormap")


@dataclass
class Amounts:
    """What the tools are set to: distances in mm (or voxels, where the spacing is unknown)."""

    slice_only: bool = False
    smoothing: float = 1.0
    distance: float = 1.0


class Corrector(QObject):
    """Applies tools to the labels layer that is selected. Lives in the GUI thread."""

    changed = Signal()
    said = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None):
        super().__init__(parent)
        self.target: Labels | None = None
        self.amounts = Amounts()
        self.armed: str | None = None
        self._viewer, self._view = viewer, View(viewer)
        self.brush = ThresholdBrush(self._view.axes)
        self._click = PieceClick(self._on_click)
        self._runner = ToolRunner(self, self._view)
        self._classes: dict[int, ClassInfo] = {}
        self._steps = (0, 0)
        layers = viewer.layers
        self._watched = (
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
        """Let go of the viewer and the layer; what is being computed is dropped."""
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
        """Whether the tools for pieces and shape work on the slice shown alone."""
        return self.amounts.slice_only and self.target.ndim >= 3

    def name_of(self, value: int) -> str:
        """Return the name of the target's class of that label value."""
        info = self.classes.get(int(value))
        return info.name if info is not None else f"label {value}"

    def choose(self, value: int) -> None:
        """Make ``value`` the class being corrected."""
        if self.target is not None and value in self.classes:
            self.target.selected_label = value

    def images(self) -> list[Image]:
        """Return the grey images on the target's grid, results left out, topmost first."""
        return [i for i in self._on_grid() if not i.rgb and RESULT_KEY not in i.metadata]

    def oblique(self) -> bool:
        """Whether the target must be straightened before anybody paints in it."""
        return self.target is not None and self._view.crosses(self.target)

    def reason(self, name: str) -> str:
        """Return one sentence why the tool cannot work now, or nothing."""
        layer, tool = self.target, TOOLS[name]
        if layer is None:
            return SELECT
        if layer.multiscale or not isinstance(layer.data, np.ndarray):
            return f"{layer.name} is not in memory; save it as NIfTI and open that file."
        if not layer.visible:
            return f"{layer.name} is hidden; press the eye beside its name first."
        if self.oblique():
            return OBLIQUE.format(name=layer.name)
        if self.value <= 0 and name != "erase_piece":
            return "The background is selected; choose a class first."
        if tool.across_slices and layer.ndim < 3:
            return f"{layer.name} is a 2D image, which has no slices."
        needs_slice = name.startswith("copy") or (self.by_slice and not tool.armed)
        if (tool.across_slices or needs_slice) and layer.ndim >= 3:
            if needs_slice and self._view.in_3d:
                return "The 3D view shows no slice; press the 2D/3D button at the bottom left."
            if self._view.slice_axis(self.target) is None:
                return (
                    "The view does not show slices in space; turn it with the roll button at the "
                    "bottom left."
                )
        if name == "threshold_brush" and not self.images():
            return f"There is no grey image on the grid of {layer.name} to take intensities from."
        return ""

    def use(self, name: str) -> None:
        """Apply a tool, or take an armed one in hand or put it down."""
        reason = self.reason(name)
        if reason:
            self.said.emit(reason, True)
        elif TOOLS[name].armed:
            self._arm(None if self.armed == name else name)
        else:
            self._runner.start(name, None)

    @property
    def steps(self) -> tuple[int, int]:
        """How many steps of the target can be undone, and how many done again."""
        if self.target is None:
            return 0, 0
        return len(self.target._undo_history), len(self.target._redo_history)

    def undo(self) -> None:
        """Take the last step back, as Ctrl+Z does with the layer selected."""
        if self.target is not None and not self.busy:
            self.target.undo()

    def redo(self) -> None:
        """Do it again."""
        if self.target is not None and not self.busy:
            self.target.redo()

    def typical_range(self) -> tuple[float, float] | None:
        """Return the intensities between which nine in ten voxels of the class lie in the part shown."""
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
        return int(np.count_nonzero(self.target.data == value))

    def make_labels(self, image: Image, classes: dict[int, ClassInfo]) -> None:
        """Add an empty labels layer on ``image``, ready to paint its first class."""
        layer = labels_on(image, classes)
        tolerate_cursor(lambda: self._viewer.add_layer(layer))
        self._select(layer)
        layer.selected_label = min(classes)
        layer.mode = "paint"
        self.said.emit(f"Paint {classes[self.value].name} with the brush in the image.", False)

    def redefine(self, classes: dict[int, ClassInfo], moves: dict[int, int]) -> None:
        """Give the target other classes, from when on it is recorded; ``moves`` as `redefine_classes`."""
        redefine_classes(self.target, classes, moves)
        project_of(self._viewer).labels.adopt(self.target)
        self.changed.emit()

    def straighten(self) -> None:
        """Put the target and the images on its grid on straight axes, in new layers; hide the old."""
        straighten(self._viewer, [*reversed(self._on_grid()), self.target])
        self.said.emit("The straight layers are new; the oblique ones are hidden.", False)

    def _on_grid(self) -> list[Image]:
        if self.target is None:
            return []
        here = place(self.target)
        images = [i for i in self._viewer.layers if isinstance(i, Image) and place(i) == here]
        return images[::-1]

    def _select(self, layer: Layer) -> None:
        tolerate_cursor(lambda: setattr(self._viewer.layers.selection, "active", layer))

    def _labels(self) -> list[Labels]:
        # napari hands plugins a proxy of the viewer; only iteration gives the layers themselves.
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [layer for layer in layers if PREVIEW_KEY not in layer.metadata]

    def _find_target(self, event=None) -> None:
        labels = self._labels()
        for layer in labels:
            layer.events.visible.connect(self._find_target)  # a second time is none
        active = self._viewer.layers.selection.active
        visible = [layer for layer in labels if layer.visible]
        # A layer that was opened hidden, as a ground truth is, was not chosen by being the last one.
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
        self._runner.forget_waiting()
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

    def _on_layer(self, event=None) -> None:
        if event.type in ("features", "colormap"):
            self._classes = classes_of(self.target)
        if event.type == "mode" and self.armed is not None:
            wanted = "paint" if self.armed == "threshold_brush" else "pan_zoom"
            if self.target.mode != wanted:
                self._arm(None)
        self.changed.emit()

    def _on_data(self, event=None) -> None:
        before, self._steps = self._steps, self.steps
        if self._steps[1] > before[1]:
            self.said.emit("Taken back.", False)
        if self._steps != before:
            self.changed.emit()

    def _on_view(self, event=None) -> None:
        if self.armed is not None and self.reason(self.armed):
            self._arm(None)
        self.changed.emit()

    def _arm(self, name: str | None) -> None:
        """Take a tool in hand that waits for the mouse, or with None put it down."""
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
            self.said.emit(reason or "That point lies outside the labels.", bool(reason))
        else:
            self._runner.start(name, index)
