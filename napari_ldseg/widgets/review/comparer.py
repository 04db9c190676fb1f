"""Two label maps on one grid compared: two layers, or a layer and a reference file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, QTimer, Signal

from ...errors import LDSegError
from ...layers.geometry import derived_attributes, grid_of, layer_scan
from ...scans.files import read_labels
from ...scans.scan import Scan
from ..common.class_labels import classes_of
from ..common.latest import Latest
from ..common.layers import PREVIEW_KEY, add_unselected, remove_soon, unwrapped
from ..common.sizes import EVENTS, PAUSE_MS, Unit, unit_of

if TYPE_CHECKING:
    from ...review.comparison import Comparison  # imports torch

# Of Okabe and Ito: only in the first, only in the second, another class.
COLOURS = ("#d55e00", "#56b4e9", "#f0e442")
SAME_PLACE = 0.1  # voxels between the corners of two grids that are the same


@dataclass(frozen=True)
class Result:
    """A comparison, with what it is of.

    Attributes
    ----------
    comparison
        From ``review.comparison``; lengths are in mm, or in voxels if not ``calibrated``.
    first, second
        The names of both.
    names, colours
        Of the classes, by label value.
    unit
        What sizes are shown in.
    """

    comparison: Comparison
    first: str
    second: str
    names: dict[int, str]
    colours: dict[int, str]
    unit: Unit
    calibrated: bool


class Comparer(QObject):
    """Compares in a worker and shows where the labels differ. Lives in the GUI thread."""

    changed = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None):
        super().__init__(parent)
        self._viewer = unwrapped(viewer)
        self._work = Latest()
        self._watched: list[tuple[Labels, np.ndarray]] = []  # with the data compared
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._check)
        self._layer: Labels | None = None
        self.files: dict[str, Scan] = {}
        self.result: Result | None = None
        self.outdated = False
        self._viewer.layers.events.inserted.connect(self._on_layers)
        self._viewer.layers.events.removed.connect(self._on_layers)

    def shut_down(self) -> None:
        """Release the layers and remove the overlay."""
        self._viewer.layers.events.inserted.disconnect(self._on_layers)
        self._viewer.layers.events.removed.disconnect(self._on_layers)
        self._forget()

    @property
    def busy(self) -> bool:
        """Whether a comparison is being made."""
        return self._work.busy

    def layers(self) -> list[Labels]:
        """Return the labels layers that can be compared, the topmost first."""
        shown = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [layer for layer in reversed(shown) if PREVIEW_KEY not in layer.metadata]

    def others(self, first: Labels) -> list[Labels]:
        """Return the other layers on the grid of ``first``."""
        grid = grid_of(first)
        return [layer for layer in self.layers() if layer is not first and grid_of(layer) == grid]

    def add_file(self, path: Path, first: Labels) -> str:
        """Read a reference for ``first``; return its name in ``files``.

        Raises LDSegError if it cannot be read, or is not on the grid of ``first``.
        """
        reference, grid = read_labels(path), layer_scan(first)
        if not _same_grid(reference, grid):
            raise LDSegError(
                f"{path.name} is not on the grid of {first.name}; choose a label file that was made on "
                "the same image."
            )
        self.files[path.name] = reference
        return path.name

    def compare(self, first: Labels, second: Labels | str) -> None:
        """Compare a layer with another one or with one of ``files``, in a worker.

        Raises LDSegError if their grids differ.
        """
        self._forget()
        if isinstance(second, Labels):
            same, name, other = grid_of(first) == grid_of(second), second.name, second.data
        else:
            reference = self.files[second]
            same, name, other = _same_grid(reference, layer_scan(first)), second, reference.array
        if not same:
            raise LDSegError(
                f"{name} is not on the grid of {first.name}; compare labels of one image."
            )
        layers = [layer for layer in (first, second) if isinstance(layer, Labels)]
        scan, arrays = layer_scan(first), (np.array(first.data), np.array(other))
        classes = {**(classes_of(layers[-1])), **classes_of(first)}

        def work() -> Comparison:
            from ...review.comparison import compare  # imports torch

            return compare(*arrays, scan.voxel, scan.voxel_size)

        def take(comparison: Comparison) -> None:
            self.result = Result(
                comparison,
                first.name,
                name,
                {value: info.name for value, info in classes.items()},
                {value: info.colour for value, info in classes.items()},
                unit_of(first),
                scan.calibrated,
            )
            self._show(first, comparison.difference)
            self.changed.emit()

        def fail(error: Exception) -> None:
            self.message.emit(f"{first.name} cannot be compared with {name}: {error}", True)
            self.changed.emit()

        self._work.start(work, done=take, failed=fail)
        self.message.emit("", False)
        self._watch([*zip(layers, arrays, strict=False)])
        self.changed.emit()

    def clear(self) -> None:
        """Remove the overlay and the numbers."""
        self._forget()
        self.changed.emit()

    def _show(self, first: Labels, difference: np.ndarray) -> None:
        from ...review.comparison import KINDS

        colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        colours.update(enumerate(COLOURS, start=1))
        layer = Labels(
            difference,
            name=f"difference · {first.name.removeprefix('labels · ')}",
            colormap=DirectLabelColormap(color_dict=colours),
            features={"index": list(range(len(KINDS))), "name": list(KINDS)},
            opacity=0.8,
            **derived_attributes(first),
        )
        layer.editable = False
        layer.metadata[PREVIEW_KEY] = True
        self._layer = layer
        add_unselected(self._viewer, layer)

    def _forget(self) -> None:
        self._work.drop()
        self.result, self.outdated = None, False
        self._watch([])
        layer, self._layer = self._layer, None
        if layer is not None:
            remove_soon(self._viewer, layer)

    def _watch(self, layers: list[tuple[Labels, np.ndarray]]) -> None:
        for layer, _ in self._watched:
            for event in EVENTS:
                getattr(layer.events, event).disconnect(self._on_change)
        self._timer.stop()
        self._watched = layers
        for layer, _ in layers:
            for event in EVENTS:
                getattr(layer.events, event).connect(self._on_change)

    def _on_change(self, event: Any = None) -> None:
        self._timer.start()  # also another slice

    def _check(self) -> None:
        """Find out whether the labels still are those that were compared."""
        outdated = not all(np.array_equal(layer.data, data) for layer, data in self._watched)
        if outdated != self.outdated:
            self.outdated = outdated
            self.changed.emit()

    def _on_layers(self, event: Any) -> None:
        if event.value is self._layer and event.type == "removed":
            self._layer = None
        if PREVIEW_KEY not in event.value.metadata:
            self.changed.emit()


def _same_grid(one: Scan, other: Scan) -> bool:
    """Return whether the first and last voxels of two scans are in the same places."""
    if one.shape != other.shape:
        return False
    last = np.array(((0,) * 3 + one.shape)[-one.space :]) - 1
    corners = np.array([[0, 0, 0, 1], [*(0,) * (3 - one.space), *last, 1]])
    shift = np.abs((one.affine - other.affine) @ corners.T).max()
    return bool(shift <= SAME_PLACE * min(other.spacing))
