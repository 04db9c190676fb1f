"""The Review tab's state: the labels under review, their uncertain regions, and the region shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from ...errors import LDSegError
from ...layers.geometry import layer_scan
from ...review.maps import error_from_predictive_sd, nearest_other_class
from ...review.regions import UncertainRegion, expected_error_left, uncertain_regions
from ..common.layers import PREVIEW_KEY, REVIEWED_KEY, ignore_cursor_error
from ..common.sizes import Unit, unit_of
from ..project.state import project_of
from ..project.tracked_labels import TrackedLabels
from .camera import go_to
from .outline import RegionOutline

NO_RESULT = "Segment an image, or open a case of the project; its uncertain regions appear here."
TO_DO, REVIEWED, SKIPPED = "to do", "reviewed", "skipped"
NEARLY_ALL = 0.999


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
        self._worker: Any = None
        self._error: np.ndarray | None = None
        self._left = self._total = 0.0  # in voxels
        self._skipped: set[int] = set()
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
        return self._worker is not None

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
        size = 1.0 if self.layer is None else self._voxel_size()
        return self._left * size, self._total * size

    def go_to(self, number: int) -> None:
        """Show region ``number``: its slice, in the middle of the canvas, outlined."""
        layer = self.layer
        if layer is None or not 0 <= number < len(self.regions):
            return
        self.current = number
        region = self.regions[number]
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer
        go_to(self._viewer, layer, region.peak, region.box)
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
        """Select the brush with the class in doubt that the region's labels do not have."""
        region, layer = self.region, self.layer
        if layer is None:
            return
        if region is not None:
            other = next(c for c in (*region.classes[::-1], 0) if c != layer.data[region.peak])
            layer.selected_label = int(other)
        layer.visible = True
        with ignore_cursor_error():
            self._viewer.layers.selection.active = layer
        layer.mode = "paint"
        name = self.name_of(int(layer.selected_label))
        self.message.emit(f"Paint {name} with the brush; then press Accept.", False)

    def _step(self, by: int) -> None:
        order = list(range(len(self.regions)))
        start = -1 if self.current is None else self.current
        order = order[start + 1 :] + order[: start + 1]
        for wanted in (TO_DO, SKIPPED):
            for number in order:
                if self.states[number] == wanted and number != self.current:
                    self.go_to(number)
                    return
        if self.regions and not self.states.count(TO_DO):
            self._outline.hide()
            self.message.emit("All uncertain regions are reviewed.", False)
            self.changed.emit()

    def _voxel_size(self) -> float:
        scan = layer_scan(self.layer)
        return float(np.prod(scan.spacing[-scan.space :])) if scan.calibrated else 1.0

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
            self._set_target(tracked)
        else:
            self._find_target()

    def _set_target(self, target: TrackedLabels | None) -> None:
        self._outline.hide()
        self.target, self.current = target, None
        self.regions, self.states, self._skipped = [], [], set()
        self._error = _error_of(self.maps)
        self._total = 0.0 if self._error is None else expected_error_left(self._error)
        self._left = self._total
        self._worker = None
        if target is not None and self._error is not None:
            self._compute(target, self._error)
        self.target_changed.emit()
        self.changed.emit()

    def _compute(self, target: TrackedLabels, error: np.ndarray) -> None:
        scan = layer_scan(target.layer)
        labels, runner_up = np.array(target.layer.data), self.maps.get("runner_up")
        spacing = scan.spacing[-scan.space :] if scan.calibrated else (1.0,) * scan.space

        def work() -> list[UncertainRegion]:
            other = nearest_other_class(labels) if runner_up is None else runner_up
            return uncertain_regions(error, labels, other, spacing)

        worker = create_worker(work, _start_thread=False, _ignore_errors=True)

        def take(regions: list[UncertainRegion]) -> None:
            if self._worker is not worker:
                return  # of a result that is no longer under review
            self._worker = None
            self.regions = regions
            self._refresh_states()
            self.moved.emit()

        worker.returned.connect(take)
        worker.errored.connect(lambda error: self.message.emit(f"The regions: {error}", True))
        self._worker = worker
        worker.start()

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


def _indices(region: UncertainRegion) -> tuple[np.ndarray, ...]:
    """Return the region's voxels as indices into the whole array."""
    inside = np.nonzero(region.mask)
    return tuple(i + s.start for i, s in zip(inside, region.box, strict=True))
