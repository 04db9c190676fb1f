"""An update of the labels from the user's corrections: asked for, computed, shown, then applied or not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from ...errors import LDSegError
from ...project.update import Update, propose
from ..common.latest import Latest
from ..common.layers import RESULT_KEY
from ..project.proposed_update import ProposedUpdate
from ..project.state import project_of
from ..project.tracked_labels import SampledPart, TrackedLabels
from .hints import Hints
from .reviewer import Reviewer

if TYPE_CHECKING:
    from ...inference.conditioning import ConditionedPosterior, Conditioner  # import torch

NO_SAMPLES = "The samples of this result are not in memory; press Segment, then correct and update."
NO_EVIDENCE = (
    "Paint a correction, scribble a hint or accept a region first; the update starts from these."
)
MEANING = "Not calibrated: the result was conditioned on your corrections."
MAPS = ("error_probability", "runner_up", "predictive_sd")  # that an update changes


class _Cancelled(Exception):
    """The update is no longer wanted."""


class Updater(QObject):
    """Conditions the result under review on what the user knows. Lives in the GUI thread.

    ``changed`` follows a new proposal, its end, or a start or end of computing.
    """

    changed = Signal()
    progressed = Signal(float)
    message = Signal(str, bool)

    def __init__(self, viewer: ViewerModel, reviewer: Reviewer, parent: QObject | None = None):
        super().__init__(parent)
        self._viewer, self._reviewer = viewer, reviewer
        self._project = project_of(viewer)
        self._work = Latest()
        self._stop = threading.Event()
        self._conditioner: tuple[SampledPart, Conditioner] | None = None
        self._posterior: ConditionedPosterior | None = None
        self._part: SampledPart | None = None
        self.hints = Hints(viewer)
        self.proposal: ProposedUpdate | None = None
        self.effective: float | None = None
        reviewer.target_changed.connect(self.cancel)

    @property
    def busy(self) -> bool:
        """Whether an update is being computed."""
        return self._work.busy

    def shut_down(self) -> None:
        """Drop what is computed or shown."""
        self.cancel()
        self.hints.remove()

    def cancel(self) -> None:
        """Drop the update that is computed or shown."""
        self._stop.set()
        self._work.drop()
        proposal, self.proposal = self.proposal, None
        if proposal is not None:
            proposal.withdraw()
        self.changed.emit()

    def update(self) -> None:
        """Compute what the corrections change elsewhere, and show it."""
        if self.busy:
            return
        try:
            work = self._prepared()
        except LDSegError as error:
            self.message.emit(str(error), True)
            return
        self.cancel()
        stop = self._stop = threading.Event()
        self._work.start(work, stop, done=self._propose, failed=self._on_error)
        self.changed.emit()

    def apply(self) -> None:
        """Take the proposed update into the labels, as one undo step, and its probabilities with it."""
        proposal, self.proposal = self.proposal, None
        posterior, part = self._posterior, self._part
        if proposal is None or posterior is None or part is None:
            return
        changed = proposal.apply()
        if changed:
            self._take_maps(proposal.edited, posterior, part)
            self.message.emit(
                f"{changed:,} voxels were updated; press Ctrl+Z to undo the whole update.", False
            )
        self.hints.remove()
        self.changed.emit()

    def reject(self) -> None:
        """Leave the labels as they are."""
        if self.proposal is None:
            return
        self.cancel()
        self.message.emit("Nothing was changed.", False)

    def _prepared(self) -> Any:
        """Return the work of an update, to be done in a thread. Raises LDSegError if there is none."""
        target = self._reviewer.target
        part = target.result_samples() if target is not None else None
        if target is None or part is None:
            raise LDSegError(NO_SAMPLES)
        classes = part.samples.metadata.classes
        names = {value: info.name for value, info in target.classes.items()}
        if any(names.get(value) != info.name for value, info in enumerate(classes)):
            raise LDSegError(
                f"{target.layer.name} has other classes than the model {part.samples.metadata.name}, so "
                "its samples cannot follow the corrections; segment again."
            )
        masks = self._project.labels.recorder_of(target.layer).masks()
        hints = self.hints.drawn()
        box = part.region.slices
        label, known = masks.label[box], masks.protected[box] & (masks.label[box] < len(classes))
        drawn = None if hints is None else hints[box].copy()
        if not known.any() and (drawn is None or not drawn.any()):
            raise LDSegError(NO_EVIDENCE)
        meanings = (
            {v: self.hints.meaning(v) for v in np.unique(drawn).tolist() if v}
            if (drawn is not None)
            else {}
        )
        self._part = part
        protected = masks.protected

        def work(stop: threading.Event) -> tuple[Update, ConditionedPosterior]:
            from ...inference.conditioning import Conditioner
            from ...inference.evidence import Stroke, evidence_from_labels

            if self._conditioner is None or self._conditioner[0] is not part:
                self._conditioner = (part, Conditioner(part.samples))
            conditioner = self._conditioner[1]
            labels, seen, strokes = label.copy(), known.copy(), []
            for value, (c, is_it) in meanings.items():
                where = drawn == value
                if is_it:
                    labels[where], seen = c, seen | where
                else:
                    others = tuple(o for o in range(len(classes)) if o != c)
                    strokes.append(Stroke(np.flatnonzero(where), others))
            dims = part.samples.metadata.architecture.dims
            evidence = evidence_from_labels(labels, seen, len(classes), dims, strokes)

            def progress(share: float) -> None:
                if stop.is_set():
                    raise _Cancelled
                self.progressed.emit(share)

            try:
                posterior = conditioner.condition(evidence, progress, label)
            except RuntimeError as error:
                raise LDSegError(f"The update failed: {error}") from error
            new = masks.label.copy()
            new[box] = posterior.labels
            update = propose(masks.label, new, protected, box, len(classes))
            return update, posterior

        return work

    def _propose(self, found: tuple[Update, ConditionedPosterior]) -> None:
        update, posterior = found
        target, part = self._reviewer.target, self._part
        assert target is not None and part is not None
        self._posterior = posterior
        effective = posterior.effective_samples
        self.effective = float(effective.min()) if len(effective) else None
        if not len(update):
            self.message.emit("Your corrections change nothing else.", False)
            self.changed.emit()
            return
        run = dict(target.layer.metadata.get(RESULT_KEY) or {})
        run["calibrated"] = {"probability": False, "intervals": False, "meaning": MEANING}
        run["conditioned"] = {
            "strokes": len(posterior.weights),
            "effective_samples": self.effective,
        }
        self.proposal = ProposedUpdate(
            self._viewer,
            target,
            update,
            part.samples.metadata.classes,
            run,
            "Following your corrections",
        )
        self.changed.emit()

    def _take_maps(
        self, tracked: TrackedLabels, posterior: ConditionedPosterior, part: SampledPart
    ) -> None:
        """Let the result's maps, and the layers of them, be those of ``posterior`` in the part that was sampled."""
        maps = dict(tracked.result_maps())
        for name in MAPS:
            before = maps.get(name)
            if before is None:
                continue
            maps[name] = before.copy()
            maps[name][part.region.slices] = getattr(posterior, name)
            for layer in self._viewer.layers:
                if isinstance(layer, Image) and layer.data is before:
                    layer.data = maps[name]
        tracked.result_maps = lambda: maps
        self._project.store_maps(tracked, maps)
        self._project.labels.result_changed.emit(tracked)

    def _on_error(self, error: Exception) -> None:
        if not isinstance(error, _Cancelled):
            self.message.emit(str(error), True)
        self.changed.emit()
