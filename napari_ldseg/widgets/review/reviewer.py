"""The Review tab's state: the labels under review, their uncertain regions, and the region shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, Signal
from scipy import ndimage

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...review.maps import error_from_predictive_sd, nearest_other_class
from ...review.regions import UncertainRegion, expected_error_left, uncertain_regions
from ..common.latest import Latest
from ..common.layers import PREVIEW_KEY, REVIEWED_KEY, ignore_cursor_error
from ..common.sizes import Unit, unit_of
from ..project.state import project_of
from ..project.tracked_labels import TrackedLabels
from .border_pen import BorderPen
from .camera import go_to
from .outline import RegionOutline

NO_RESULT = "Segment an image, or open a case of the project; its uncertain regions appear here."
TO_DO, REVIEWED, SKIPPED = "to do", "reviewed", "skipped"
NEARLY_ALL = 0.999
SMALL = 0.1  # of the regions' expected error: when no more than this is to do, the list says so


class Reviewer(QObject):
    """Follows the selected labels layer with a result. Lives in the GUI thread.

    ``changed`` follows any change, ``target_changed`` only that of the labels or of their result,
    ``moved`` a new current region.
    """

    changed = Signal()
    target_changed = Signal()
    moved = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None):
        super().__init__(parent)
        self._viewer = viewer
        self._project = project_of(viewer)
        self._outline = RegionOutline(viewer)
        self._pen = BorderPen(self._on_border)
        self._work = Latest()
        self._error: np.ndarray | None = None
        self._left = self._total = 0.0  # in voxels
        self._skipped: set[int] = set()
        self.ended = False  # whether the user was told that little or nothing is left
        self._brush: int | None = None  # the last size that we gave the brush
        self.target: TrackedLabels | None = None
        self.regions: list[UncertainRegion] = []
        self.states: list[str] = []
        self.current: int | None = None
        layers = viewer.layers
        self._watched: tuple[tuple[Any, Any], ...] = (
            (layers.selection.events.active, self._find_target),
            (layers.events.inserted, self._find_target),
            (layers.events.removed, self._find_target),
        )
        for event, action in self._watched:
            event.connect(action)
        self._project.labels.result_changed.connect(self._on_result)
        self._project.changed.connect(self._refresh_states)
        self._find_target()

    def shut_down(self) -> None:
        """Release the viewer and its layers."""
        for event, action in self._watched:
            event.disconnect(action)
        self._watched = ()
        self._project.labels.result_changed.disconnect(self._on_result)
        self._project.changed.disconnect(self._refresh_states)
        self._pen.detach()
        self._outline.hide()

    @property
    def layer(self) -> Labels | None:
        """The labels layer under review."""
        return None if self.target is None else self.target.layer

    @property
    def image(self) -> Layer | None:
        """The image of the labels under review."""
        return None if self.target is None else self.target.image

    @property
    def maps(self) -> Mapping[str, np.ndarray]:
        """The maps of the result under review, by the names of ``project.case.MAPS``."""
        return {} if self.target is None else self.target.result_maps()

    @property
    def region(self) -> UncertainRegion | None:
        """The region shown, None before the first."""
        return None if self.current is None else self.regions[self.current]

    @property
    def busy(self) -> bool:
        """Whether the regions are being computed."""
        return self._work.busy

    @property
    def unit(self) -> Unit:
        """The unit of the regions' expected wrong volume."""
        unit = Unit("voxels", 1) if self.layer is None else unit_of(self.layer)
        return Unit("mm³", 1) if unit.name == "ml" else unit  # regions are small

    def name_of(self, value: int) -> str:
        """Return the name of the class with label ``value``."""
        info = self.target.classes.get(value) if self.target is not None else None
        return info.name if info is not None else f"label {value}"

    @property
    def error_left(self) -> tuple[float, float]:
        """The expected wrong volume that is left, and that of the whole result, in mm³, mm² or voxels."""
        size = 1.0 if self.layer is None else layer_scan(self.layer).voxel_size
        return self._left * size, self._total * size

    @property
    def share_to_do(self) -> float:
        """The share of the regions' expected error in those that are not reviewed, 0 to 1."""
        sizes = [region.expected for region in self.regions]
        to_do = (s for s, state in zip(sizes, self.states, strict=True) if state != REVIEWED)
        return sum(to_do) / max(sum(sizes), 1e-12)

    def go_to(self, number: int) -> None:
        """Show region ``number``: its slice, in the middle of the canvas, outlined.

        The brush gets the other class in doubt, and a size for the region until the user sets another.
        """
        layer = self.layer
        if layer is None or not 0 <= number < len(self.regions):
            return
        self._pen.detach()
        self.current = number
        region = self.regions[number]
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer
        go_to(self._viewer, layer, region.peak, region.box)
        self._set_brush(layer, region)
        self._outline.show(layer, region.box, region.mask)
        self.moved.emit()
        self.changed.emit()

    def next(self) -> None:
        """Go to the worst region after the one shown that is to do, then to those that were skipped."""
        self._step(1)

    def previous(self) -> None:
        """Go to the region before the one shown, whatever its state."""
        if self.regions:
            self.go_to((self.current or 0) - 1 if self.current else len(self.regions) - 1)

    def accept(self) -> None:
        """Mark the region shown as reviewed, which protects it, and go on."""
        region, layer = self.region, self.layer
        if region is None or layer is None:
            self.message.emit("Go to a region first; press Next.", True)
            return
        try:
            self._project.reviews.mark(layer, _indices(region), True)
        except LDSegError as error:
            self.message.emit(str(error), True)
            return
        self._refresh_states()
        self.next()

    def skip(self) -> None:
        """Leave the region shown for later, and go on."""
        if self.current is not None:
            self._skipped.add(self.current)
            self._refresh_states()
            self.next()

    def correct(self) -> None:
        """Take the brush; if it is in the hand, change between the two classes in doubt."""
        region, layer = self.region, self.layer
        if layer is None:
            return
        self._pen.detach()
        in_hand = layer.mode == "paint" and self._viewer.layers.selection.active == layer
        if region is not None and in_hand and layer.selected_label in region.classes:
            layer.selected_label = sum(region.classes) - layer.selected_label
        layer.visible = True
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer
        layer.mode = "paint"
        name = self.name_of(int(layer.selected_label))
        self.message.emit(f"Paint {name} with the brush; then press Accept.", False)

    def draw_border(self) -> None:
        """Take the pen that draws the true edge of the chosen class; put it away if it is in the hand."""
        layer, target = self.layer, self.target
        if layer is None or target is None:
            return
        if self._pen.layer is layer:
            self._pen.detach()
            self.message.emit("Paint with the brush.", False)
            return
        layer.visible = True
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer
        recorder = target.recorder
        self._pen.attach(layer, None if recorder is None else recorder.reviewed_at)
        name = self.name_of(int(layer.selected_label))
        self.message.emit(f"Draw along the true edge of {name}, just inside it.", False)

    def _on_border(self, changed: int) -> None:
        self.message.emit(
            f"{changed:,} voxels follow the line; press Ctrl+Z to undo the line.", False
        )

    def _step(self, by: int) -> None:
        order = list(range(len(self.regions)))
        start = -1 if self.current is None else self.current
        if not self.ended and self.states.count(TO_DO) and self.share_to_do <= SMALL:
            self.ended = True
            self._outline.hide()
            self.message.emit(
                f"What is left is small: {self.share_to_do:.0%} of the expected error, in "
                f"{len(self.states) - self.states.count(REVIEWED)} regions. Next shows them.",
                False,
            )
            self.changed.emit()
            return
        order = order[start + 1 :] + order[: start + 1]
        for wanted in (TO_DO, SKIPPED):
            for number in order:
                if self.states[number] == wanted and number != self.current:
                    self.go_to(number)
                    return
        if self.regions and not self.states.count(TO_DO):
            self.ended = True
            self._outline.hide()
            self.message.emit("All uncertain regions are reviewed.", False)
            self.changed.emit()

    def _set_brush(self, layer: Labels, region: UncertainRegion) -> None:
        other = next(c for c in (*region.classes[::-1], 0) if c != layer.data[region.peak])
        layer.selected_label = int(other)
        if self._brush in (None, layer.brush_size):  # else the user has chosen a size
            layer.brush_size = self._brush = brush_for(region)

    def _find_target(self, event: Any = None) -> None:
        labels = self._project.labels
        shown = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        shown = [layer for layer in shown if PREVIEW_KEY not in layer.metadata]
        active = self._viewer.layers.selection.active
        candidates = [labels.find(layer) for layer in shown if layer == active]
        if isinstance(active, Image):
            candidates += labels.on_image(active)
        if self.target is not None and any(layer is self.target.layer for layer in shown):
            candidates.append(self.target)
        candidates += [labels.find(layer) for layer in reversed(shown)]
        found = next((t for t in candidates if t is not None and _reviewable(t)), None)
        if found is not self.target:
            self._set_target(found)

    def _on_result(self, tracked: TrackedLabels) -> None:
        if tracked is self.target:
            self._set_target(tracked, None if self.region is None else self.region.peak)
        else:
            self._find_target()

    def _set_target(
        self, target: TrackedLabels | None, place: tuple[int, ...] | None = None
    ) -> None:
        """Review ``target``; then show the region at the voxel ``place``, if there is one."""
        self._outline.hide()
        self._pen.detach()
        self.target, self.current = target, None
        self.regions, self.states, self._skipped = [], [], set()
        self.ended, self._brush = False, None if place is None else self._brush
        self._error = _error_of(self.maps)
        self._total = 0.0 if self._error is None else expected_error_left(self._error)
        self._left = self._total
        self._work.drop()
        if target is not None and self._error is not None:
            self._compute(target, self._error, place)
        self.target_changed.emit()
        self.changed.emit()

    def _compute(
        self, target: TrackedLabels, error: np.ndarray, place: tuple[int, ...] | None
    ) -> None:
        scan = layer_scan(target.layer)
        labels, runner_up = np.array(target.layer.data), self.maps.get("runner_up")

        def work() -> list[UncertainRegion]:
            other = nearest_other_class(labels) if runner_up is None else runner_up
            return uncertain_regions(error, labels, other, scan.voxel, scan.voxel_size)

        def take(regions: list[UncertainRegion]) -> None:
            self.regions = regions
            self._refresh_states()
            here = [i for i, region in enumerate(regions) if place and _holds(region, place)]
            if here:
                self.go_to(here[0])
            else:
                self.moved.emit()

        self._work.start(
            work,
            done=take,
            failed=lambda error: self.message.emit(f"The regions: {error}", True),
        )

    def _refresh_states(self) -> None:
        recorder = self.target.recorder if self.target is not None else None
        states = []
        for number, region in enumerate(self.regions):
            seen = None if recorder is None else recorder.reviewed_at(region.box)[region.mask]
            state = SKIPPED if number in self._skipped else TO_DO
            share = 0.0 if seen is None else seen.mean()
            states.append(REVIEWED if share >= NEARLY_ALL else state)
        self.states = states
        if recorder is not None and self._error is not None and any(recorder.counts()):
            self._left = expected_error_left(self._error, recorder.known())
        else:
            self._left = self._total
        if self.layer is not None and recorder is not None:
            self.layer.metadata[REVIEWED_KEY] = any(recorder.counts())
        self.changed.emit()


