"""What is shown over the image while reviewing: the labels filled, as outlines or not, and one map."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject, QSettings, Signal

from ...errors import LDSegError
from ...review.maps import MAP_TITLES
from ..common.latest import Latest
from ..common.layers import (
    PREVIEW_KEY,
    RESULT_KEY,
    SD_RANGE,
    add_unselected,
    remove_soon,
    sd_layer,
    unwrapped,
)
from ..common.map_colours import map_colormap, ramp_for
from ..project.tracked_labels import SampledPart
from .reviewer import Reviewer
from .sample_browser import SampleBrowser

OUTLINES, FILLED, HIDDEN = "outlines", "filled", "hidden"
LOOKS = (OUTLINES, FILLED, HIDDEN)
NO_MAP = "none"
PROBABILITY = "probability:"  # and the label value of the class
PIXELS_PER_OUTLINE = 256  # of the shorter side of a slice, for each voxel of an outline's width
THRESHOLD, OPACITY = 0.1, 1.0  # at first
STORED = ("labels", "map", "threshold", "opacity")


class Display(QObject):
    """Shows the labels under review and a map as chosen. Lives in the GUI thread.

    It does nothing before ``start``. The layers' own looks come back when another result is reviewed and
    with ``shut_down``, except what the user has changed meanwhile. ``changed`` follows any change.
    """

    changed = Signal()
    message = Signal(str, bool)

    def __init__(
        self,
        viewer: ViewerModel,
        reviewer: Reviewer,
        browser: SampleBrowser,
        parent: QObject | None = None,
    ):
        super().__init__(parent)
        self._viewer, self._reviewer, self._browser = unwrapped(viewer), reviewer, browser
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        stored = {name: self._settings.value(f"review/{name}") for name in STORED}
        self.labels: str = stored["labels"] if stored["labels"] in LOOKS else OUTLINES
        self._wanted = str(stored["map"] or next(iter(MAP_TITLES)))
        self.threshold = _share(stored["threshold"], THRESHOLD)
        self.opacity = _share(stored["opacity"], OPACITY)
        self._active = self._applying = self._covered = False
        self._looks: dict[Layer, dict[str, tuple[Any, Any]]] = {}  # (before, ours) by attribute
        self._watched: Labels | None = None
        self._own: Image | None = None
        self._work = Latest()
        self._part: SampledPart | None = None
        self._probabilities: np.ndarray | None = None
        reviewer.target_changed.connect(self._on_target)
        self._viewer.layers.events.removed.connect(self._on_removed)

    def start(self) -> None:
        """Show the result under review as chosen, from now on."""
        if not self._active:
            self._active = True
            self._on_target()

    def shut_down(self) -> None:
        """Give the layers their own looks again."""
        if self._active:
            self._release()
            self._active = False
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    @property
    def map(self) -> str:
        """The map shown: ``NO_MAP`` or a key of ``maps``."""
        maps = self.maps()
        return self._wanted if self._wanted in (NO_MAP, *maps) else next(iter(maps), NO_MAP)

    @property
    def busy(self) -> bool:
        """Whether the probabilities are being computed."""
        return self._work.busy

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and highest value of the map."""
        return SD_RANGE if self.map.endswith("_sd") else (0.0, 1.0)

    @property
    def ramp(self) -> str:
        """The colours of the map, one of ``RAMPS``."""
        target = self._reviewer.target
        classes = {} if target is None else target.classes
        return ramp_for([info.colour for value, info in classes.items() if value > 0])

    def maps(self) -> dict[str, str]:
        """Return the maps that the result has, with their titles."""
        target, result = self._reviewer.target, self._reviewer.maps
        found = {name: title for name, title in MAP_TITLES.items() if name in result}
        if target is not None and self._browser.part is not None:
            found |= {
                f"{PROBABILITY}{value}": f"P({info.name})"
                for value, info in target.classes.items()
                if value > 0
            }
        return found

    def set_covered(self, covered: bool) -> None:
        """Leave the map out while another overlay is shown, until a map is chosen."""
        if covered != self._covered:
            self._covered = covered
            self._apply()

    @contextmanager
    def unfollowed(self) -> Iterator[None]:
        """Change how the labels look without changing the choice ``labels``."""
        self._applying = True
        try:
            yield
        finally:
            self._applying = False

    def step_labels(self) -> None:
        """Show the labels in the next way."""
        self.set_labels(LOOKS[(LOOKS.index(self.labels) + 1) % len(LOOKS)])

    def step_map(self) -> None:
        """Show the next map, after the last one none."""
        order = [*self.maps(), NO_MAP]
        self.set_map(order[(order.index(self.map) + 1) % len(order)])

    def set_labels(self, look: str) -> None:
        """Show the labels in one of the ways ``LOOKS``."""
        self.labels = look
        self._store("labels", look)

    def set_map(self, name: str) -> None:
        """Show a map by its key, or ``NO_MAP``."""
        self._wanted, self._covered = name, False
        self._store("map", name)

    def set_threshold(self, threshold: float) -> None:
        """Show the map only from this share of its range on, 0 to 1."""
        self.threshold = threshold
        self._store("threshold", threshold)

    def set_opacity(self, opacity: float) -> None:
        """Set the map's opacity, 0 to 1."""
        self.opacity = opacity
        self._store("opacity", opacity)

    def _store(self, name: str, value: str | float) -> None:
        self._settings.setValue(f"review/{name}", value)
        self._apply()

    def _on_target(self) -> None:
        self._release()
        part = self._browser.part
        if part is not self._part:
            self._part, self._probabilities = part, None
        if self._active:
            self._watch(self._reviewer.layer)
        self._apply()

    def _apply(self) -> None:
        target = self._reviewer.target
        if self._active and target is not None:
            with self.unfollowed():
                self._apply_labels(target.layer)
                self._apply_map(target.layer)
        self.changed.emit()

    def _apply_labels(self, layer: Labels) -> None:
        if self.labels == OUTLINES:
            width = max(1, round(min(layer.data.shape[-2:]) / PIXELS_PER_OUTLINE))
            self._set(layer, contour=width, opacity=1.0, visible=True)
        else:
            self._set(layer, contour=0, visible=self.labels == FILLED)
            self._give_back(layer, "opacity")

    def _apply_map(self, labels: Labels) -> None:
        name, shown = NO_MAP if self._covered else self.map, None
        layers = {key: self._layer_of(key) for key in MAP_TITLES}
        if name != NO_MAP:
            shown = layers.get(name) or self._own_layer(labels, name)
        elif self._own is not None:
            self._remove_own()
        for layer in layers.values():
            if layer is not None and layer is not shown:
                self._set(layer, visible=False)
        if shown is None:
            return
        if shown is not self._own:
            self._remove_own()
        self._set(
            shown,
            colormap=map_colormap(self.ramp, self.threshold),
            contrast_limits=self.limits,
            opacity=self.opacity,
            visible=True,
        )

    def _layer_of(self, name: str) -> Image | None:
        """Return the result's own layer of a map, if there is one."""
        data = self._reviewer.maps.get(name)
        for layer in self._viewer.layers:
            if isinstance(layer, Image) and data is not None and layer.data is data:
                return layer if layer is not self._own else None
        return None

    def _own_layer(self, labels: Labels, name: str) -> Image | None:
        """Return our layer with the map ``name``; None while it is being computed."""
        data = self._data(labels, name)
        if data is None:
            self._remove_own()
            return None
        of = labels.name.removeprefix("labels · ")
        title = f"{self.maps()[name]} · {of}"
        if self._own is not None:
            self._own.data, self._own.name = data, title
            return self._own
        self._own = sd_layer(data, title, labels)
        self._own.metadata.update({PREVIEW_KEY: True, RESULT_KEY: {}})
        add_unselected(self._viewer, self._own, self._viewer.layers.index(labels))
        return self._own

    def _data(self, labels: Labels, name: str) -> np.ndarray | None:
        if not name.startswith(PROBABILITY):
            return self._reviewer.maps[name]
        if self._probabilities is None or self._part is None:
            self._compute()
            return None
        whole = np.zeros(labels.data.shape, np.float32)
        whole[self._part.region.slices] = self._probabilities[
            int(name.removeprefix(PROBABILITY)) - 1
        ]
        return whole

    def _compute(self) -> None:
        """Average the samples' probabilities in a worker."""
        part = self._part
        if part is None or self._work.busy:
            return

        def take(mean: np.ndarray) -> None:
            self._probabilities = mean
            self._apply()

        def fail(error: Exception) -> None:
            self.message.emit(str(error), True)
            self.set_map(NO_MAP)

        self._work.start(class_probabilities, part, done=take, failed=fail)

    def _watch(self, layer: Labels | None) -> None:
        """Follow what napari's own controls do to the labels."""
        if self._watched is not None:
            self._watched.events.contour.disconnect(self._on_look)
            self._watched.events.visible.disconnect(self._on_look)
        self._watched = layer
        if layer is not None:
            layer.events.contour.connect(self._on_look)
            layer.events.visible.connect(self._on_look)

    def _on_look(self, event: Any = None) -> None:
        layer = self._watched
        if layer is None or self._applying or not layer.visible:
            return  # hidden by a new run, or for a moment: no choice of the user
        look = OUTLINES if layer.contour else FILLED
        if self.labels == HIDDEN and event.type == "visible":
            look = OUTLINES  # shown again to be corrected, over the map
        if look != self.labels:
            self.set_labels(look)

    def _on_removed(self, event: Any) -> None:
        self._looks.pop(event.value, None)
        if event.value is self._own:
            self._own = None

    def _set(self, layer: Layer, **attributes: Any) -> None:
        """Set attributes of ``layer``, and keep what they were before."""
        looks = self._looks.setdefault(layer, {})
        for name, value in attributes.items():
            before = looks[name][0] if name in looks else getattr(layer, name)
            if not _same(getattr(layer, name), value) or name == "colormap":
                setattr(layer, name, value)
            looks[name] = (before, getattr(layer, name))

    def _give_back(self, layer: Layer, name: str) -> None:
        """Set an attribute to what it was, unless the user has changed it since."""
        before, ours = self._looks.get(layer, {}).pop(name, (None, None))
        if before is not None and _same(getattr(layer, name), ours):
            setattr(layer, name, before)

    def _release(self) -> None:
        self._work.drop()
        self._watch(None)
        self._remove_own()
        for layer, looks in list(self._looks.items()):
            for name in list(looks):
                self._give_back(layer, name)
        self._looks = {}

    def _remove_own(self) -> None:
        layer, self._own = self._own, None
        if layer is not None:
            remove_soon(self._viewer, layer)


def class_probabilities(part: SampledPart) -> Generator[None, None, np.ndarray]:
    """Return ``Posterior.probability`` of each foreground class, float32 (classes - 1, *part).

    Yields after each decoded frame, so that it can be stopped. Raises LDSegError.
    """
    import torch

    samples = part.samples
    mean = torch.zeros(len(samples.metadata.classes), *samples.shape)
    for sample in range(samples.n):
        for number, frame in enumerate(samples.frames):
            try:
                decoded = samples.probabilities(sample, number)
            except RuntimeError as error:  # swallowed by napari's generator workers
                raise LDSegError(f"The samples cannot be decoded: {error}") from error
            at: tuple[slice | int, ...] = (slice(None), *frame)
            mean[at] += decoded / samples.n
            if sample == samples.n - 1:
                mean[at] = samples.with_estimate(mean[at], number)
            yield
    return mean.numpy()[1:]


def _share(stored: Any, default: float) -> float:
    with suppress(TypeError, ValueError):
        return min(max(float(stored), 0.0), 1.0)
    return default


def _same(a: Any, b: Any) -> bool:
    """Return whether two values of a layer's attribute are equal; colormaps by their name."""
    return bool(np.all(getattr(a, "name", a) == getattr(b, "name", b)))
