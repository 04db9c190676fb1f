"""The Segment widget's state: the run in progress and the layers of its results."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Shapes
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from ...checkpoint.header import read_metadata
from ...checkpoint.metadata import Metadata
from ...errors import LDSegError
from ...inference.checks import check_fit
from ...inference.region import Region, bounding_region, crop, full_region
from ...layers.channels import layers_scan
from ...layers.files import reader_warning
from ...layers.geometry import grid_of
from ...project.update import propose
from ...scans.scan import Scan
from ..common.canvas import camera_of
from ..common.layers import RESULT_KEY
from ..project.proposed_update import ProposedUpdate
from ..project.state import project_of
from .result_layers import ResultLayers
from .sampling import CheckpointCache, SamplingJob, SamplingSettings, Snapshot, sample


@dataclass(frozen=True)
class Choices:
    """What the user has chosen; ``region`` None is the whole image.

    ``channels`` are the layers of a model's channels if it has one each; ``image`` is the first of them.
    """

    image: Image
    region: Shapes | None
    this_slice_only: bool
    settings: SamplingSettings
    channels: tuple[Image, ...] = ()


class Session(QObject):
    """Starts and stops runs and shows their results in the viewer. Lives in the GUI thread."""

    progressed = Signal(object)
    ended = Signal(str, bool)
    proposal_changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None):
        super().__init__(parent)
        self._viewer = viewer
        self._cache = CheckpointCache()
        self._results: list[ResultLayers] = []
        self._current: ResultLayers | None = None
        self._job: SamplingJob | None = None
        self._worker: Any = None
        self._image_removed = False
        self._project = project_of(viewer)
        self.proposal: ProposedUpdate | None = None

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._worker is not None

    @property
    def results(self) -> ResultLayers | None:
        """The layers of the latest run."""
        return self._current

    def result_on(self, image: Layer | None) -> Layer | None:
        """Return the layer that holds the newest result on ``image``: labels, else an SD, else None."""
        own = [r for r in (*self._results, self._current) if r is not None and r.image == image]
        layers = [r.labels for r in own[::-1]]
        layers += [t.layer for t in self._project.labels.on_image(image)]
        layers += [sd for r in own[::-1] for sd in (r.predictive_sd, r.sample_sd)]
        for layer in layers:
            shown = layer is not None and any(layer is other for other in self._viewer.layers)
            if layer is not None and shown and layer.metadata.get(RESULT_KEY):
                return layer
        return None

    def start(self, choices: Choices) -> None:
        """Check the choices and start sampling in a worker thread.

        Raises
        ------
        LDSegError
            If the choices do not fit together, or a run is in progress.
        """
        if self.running:
            raise LDSegError("A run is in progress; wait for it or press Cancel.")
        warning = reader_warning(choices.image)
        if warning is not None:
            warnings.warn(warning, stacklevel=2)
        metadata = read_metadata(choices.settings.checkpoint)
        scan = layers_scan(choices.channels or (choices.image,))
        region = self._region(choices, scan, metadata)
        region = self._one_slice(choices, scan, region, metadata)
        check_fit(metadata, crop(scan, region), larger_allowed=True)
        self._end_proposal(ProposedUpdate.withdraw)
        self._current = self._results_for(choices, metadata)
        partial = region != full_region(scan)
        edited = self._project.labels.edited_on(choices.image, but=self._current.labels)
        shown = self._current.begin(partial, others_edited=edited is not None)
        focus = self._focus(choices.image, scan, region, metadata)
        self._job = SamplingJob(scan, region, choices.settings, shown, partial, focus)
        self._image_removed = False
        self._worker = create_worker(
            sample, self._job, self._cache, _start_thread=False, _ignore_errors=True
        )
        self._worker.yielded.connect(self._on_snapshot)
        self._worker.returned.connect(self._on_returned)
        self._worker.errored.connect(self._on_error)
        self._worker.start()
        self._viewer.layers.events.removed.connect(self._on_layer_removed)

    def follow_image(self, image: Layer) -> None:
        """Follow that ``image`` and its results were rescaled together."""
        for results in self._results:
            if results.image is image:
                results.follow_image()

    def cancel(self) -> None:
        """Stop after the current batch; the samples so far are kept."""
        if self._job is not None:
            self._job.stop.set()

    def shut_down(self) -> None:
        """Stop now, without changing any layer."""
        self.cancel()
        if self._worker is not None:
            self._worker.yielded.disconnect(self._on_snapshot)
            self._worker.returned.disconnect(self._on_returned)
            self._worker.errored.disconnect(self._on_error)
            self._worker.quit()
            self._end_run()

    def apply_proposal(self) -> int:
        """Apply the proposed update to the edited labels; return the number of changed voxels."""
        proposal, results = self.proposal, self._current
        changed = self._end_proposal(ProposedUpdate.apply) or 0
        if changed and proposal is not None and results is not None:
            proposal.edited.result_maps = results.maps
            proposal.edited.result_samples = results.sampled_part
            self._project.store_maps(proposal.edited, results.maps())
            self._project.labels.result_changed.emit(proposal.edited)
        return changed

    def decline_proposal(self) -> None:
        """Keep both the edited and the new labels."""
        self._end_proposal(ProposedUpdate.keep_both)

    def _end_proposal(self, action: Callable[[ProposedUpdate], int | None]) -> int | None:
        proposal, self.proposal = self.proposal, None
        if proposal is None:
            return None
        changed = action(proposal)
        self.proposal_changed.emit()
        return changed

    def _propose(self, snapshot: Snapshot) -> str:
        """Offer to update the unprotected part of edited labels; return a sentence to add, or ""."""
        results, job = self._current, self._job
        if results is None or results.labels is None or job is None or self._image_removed:
            return ""
        if snapshot.result is None or snapshot.result.summary is None:
            return ""
        classes, new = results.metadata.classes, results.labels
        edited = self._project.labels.edited_on(results.image, but=new)
        same = {value: c.name for value, c in enumerate(classes)}
        if edited is None or {value: c.name for value, c in edited.classes.items()} != same:
            return ""
        if grid_of(edited.layer) != grid_of(new):
            return ""
        masks = self._project.labels.recorder_of(edited.layer).masks()
        if not masks.protected.any():
            return ""
        update = propose(masks.label, new.data, masks.protected, job.region.slices, len(classes))
        if masks.protected[job.region.slices].all():
            return (
                " You have edited or reviewed everything that was segmented, so there is no update."
            )
        if not len(update):
            return " They match yours wherever you have not edited or reviewed."
        self.proposal = ProposedUpdate(
            self._viewer,
            edited,
            update,
            classes,
            new.metadata.get(RESULT_KEY, {}),
            "The new segmentation",
            new,
        )
        self.proposal_changed.emit()
        return ""

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.result is not None and self._current is not None and not self._image_removed:
            before = self._current.labels
            self._current.show(snapshot.result)
            if self._current.labels is not before:
                self._hide_former(self._current)
        self.progressed.emit(snapshot)

    def _hide_former(self, current: ResultLayers) -> None:
        """Hide what other models with the classes of ``current`` made of its image."""
        names = [c.name for c in current.metadata.classes]
        for other in self._results:
            same = other.image is current.image and other is not current
            if same and [c.name for c in other.metadata.classes] == names:
                other.hide()

    def _on_returned(self, snapshot: Snapshot) -> None:
        stopped = self._job is not None and self._job.stop.is_set()
        try:
            self._on_snapshot(snapshot)
        except Exception as error:
            self._on_error(error)
            raise
        addition = self._propose(snapshot)
        tracked = self._project.labels.find(self._current.labels if self._current else None)
        if tracked is not None:
            self._project.labels.result_changed.emit(tracked)
        message = self._final_message(snapshot, stopped) + addition
        self._end_run()
        self.ended.emit(message, False)

    def _on_error(self, error: Exception) -> None:
        self._end_run()
        if isinstance(error, LDSegError):
            self.ended.emit(str(error), True)
        elif isinstance(error, MemoryError):
            self.ended.emit(
                "Out of memory: draw a box around the structure and choose it under Region.",
                True,
            )
        else:
            self.ended.emit(f"Sampling failed: {type(error).__name__}: {error}.", True)

    def _final_message(self, snapshot: Snapshot, stopped: bool) -> str:
        if self._image_removed:
            return "Stopped because the image was removed; the results so far are kept."
        if snapshot.result is None or snapshot.result.summary is None:
            return "Stopped before the first sample was complete; press Segment to start again."
        n = snapshot.result.summary["samples"]
        message = f"{'Stopped' if stopped else 'Done'}: {n} sample{'s' if n != 1 else ''}."
        if self.proposal is not None:
            return f"{message} Your labels were kept; see below what the new ones would change."
        if snapshot.notice:
            message += f" {snapshot.notice[0].upper()}{snapshot.notice[1:]}."
        there = self._job is not None and self._job.settings.server is not None
        if snapshot.result.last and snapshot.result.samples is None and not there:
            message += " The samples are too many to browse; draw a box to browse those of a part."
        if self._current is not None and self._current.edit_kept:
            message += " Your labels were kept; the new ones are in a separate layer."
        return message

    def _end_run(self) -> None:
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self._worker = self._job = None

    def _on_layer_removed(self, event: Any) -> None:
        if self._current is not None and event.value is self._current.image:
            self._image_removed = True
            self.cancel()

    def _results_for(self, choices: Choices, metadata: Metadata) -> ResultLayers:
        image, channels = choices.image, choices.channels
        self._results = [r for r in self._results if r.image in self._viewer.layers]
        for results in self._results:
            same = results.image is image and results.channels == channels
            if same and results.metadata == metadata:
                return results

        def written(labels: Labels, data: np.ndarray) -> None:
            classes = dict(enumerate(metadata.classes))
            tracked = self._project.labels.track(labels, image, classes, data)
            tracked.result_maps = results.maps
            tracked.result_samples = results.sampled_part
            tracked.channels = channels

        results = ResultLayers(self._viewer, image, metadata, written, channels)
        self._results.append(results)
        return results

    def _region(self, choices: Choices, scan: Scan, metadata: Metadata) -> Region:
        if choices.region is None:
            return full_region(scan)
        shapes, image = choices.region, choices.image
        if not len(shapes.data):
            raise LDSegError(f"{shapes.name} holds no box; draw one around the structure.")
        if len(shapes.data) > 1:
            raise LDSegError(
                f"{shapes.name} holds {len(shapes.data)} shapes; keep only one, or put each on its own "
                "Shapes layer."
            )
        # Shapes with fewer axes than the image count as drawn in the slice shown.
        shown = np.array(self._viewer.dims.point[-image.ndim :], dtype=float)
        points = []
        for corner in np.asarray(shapes.data[0]):
            world = shown.copy()
            drawn = shapes.data_to_world(corner)[-image.ndim :]
            world[image.ndim - len(drawn) :] = drawn
            points.append(image.world_to_data(world))
        return bounding_region(np.array(points), scan, metadata)

    def _focus(
        self, image: Image, scan: Scan, region: Region, metadata: Metadata
    ) -> tuple[float, ...]:
        """Return the point in the middle of the view, in voxels of the spatial axes of ``region``."""
        viewer, dims = self._viewer, metadata.architecture.dims
        point = np.array(viewer.dims.point, dtype=float)
        displayed = list(viewer.dims.displayed)
        point[displayed] = np.asarray(camera_of(viewer).center, dtype=float)[-len(displayed) :]
        place = np.asarray(image.world_to_data(point))[-len(scan.shape) :]
        return tuple((place - region.start)[-dims:].tolist())

    def _one_slice(
        self, choices: Choices, scan: Scan, region: Region, metadata: Metadata
    ) -> Region:
        """Return the part of ``region`` in the slice shown, if only that is to be segmented."""
        leading = len(scan.shape) - metadata.architecture.dims
        viewer = self._viewer
        turned = viewer.dims.ndisplay == 2 and min(viewer.dims.displayed) < viewer.dims.ndim - 2
        if leading and turned:
            raise LDSegError(
                f"{metadata.name} segments slices along the first axis; turn the view with the roll button "
                "at the bottom left until it shows them."
            )
        if not leading or not choices.this_slice_only:
            return region
        point = choices.image.world_to_data(viewer.dims.point)[-len(scan.shape) :]
        index = [round(float(p)) for p in point[:leading]]
        if any(not a <= i < b for i, a, b in zip(index, region.start, region.stop, strict=False)):
            raise LDSegError(f"The slice shown is outside {scan.name}; go to a slice inside it.")
        return Region(
            (*index, *region.start[leading:]), (*(i + 1 for i in index), *region.stop[leading:])
        )
