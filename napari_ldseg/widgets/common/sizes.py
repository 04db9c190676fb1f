"""The sizes of the classes of a labels layer as it is now, counted anew when it has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from ...layers.geometry import layer_scan
from ...project.schema import MAX_VALUE
from .class_labels import classes_of
from .layers import RESULT_KEY

PAUSE_MS = 300
COUNTED_AT_ONCE = 2**22  # voxels; more are counted in a thread
CHUNK_VOXELS = 2**22
EVENTS = ("paint", "labels_update", "data", "set_data", "scale")


@dataclass(frozen=True)
class Unit:
    """What sizes are shown in: ``per`` is mm³, mm² or voxels per shown unit."""

    name: str
    per: float

    def text(self, size: float) -> str:
        """Return ``size`` (mm³, mm² or voxels) as a number in this unit, with separators."""
        value = size / self.per
        counted = self.name in ("voxels", "pixels")
        return f"{value:,.0f}" if counted or value >= 99.95 else f"{value:#.3g}"


@dataclass(frozen=True)
class ClassSize:
    """The size of the class with label ``value``, as text with its unit.

    ``corrected`` is whether it differs from that of the model's result ``model``, None without one.
    """

    value: int
    name: str
    text: str
    corrected: bool
    model: str | None


class LabelSizes(QObject):
    """Follows one labels layer at a time. Lives in the GUI thread."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self._counter: _Counter | None = None

    def watch(self, layer: Labels | None) -> None:
        """Follow ``layer`` from now on, None to follow none."""
        counter = None if layer is None else _counter_of(layer)
        if counter is self._counter:
            return
        if self._counter is not None:
            self._counter.changed.disconnect(self.changed)
        self._counter = counter
        if counter is not None:
            counter.changed.connect(self.changed)

    @property
    def unit(self) -> Unit:
        """The unit of the sizes; voxels without a layer."""
        layer = None if self._counter is None else self._counter.layer
        return Unit("voxels", 1) if layer is None else unit_of(layer)

    def of_result(self) -> dict[str, float] | None:
        """Return each class's size in the part of the latest result: mm³, mm² or voxels by name.

        None while the layer has changed and is not counted yet.
        """
        if self._counter is None or self._counter.layer is None or self._counter.outdated:
            return None
        layer, found = self._counter.layer, self._counter.part
        if found is None:
            return None
        return {info.name: found.of(value) for value, info in classes_of(layer).items()}

    def of_layer(self) -> list[ClassSize]:
        """Return each class's size in the whole layer when it was counted last; [] before."""
        layer = None if self._counter is None else self._counter.layer
        if self._counter is None or layer is None or self._counter.whole is None:
            return []
        found, part, unit = self._counter.whole, self._counter.part, unit_of(layer)
        summary = layer.metadata.get(RESULT_KEY) or {}
        sizes = []
        for value, info in classes_of(layer).items():
            model = summary.get("classes", {}).get(info.name)
            corrected = (
                model is not None
                and part is not None
                and differs(part.of(value), model["size"], part.unit_size)
            )
            shown = None if model is None else f"{unit.text(model['size'])} {unit.name}"
            text = f"{unit.text(found.of(value))} {unit.name}"
            sizes.append(ClassSize(value, info.name, text, corrected, shown))
        return sizes


def differs(size: float, other: float, unit_size: float = 0.0) -> bool:
    """Return whether two sizes differ by more than rounding; ``unit_size`` is that of one voxel."""
    return abs(size - other) > max(unit_size / 2, 1e-6 * abs(other))


def unit_of(layer: Labels) -> Unit:
    """Return the unit that suits ``layer``: ml, mm², or a number of voxels or pixels."""
    scan = layer_scan(layer)
    if scan.calibrated:
        return Unit("ml", 1000) if scan.space == 3 else Unit("mm²", 1)
    return Unit("voxels" if scan.space == 3 else "pixels", 1)


@dataclass(frozen=True)
class _Counts:
    """Voxels by label value, and the size of one of them divided by the number of time points."""

    voxels: np.ndarray
    unit_size: float

    def of(self, value: int) -> float:
        return float(self.voxels[value] * self.unit_size) if value < len(self.voxels) else 0.0


class _Counter(QObject):
    """Counts the voxels of one layer, soon after each change; shared by all that follow the layer."""

    changed = Signal()

    def __init__(self, layer: Labels):
        super().__init__()
        self._layer = ref(layer)
        self._version, self._counted = 1, 0
        self._worker: Any = None
        self.whole: _Counts | None = None
        self.part: _Counts | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._count)
        for event in EVENTS:
            getattr(layer.events, event).connect(self._on_change)
        self._timer.start()

    @property
    def layer(self) -> Labels | None:
        """The layer, None once it is gone."""
        return self._layer()

    @property
    def outdated(self) -> bool:
        """Whether the layer has changed since it was counted."""
        return self._version != self._counted

    def _on_change(self, event: Any = None) -> None:
        self._version += 1
        self._timer.start()

    def _count(self) -> None:
        layer = self.layer
        if layer is None or layer.multiscale or not isinstance(layer.data, np.ndarray):
            return
        if self._worker is not None:
            self._timer.start()
            return
        version, data = self._version, layer.data
        summary = layer.metadata.get(RESULT_KEY) or {}
        parts: list[tuple[slice, ...]] = [()]
        if summary.get("part_of_image"):
            start, stop = summary["provenance"]["region"]
            parts.append(tuple(slice(a, b) for a, b in zip(start, stop, strict=True)))
        scan = layer_scan(layer)

        def work() -> list[_Counts]:
            found = []
            for part in parts:
                array = data[part]
                time_points = max(1, math.prod(array.shape[: -scan.space]))
                found.append(_Counts(count_labels(array), scan.voxel_size / time_points))
            return found

        def take(found: Sequence[_Counts]) -> None:
            self._worker = None
            self.whole, self.part, self._counted = found[0], found[-1], version
            self.changed.emit()

        if data.size <= COUNTED_AT_ONCE:
            take(work())
            return
        self._worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(take)
        self._worker.errored.connect(lambda error: setattr(self, "_worker", None))
        self._worker.start()


def count_labels(labels: np.ndarray) -> np.ndarray:
    """Return how many voxels have each value from 0 on, int64 (256 or more,), up to a project's highest.

    Values that no project holds, negative or above ``MAX_VALUE``, are left out.
    """
    highest = min(MAX_VALUE, max(255, int(labels.max(initial=0))))
    counts = np.zeros(highest + 1, np.int64)
    flat = labels.reshape(-1) if labels.flags.c_contiguous else labels.ravel()
    for start in range(0, flat.size, CHUNK_VOXELS):
        chunk = flat[start : start + CHUNK_VOXELS]
        if chunk.dtype != np.uint8:
            chunk = chunk[(chunk >= 0) & (chunk <= highest)]
        counts += np.bincount(chunk, minlength=highest + 1)
    return counts


_counters: WeakKeyDictionary[Labels, _Counter] = WeakKeyDictionary()


def _counter_of(layer: Labels) -> _Counter:
    if layer not in _counters:
        _counters[layer] = _Counter(layer)
    return _counters[layer]