def _error_of(maps: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the error probability of a result, from its predictive SD if it has no more."""
    if "error_probability" in maps:
        return maps["error_probability"]
    return error_from_predictive_sd(maps["predictive_sd"]) if "predictive_sd" in maps else None


def _reviewable(tracked: TrackedLabels) -> bool:
    maps = tracked.result_maps()
    named = [maps[name] for name in ("error_probability", "predictive_sd") if name in maps]
    return any(found.shape == tracked.layer.data.shape for found in named)


def brush_for(region: UncertainRegion) -> int:
    """Return a brush size in voxels, odd: half of the region's width in the slice of its peak.

    The band lies on both sides of a contour, an error on one.
    """
    local = tuple(p - s.start for p, s in zip(region.peak[:-2], region.box, strict=False))
    inside = np.pad(region.mask[local], 1)
    return 2 * (int(ndimage.distance_transform_edt(inside).max()) // 2) + 1


def _holds(region: UncertainRegion, voxel: tuple[int, ...]) -> bool:
    """Return whether ``voxel`` is one of the region's."""
    local = tuple(i - s.start for i, s in zip(voxel, region.box, strict=True))
    inside = all(0 <= i < n for i, n in zip(local, region.mask.shape, strict=True))
    return inside and bool(region.mask[local])


def _indices(region: UncertainRegion) -> tuple[np.ndarray, ...]:
    """Return the region's voxels as indices into the whole array."""
    inside = np.nonzero(region.mask)
    return tuple(i + s.start for i, s in zip(inside, region.box, strict=True))
