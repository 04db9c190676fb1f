"""The measurements of the labels under review, made anew in the background when they have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import layer_scan
from ...review.measurements import ClassSize, LoopArea, measure_classes, measure_loop, to_rows
from ..common.latest import Latest
from ..common.layers import RESULT_KEY
from ..common.sizes import EVENTS, Unit, unit_of
from ..project.tracked_labels import SampledPart, TrackedLabels
from .reviewer import Reviewer
from .sample_browser import SampleBrowser

PAUSE_MS = 500


@dataclass(frozen=True)
class Measured:
    """Measurements as of one moment.

    Attributes
    ----------
    sizes, loops
        From ``review.measurements``; ``loops`` only of a 2D image over time.
    classes
        The classes by label value.
    unit
        What sizes are shown in.
    space, calibrated
        Number of spatial axes, and whether lengths are in mm.
    calibration
        What the result states about its intervals.
    """

    sizes: list[ClassSize]
    loops: list[LoopArea]
    classes: Mapping[int, ClassInfo]
    unit: Unit
    space: int
    calibrated: bool
    calibration: str

    @property
    def length_unit(self) -> str:
        """The unit of diameters."""
        return "mm" if self.calibrated else "pixels"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per number, with the keys ``COLUMNS`` of ``review.measurements``."""
        return to_rows(self.sizes, self.loops, space=self.space, calibrated=self.calibrated)


class Numbers(QObject):
    """Follows the labels under review while it is active. Lives in the GUI thread, measures in a worker.

    ``changed`` follows new measurements, and the beginning of measuring.
    """

    changed = Signal()
    message = Signal(str, bool)

    def __init__(self, reviewer: Reviewer, browser: SampleBrowser, parent: QObject | None = None):
        super().__init__(parent)
        self._reviewer, self._browser = reviewer, browser
        self._layer: Labels | None = None
        self._work = Latest()
        self._active = self._stale = self._with_samples = False
        self._known = (0, 0)
        self._seen: np.ndarray | None = None
        self.measured: Measured | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._measure)
        reviewer.target_changed.connect(self._on_target)
        reviewer.changed.connect(self._on_reviewed)
        browser.changed.connect(self._on_samples)
        self._on_target()

    @property
    def busy(self) -> bool:
        """Whether the measurements are not those of the labels as they are."""
        return self._stale or self._work.busy

    def set_active(self, active: bool) -> None:
        """Measure only while somebody looks at the numbers."""
        self._active = active
        if active and self.busy:
            self._timer.start()

    def shut_down(self) -> None:
        """Release the layer."""
        self._timer.stop()
        self._active = False
        self._work.drop()
        self._watch(None)

    def _on_target(self) -> None:
        self._work.drop()
        self.measured = self._seen = None
        self._with_samples, self._known = self._browser.decoded, (0, 0)
        self._watch(self._reviewer.layer)
        self._stale = False
        if self._layer is not None:
            self._outdate()
        self.changed.emit()

    def _watch(self, layer: Labels | None) -> None:
        if self._layer is not None:
            for event in EVENTS:
                getattr(self._layer.events, event).disconnect(self._on_change)
        if layer is not None:
            for event in EVENTS:
                getattr(layer.events, event).connect(self._on_change)
        self._layer = layer

    def _on_change(self, event: Any) -> None:
        if event.type != "set_data":
            self._outdate()
        elif self._active:
            self._timer.start()  # another slice, or an undo: seen when it settles

    def _outdate(self) -> None:
        was_stale, self._stale = self._stale, True
        if self._active:
            self._timer.start()
        if not was_stale:
            self.changed.emit()

    def _on_reviewed(self) -> None:
        """Measure again when voxels were marked as reviewed, which makes them exact."""
        target = self._reviewer.target
        recorder = None if target is None else target.recorder
        known = (0, 0) if recorder is None else recorder.counts()
        if known != self._known:
            self._known = known
            self._outdate()

    def _on_samples(self) -> None:
        if self._browser.decoded != self._with_samples:
            self._with_samples = self._browser.decoded
            self._outdate()

    def _measure(self) -> None:
        target, maps = self._reviewer.target, self._reviewer.maps
        if target is None or not self._active:
            return
        seen = self._seen
        if not self._stale and seen is not None and np.array_equal(seen, target.layer.data):
            return
        if self._work.busy:
            self._timer.start()  # one at a time
            return
        part = self._browser.part if self._browser.decoded else None
        labels = np.array(target.layer.data)  # a copy, since the user may go on painting
        self._seen, self._stale = labels, False
        sd = maps.get("sample_sd")

        def take(measured: Measured) -> None:
            self.measured = measured
            self.changed.emit()

        def fail(error: Exception) -> None:
            self.message.emit(f"{target.layer.name} cannot be measured: {error}", True)
            self.changed.emit()

        self._work.start(measure, target, labels, part, sd, done=take, failed=fail)
        self.changed.emit()


def measure(
    target: TrackedLabels, labels: np.ndarray, part: SampledPart | None, sd: np.ndarray | None
) -> Measured:
    """Measure ``labels``, a copy of those of ``target``, with the decoded samples of ``part``.

    Outside the part that was sampled, and where voxels are known, every sample has the label map's class.
    """
    scan, classes = layer_scan(target.layer), dict(target.classes)
    recorder = target.recorder
    known = None
    if recorder is not None and any(recorder.counts()):
        known = recorder.masks().protected
    names = [
        classes[value].name if value in classes else ""
        for value in range(max(classes, default=0) + 1)
    ]
    summary = target.layer.metadata.get(RESULT_KEY) or {}
    calibration = summary.get("calibrated", {})

    def samples() -> Iterator[np.ndarray]:
        if part is None:
            return
        for sample in range(part.samples.n):
            whole = labels.copy()
            whole[part.region.slices] = part.samples.labels(sample)
            yield whole

    factors = None
    if part is not None and calibration.get("intervals") and not summary.get("part_of_image"):
        stored = part.samples.metadata.calibration
        factors = None if stored is None else stored.volume_factors
        if factors is not None and len(factors) != len(names) - 1:
            factors = None  # the user has added or removed a class
    size = scan.voxel_size
    sizes = measure_classes(labels, names, scan.voxel, samples(), known, sd, factors, size)
    loops = []
    if scan.space == 2 and labels.ndim == 3:
        loops = measure_loop(labels, names, scan.voxel, samples(), known, size)
    return Measured(
        [one for one in sizes if one.value in classes],
        [one for one in loops if one.value in classes],
        classes,
        unit_of(target.layer),
        scan.space,
        scan.calibrated,
        calibration.get("meaning", ""),
    )
