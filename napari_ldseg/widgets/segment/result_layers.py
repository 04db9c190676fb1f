"""The layers of a result: on the grid of the image, refined in place, never over a user's edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from ...checkpoint.metadata import Metadata
from ...layers.geometry import derived_attributes, grid_of
from ...review.maps import MAP_TITLES, SD_NAMES
from ...scans.channels import numbered
from ..common.class_labels import set_classes
from ..common.layers import (
    RESULT_KEY,
    REVIEWED_KEY,
    RUNS_KEY,
    add_unselected,
    ignore_cursor_error,
    sd_layer,
)
from ..project.tracked_labels import SampledPart
from .sampling import Result


class ResultLayers:
    """The labels and SD layers of one image and one model.

    Parameters
    ----------
    viewer
        The viewer of the layers.
    image
        The image layer to segment.
    metadata
        The checkpoint's metadata.
    on_written
        Called with the labels layer and a copy of its data before the data are shown.
    channels
        The layers of the image's channels if it has one each; ``image`` is the first.

    Attributes
    ----------
    latest
        The last result of the latest complete run, with what a review needs.
    edit_kept
        Whether labels that the user has edited were kept, so that the result is in a new layer.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Layer,
        metadata: Metadata,
        on_written: Callable[[Labels, np.ndarray], None] = lambda layer, data: None,
        channels: tuple[Image, ...] = (),
    ):
        self.image, self.metadata, self.channels = image, metadata, channels
        self._on_written = on_written
        self.labels: Labels | None = None
        self.sample_sd: Image | None = None
        self.predictive_sd: Image | None = None
        self.latest: Result | None = None
        self.edit_kept = False
        self._viewer = viewer
        self._written: np.ndarray | None = None
        self._touched = False
        self._writing = False
        self._removed: set[str] = set()
        self._runs: list[dict] = [{}]
        self._grid: tuple | None = None

    def begin(self, partial: bool, others_edited: bool = False) -> dict[str, np.ndarray]:
        """Prepare for a run; return the arrays that are shown, by the names of ``Result``'s fields.

        Parameters
        ----------
        partial
            Whether the run segments a part of the image only.
        others_edited
            Whether the user has edited other labels of the image, which then stay selected.
        """
        moved = self._grid is not None and self._grid != grid_of(self.image)
        edited = self._edited()
        self.edit_kept = edited or others_edited
        self._removed = set()
        if edited or (moved and self.labels is not None):
            self._release_labels()
        if moved:
            self.sample_sd = self.predictive_sd = None
        self._grid = grid_of(self.image)
        shown = {}
        for name in ("labels", "sample_sd", "predictive_sd"):
            layer = getattr(self, name)
            if self._present(layer):
                shown[name] = np.asarray(layer.data)
            else:
                setattr(self, name, None)
        if moved or "labels" not in shown:
            self.latest = None
        if self.latest is not None:
            shown |= {
                name: getattr(self.latest, name) for name in ("error_probability", "runner_up")
            }
        self._runs = [*self._runs, {}] if partial and "labels" in shown else [{}]
        return shown

    def show(self, result: Result) -> None:
        """Show ``result``. A layer that the user deleted during this run stays deleted."""
        active, had_labels = self._active_layer(), self._present(self.labels)
        if self._edited():
            self._release_labels()
            self.edit_kept = True
        self._show_labels(result)
        for name in SD_NAMES[::-1]:  # the first is the uppermost
            sd = getattr(result, name)
            if sd is not None:
                self._show_image(name, sd)
            elif result.last and result.summary is not None:
                self._drop(name)
        if result.summary is not None:
            self._record(result.summary)
        if result.error_probability is not None:
            self.latest = result
        first = active is None or not had_labels
        if first and not self.edit_kept and not _in_use(active) and self._present(self.labels):
            with ignore_cursor_error():
                self._viewer.layers.selection.active = self.labels

    def maps(self) -> dict[str, np.ndarray]:
        """Return the SDs that are shown, and what a review needs, by the names of ``Result``'s fields."""
        layers = {name: getattr(self, name) for name in SD_NAMES}
        maps = {
            name: layer.data
            for name, layer in layers.items()
            if layer is not None and self._present(layer)
        }
        if self.latest is not None:
            maps |= {
                name: getattr(self.latest, name) for name in ("error_probability", "runner_up")
            }
        return maps

    def follow_image(self) -> None:
        """Take the image's grid and the runs as they are now: the image and its results were rescaled together."""
        if self._grid is not None:
            self._grid = grid_of(self.image)
        if self.labels is not None:
            self._runs = list(self.labels.metadata.get(RUNS_KEY, self._runs))

    def sampled_part(self) -> SampledPart | None:
        """Return the samples of the latest run and the part of the image that they are of."""
        latest = self.latest
        if latest is None or latest.samples is None or latest.region is None:
            return None
        return SampledPart(latest.samples, latest.region)

    def hide(self) -> None:
        """Hide the layers, but not labels that the user has edited or draws on."""
        layers: list[Layer | None] = [self.sample_sd, self.predictive_sd]
        if not self._edited() and not _in_use(self.labels):
            layers.append(self.labels)
        for layer in layers:
            if layer is not None and self._present(layer):
                layer.visible = False

    def _record(self, summary: dict) -> None:
        """Store the latest run's summary, and those of all runs that the layers come from."""
        self._runs[-1] = summary
        for layer in (self.labels, self.sample_sd, self.predictive_sd):
            if layer is not None:
                layer.metadata.update({RESULT_KEY: summary, RUNS_KEY: list(self._runs)})

    def _show_labels(self, result: Result) -> None:
        if self._gone("labels", self.labels):
            return
        self._written = result.labels.copy()
        if self.labels is None:
            self.labels = Labels(
                result.labels,
                name=self._name("labels"),
                opacity=0.5,
                **derived_attributes(self.image),
            )
            background, *classes = self.metadata.classes
            set_classes(self.labels, dict(enumerate(classes, start=1)), background.name)
            self._on_written(self.labels, self._written)
            self._add(self.labels)
            self._touched = False
            for event in ("paint", "labels_update", "data"):
                getattr(self.labels.events, event).connect(self._on_change)
        else:
            self._on_written(self.labels, self._written)
            self._writing = True
            try:
                self.labels.data = result.labels
            finally:
                self._writing = False

    def _show_image(self, name: str, data: np.ndarray) -> None:
        layer = getattr(self, name)
        if self._gone(name, layer):
            return
        if layer is not None:
            layer.data = data
            return
        title = self._name(MAP_TITLES[name])
        layer = sd_layer(data, title, self.image, self.metadata.classes[1:])
        layer.visible = name == SD_NAMES[0]
        setattr(self, name, layer)
        shown = self.predictive_sd
        below = shown if name == "sample_sd" and self._present(shown) else None
        position = self._under_labels() if below is None else list(self._viewer.layers).index(below)
        self._add(layer, position)

    def _add(self, layer: Layer, position: int | None = None) -> None:
        layer.metadata[RESULT_KEY] = {}
        add_unselected(self._viewer, layer, position)

    def _under_labels(self) -> int:
        """Return the position just below all labels on the image, so that no stroke is hidden."""
        layers, grid = list(self._viewer.layers), grid_of(self.image)
        above = layers.index(self.image) + 1 if self.image in layers else 0
        for position, layer in enumerate(layers[above:], start=above):
            if isinstance(layer, Labels) and grid_of(layer) == grid:
                return position
        return len(layers)

    def _active_layer(self) -> Layer | None:
        # napari hands plugins a proxy of the viewer; only iteration gives the layers themselves.
        active = self._viewer.layers.selection.active
        return next((layer for layer in self._viewer.layers if layer == active), None)

    def _drop(self, name: str) -> None:
        layer = getattr(self, name)
        if self._present(layer):
            self._viewer.layers.remove(layer)
        setattr(self, name, None)

    def _gone(self, name: str, layer: Layer | None) -> bool:
        if layer is not None and not self._present(layer):
            self._removed.add(name)
        return name in self._removed

    def _present(self, layer: Layer | None) -> bool:
        return layer is not None and any(layer is other for other in self._viewer.layers)

    def _edited(self) -> bool:
        labels = self.labels
        if labels is None or self._written is None or not self._present(labels):
            return False
        if self._touched or labels.metadata.get(REVIEWED_KEY):
            return True
        return not np.array_equal(labels.data, self._written)

    def _release_labels(self) -> None:
        """Leave the edited labels to the user; the next result goes to a new layer."""
        if self.labels is not None:
            for event in ("paint", "labels_update", "data"):
                getattr(self.labels.events, event).disconnect(self._on_change)
        self.labels = self._written = None

    def _on_change(self, event: Any = None) -> None:
        if not self._writing:
            self._touched = True

    def _name(self, what: str) -> str:
        case = numbered(self.image.name) if self.channels else None
        name = f"{what} · {self.image.name if case is None else case[0]}"
        taken = any(layer.name == name for layer in self._viewer.layers)
        return f"{name} · {self.metadata.name}" if taken else name


def _in_use(layer: Layer | None) -> bool:
    """Return whether the user is drawing on ``layer``."""
    return layer is not None and layer.mode not in ("pan_zoom", "transform")
