"""The Correct widget's state: the layer and class being corrected, the tool in hand, the amounts.

A tool's change is computed in a worker thread and written in the GUI thread as one undo step of the
layer, through ``data_setitem`` so that ``events.paint`` fires. A voxel that the user has painted in
the meantime keeps what the user gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from ..checkpoint.metadata import ClassInfo
from ..correction.change import Change, Part
from ..correction.pieces import keep_largest, relabel_piece
from ..correction.shape import fill_holes, grow, shrink, smooth
from ..correction.slices import copy_slice, fill_between
from ..errors import LDSegError
from ..io.geometry import layer_scan, place
from .class_labels import classes_of, labels_on, redefine_classes, unnamed_class
from .piece_click import Index, PieceClick
from .project_state import project_of
from .result_layers import RESULT_KEY, tolerate_cursor
from .straight_layers import straighten
from .threshold_brush import ThresholdBrush
from .tools import TOOLS, why_nothing
from .view import View

SELECT = "Select a labels layer that is not hidden, or press New labels."
OBLIQUE = (
    "{name} lies oblique in the window, where napari paints into other slices; press Straighten to "
    "correct it on straight axes. Its true position is kept and saved."
)
TAKE_BACK = "Ctrl+Z takes it back."
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
        self._queue: list[tuple[str, Index | None]] = []
        self._worker = None
        self._classes: dict[int, ClassInfo] = {}
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
        if self._worker is not None:
            self._worker.returned.disconnect()
            self._worker.errored.disconnect()
            self._worker = None
        self._set_target(None)
        for layer in self._labels():
            layer.events.visible.disconnect(self._find_target)
        for event, action in self._watched:
            event.disconnect(action)
        self._watched = ()

    @property
    def busy(self) -> bool:
        """Whether a change is being computed."""
        return self._worker is not None

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
        needs_slice = name.startswith("copy") or (self._by_slice and not tool.armed)
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
            self._start(name, None)

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
        part = Part.shown(self._view.position(self.target))
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

    def _start(self, name: str, index: Index | None) -> None:
        self._queue.append((name, index))
        if not self.busy:
            self._next()

    def _next(self) -> None:
        if not self._queue:
            return
        name, index = self._queue.pop(0)
        try:
            job, follow = self._job(name, index)
        except LDSegError as error:
            self.said.emit(str(error), True)
            self._next()
            return
        layer, data = self.target, self.target.data
        nothing = self._why_nothing(name)
        self._worker = create_worker(job, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(
            lambda change: self._finish(layer, data, name, change, nothing, follow)
        )
        self._worker.errored.connect(self._fail)
        self.changed.emit()
        self._worker.start()

    def _finish(self, layer, data, name, change: Change, nothing: str, follow) -> None:
        self._worker = None
        if layer is not self.target or layer.data is not data:
            self.said.emit(
                f"{TOOLS[name].words} was not applied, since another layer was selected meanwhile.",
                True,
            )
        elif not len(change):
            self.said.emit(nothing, False)
        elif name == "shrink" and not self._any_left(layer, change):
            self.said.emit(
                f"That would leave nothing of {self._name(change.before[0])}; take a smaller distance.",
                True,
            )
        else:
            untouched = data[change.indices] == change.before
            indices = tuple(i[untouched] for i in change.indices)
            layer.data_setitem(indices, change.after[untouched])
            follow()
            voxels = f"{len(indices[0]):,} voxel{'s' if len(indices[0]) != 1 else ''}"
            self.said.emit(f"{TOOLS[name].words}: {voxels} changed. {TAKE_BACK}", False)
        self.changed.emit()
        self._next()

    def _fail(self, error: Exception) -> None:
        self._worker = None
        self._queue.clear()
        self.said.emit(f"That did not work, and nothing was changed: {error}.", True)
        self.changed.emit()

    def _job(self, name: str, index: Index | None) -> tuple[Callable[[], Change], Callable]:
        """Return what computes the tool's change, and what to do once it is written."""
        layer, value, amounts = self.target, self.value, self.amounts
        labels, position = layer.data, self._view.position(layer)
        axis = self._view.slice_axis(layer)
        # A click in the 3D view is on a whole piece.
        by_slice = self._by_slice and not self._view.in_3d
        part = Part.shown(index or position, axis if by_slice else None)
        spacing = self._spacing_of(part)

        def stay() -> None:
            pass

        def across(function, *arguments):
            part = Part.shown(position)
            along = part.free.index(axis)
            return lambda: part.whole(function(part.of(labels), value, along, *arguments))

        if name in ("erase_piece", "relabel_piece"):
            here = tuple(index[a] for a in part.free)
            given = value if name == "relabel_piece" else 0
            return lambda: part.whole(relabel_piece(part.of(labels), here, given)), stay
        if name == "fill_between":
            return across(fill_between, self._spacing_of(Part.shown(position))), stay
        if name in ("copy_next", "copy_previous"):
            here = position[axis]
            there = here + (1 if name == "copy_next" else -1)
            if not 0 <= there < labels.shape[axis]:
                raise LDSegError("This is the last slice in that direction.")
            if not (Part.shown(position, axis).of(labels) == value).any():
                raise LDSegError(
                    f"There is no {self._name(value)} in this slice to copy; go to one that has it."
                )
            return across(copy_slice, here, there), partial(self._view.go_to, layer, axis, there)
        jobs = {
            "keep_largest": lambda view: keep_largest(view, value),
            "fill_holes": lambda view: fill_holes(view, value),
            "smooth": lambda view: smooth(view, value, amounts.smoothing, spacing),
            "grow": lambda view: grow(view, value, amounts.distance, spacing),
            "shrink": lambda view: shrink(view, value, amounts.distance, spacing),
        }
        return lambda: part.whole(jobs[name](part.of(labels))), stay

    def _why_nothing(self, name: str) -> str:
        """Return the sentence for a tool that changes nothing."""
        part = "image" if self.target.ndim == 2 else "slice" if self._by_slice else "volume"
        amount = self.amounts.smoothing if name == "smooth" else self.amounts.distance
        return why_nothing(name, self._name(self.value), part, f"{amount:g} {self.unit}")

    def _any_left(self, layer: Labels, change: Change) -> bool:
        part = Part.shown(
            self._view.position(self.target),
            self._view.slice_axis(self.target) if self._by_slice else None,
        )
        return np.count_nonzero(part.of(layer.data) == change.before[0]) > len(change)

    @property
    def _by_slice(self) -> bool:
        return self.amounts.slice_only and self.target.ndim >= 3

    def _name(self, value: int) -> str:
        info = self.classes.get(int(value))
        return info.name if info is not None else f"label {value}"

    def _spacing_of(self, part: Part) -> tuple[float, ...]:
        spacing = self.spacing
        skipped = self.target.ndim - len(spacing)
        return tuple(spacing[a - skipped] for a in part.free)

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
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

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
        self._queue.clear()
        if self.target is not None:
            for name in LAYER_EVENTS:
                getattr(self.target.events, name).disconnect(self._on_layer)
        self.target = layer
        self._classes = {}
        if layer is not None:
            self._classes = classes_of(layer) if not layer.multiscale else {}
            for name in LAYER_EVENTS:
                getattr(layer.events, name).connect(self._on_layer)

    def _on_layer(self, event=None) -> None:
        if event.type in ("features", "colormap"):
            self._classes = classes_of(self.target)
        if event.type == "mode" and self.armed is not None:
            wanted = "paint" if self.armed == "threshold_brush" else "pan_zoom"
            if self.target.mode != wanted:
                self._arm(None)
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
            self._start(name, index)
