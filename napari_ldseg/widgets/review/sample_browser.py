"""The samples of the result under review: decoded in the background, sorted, grouped, shown one at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from ...correction.change import bounding_box
from ...errors import LDSegError
from ...layers.geometry import derived_attributes
from ...project.update import Update, propose
from ..common.class_labels import class_colours, class_names
from ..common.latest import Latest
from ..common.layers import PREVIEW_KEY, RESULT_KEY, add_unselected, remove_soon, unwrapped
from ..project.proposed_update import apply_update
from ..project.state import project_of
from ..project.tracked_labels import SampledPart
from .reviewer import Reviewer

if TYPE_CHECKING:
    from ...evaluation.alternatives import Alternative  # imports torch

AS_DRAWN, BY_SIZE, BY_TYPICALITY = "as drawn", "by size", "most typical first"
ORDERS = (AS_DRAWN, BY_SIZE, BY_TYPICALITY)
MARGIN = 2  # voxels around a region in which "this region" also fills


class SampleBrowser(QObject):
    """Follows the reviewer's result. Lives in the GUI thread; decodes in a worker.

    ``changed`` follows a new sample or order, ``grouped`` new alternatives.
    """

    changed = Signal()
    grouped = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, reviewer: Reviewer, parent: QObject | None = None):
        super().__init__(parent)
        self._viewer, self._reviewer = unwrapped(viewer), reviewer
        self._project = project_of(viewer)
        self._decoding, self._grouping = Latest(), Latest()
        self._layer: Labels | None = None
        self._wanted: int | None = None
        self.part: SampledPart | None = None
        self._decoded: set[int] = set()
        self.order: list[int] = []
        self.sorting = AS_DRAWN
        self.position: int | None = None
        self.alternatives: list[Alternative] = []
        self.in_region = True
        self._typicality: np.ndarray | None = None
        reviewer.target_changed.connect(self._on_target)
        reviewer.moved.connect(self._on_moved)
        self._on_target()

    def shut_down(self) -> None:
        """Stop decoding and remove the sample's layer."""
        self._stop()
        self._remove_layer()

    @property
    def n(self) -> int:
        """The number of samples."""
        return 0 if self.part is None else self.part.samples.n

    @property
    def decoded(self) -> bool:
        """Whether all samples are decoded."""
        return self.n > 0 and len(self._decoded) == self.n

    @property
    def busy(self) -> bool:
        """Whether the samples are being decoded, or the alternatives found."""
        return self._decoding.busy or self._grouping.busy

    @property
    def sample(self) -> int | None:
        """The number of the sample shown, None for the label map."""
        return None if self.position is None else self.order[self.position]

    @property
    def box(self) -> tuple[slice, ...] | None:
        """The part of the image that alternatives are about and that ``use`` fills; None is everything."""
        region = self._reviewer.region
        if region is None or not self.in_region or self._reviewer.layer is None:
            return None
        sizes = self._reviewer.layer.data.shape
        leading = len(sizes) - min(3, len(sizes))
        return tuple(
            s if axis < leading else slice(max(0, s.start - MARGIN), min(size, s.stop + MARGIN))
            for axis, (s, size) in enumerate(zip(region.box, sizes, strict=True))
        )

    def labels_of(self, sample: int) -> np.ndarray:
        """Return a decoded sample on the grid of the whole image, uint8; 0 where nothing was sampled."""
        assert self.part is not None and self._reviewer.layer is not None
        whole = np.zeros(self._reviewer.layer.data.shape, np.uint8)
        whole[self.part.region.slices] = self.part.samples.labels(sample)
        return whole

    def show(self, position: int | None) -> None:
        """Show the sample at ``position`` of the order, or the label map alone (None)."""
        if position is not None and not 0 <= position < self.n:
            return
        self.position = position
        sample = self.sample
        if sample is None:
            self._remove_layer()
        elif sample in self._decoded:
            self._show_labels(self.labels_of(sample))
        else:
            self._wanted = sample  # shown as soon as it is decoded
        self.changed.emit()

    def step(self, by: int) -> None:
        """Show the next alternative (1) or the one before (-1); before the first is the label map.

        Before the alternatives are found, it is the next sample.
        """
        shown = [-1, *([one.medoid for one in self.alternatives] or self.order)]
        now = -1 if self.sample is None else self.sample
        like = [i for i, one in enumerate(self.alternatives, start=1) if now in one.members]
        place = shown.index(now) if now in shown else (like or [0])[0]
        wanted = shown[max(0, min(len(shown) - 1, place + by))]
        self.show(None if wanted < 0 else self.order.index(wanted))

    def show_sample(self, sample: int) -> None:
        """Show sample number ``sample``."""
        self.show(self.order.index(sample))

    def sort(self, sorting: str) -> None:
        """Sort by one of ``ORDERS``; the sample shown stays."""
        self.sorting = sorting
        shown = self.sample
        self._sort()
        self.position = None if shown is None else self.order.index(shown)
        self.changed.emit()

    def set_in_region(self, in_region: bool) -> None:
        """Group the samples, and fill the labels, in the region shown only or everywhere."""
        self.in_region = in_region
        self._group()

    def use(self) -> int:
        """Take the sample shown into the unprotected labels, as one undo step; return the changed voxels.

        Raises LDSegError if no sample is shown.
        """
        target, sample = self._reviewer.target, self.sample
        if target is None or sample is None or sample not in self._decoded:
            raise LDSegError("Show a sample or an alternative first, then use it.")
        recorder = self._project.labels.recorder_of(target.layer)
        masks = recorder.masks()
        update = self._update(masks.label, masks.protected, self.labels_of(sample))
        if not len(update):
            return 0
        run = dict(target.layer.metadata.get(RESULT_KEY) or {})
        where = None if self.box is None else [[s.start, s.stop] for s in self.box]
        run["chosen"] = {"sample": sample, "of": self.n, "box": where}
        return apply_update(target, update, run)

    def _update(self, label: np.ndarray, protected: np.ndarray, new: np.ndarray) -> Update:
        part, box = self.part, self.box
        assert part is not None and self._reviewer.target is not None
        classes = max(self._reviewer.target.classes) + 1
        whole = label.copy()
        whole[part.region.slices] = new[part.region.slices]
        return propose(label, whole, protected, box or part.region.slices, classes)

    def _on_target(self) -> None:
        self._stop()
        self._remove_layer()
        target = self._reviewer.target
        self.part = None if target is None else target.result_samples()
        self._decoded, self.position, self.alternatives = set(), None, []
        self._typicality, self._wanted = None, None
        self.order = list(range(self.n))
        if self.part is not None:
            self._decode(self.part)
        self.changed.emit()
        self.grouped.emit()

    def _on_moved(self) -> None:
        if self.in_region:
            self.show(None)  # what was shown was about another region
            self._group()

    def _decode(self, part: SampledPart) -> None:
        done = self._decoded

        def work() -> Generator[int, None, None]:
            while len(done) < part.samples.n:
                wanted = self._wanted
                if wanted is None or wanted in done:
                    wanted = next(i for i in range(part.samples.n) if i not in done)
                try:
                    part.samples.labels(wanted)
                except RuntimeError as error:  # swallowed by napari's generator workers
                    raise LDSegError(f"The samples cannot be decoded: {error}") from error
                done.add(wanted)
                yield wanted

        self._decoding.start(
            work,
            yielded=self._on_decoded,
            done=lambda _: self._group(),
            failed=lambda error: self.message.emit(str(error), True),
        )

    def _on_decoded(self, sample: int) -> None:
        if sample == self.sample and sample in self._decoded:
            self._wanted = None
            self._show_labels(self.labels_of(sample))
        self.changed.emit()

    def _group(self) -> None:
        """Find the alternatives, and how typical each sample is, in a worker."""
        target = self._reviewer.target
        if not self.decoded or target is None:
            return
        box, classes = self.box, max(target.classes) + 1

        def take(found: tuple[list[Alternative], np.ndarray]) -> None:
            self.alternatives, self._typicality = found
            self.sort(self.sorting)
            self.grouped.emit()

        self._grouping.start(
            lambda: _grouped([self.labels_of(i) for i in range(self.n)], box, classes),
            done=take,
            failed=lambda error: self.message.emit(str(error), True),
        )

    def _sort(self) -> None:
        self.order = list(range(self.n))
        if self.sorting == BY_SIZE and self.decoded:
            sizes = [np.count_nonzero(self.labels_of(i)[self.box or ()]) for i in self.order]
            self.order.sort(key=lambda i: sizes[i])
        elif self.sorting == BY_TYPICALITY and self._typicality is not None:
            typicality = self._typicality
            self.order.sort(key=lambda i: -typicality[i])

    def _show_labels(self, data: np.ndarray) -> None:
        target = self._reviewer.target
        if target is None:
            return
        if self._layer is not None and self._layer in self._viewer.layers:
            self._layer.data = data
            self._layer.visible = True
            return
        layer = Labels(
            data,
            name=f"sample · {target.layer.name.removeprefix('labels · ')}",
            colormap=class_colours(target.classes),
            features=class_names(target.classes),
            opacity=1.0,
            **derived_attributes(target.layer),
        )
        layer.contour = 1
        layer.editable = False
        layer.metadata[PREVIEW_KEY] = True
        self._layer = layer
        add_unselected(self._viewer, layer)

    def _remove_layer(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            remove_soon(self._viewer, layer)

    def _stop(self) -> None:
        self._decoding.drop()
        self._grouping.drop()


def _grouped(
    maps: Sequence[np.ndarray], box: tuple[slice, ...] | None, classes: int
) -> tuple[list[Alternative], np.ndarray]:
    """Return the alternatives among label maps, or the outlines in ``box``, and each map's mean IoU with the others."""
    from ...evaluation.alternatives import distances, find_alternatives
    from ...review.outlines import distinct_outlines

    whole = box is None
    if box is None:
        box = bounding_box(np.logical_or.reduce([m > 0 for m in maps])) or ()
    parts = [np.ascontiguousarray(m[box]) for m in maps]
    n = len(parts)
    typicality = 1 - distances(parts, classes).sum(1) / max(n - 1, 1)
    found = find_alternatives(parts, classes) if whole else distinct_outlines(parts, classes)
    return found, typicality
