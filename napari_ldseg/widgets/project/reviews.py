"""Marking labels as reviewed, and signing them off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from napari.layers import Labels

from ...errors import LDSegError
from ...project.case import now, unnamed_value
from ...project.recorder import Recorder
from ...project.schema import SignOff
from ..common.layers import REVIEWED_KEY
from .tracked_labels import LabelTracker


class Reviews:
    """Marks and signs off the labels that ``labels`` tracks.

    ``written`` is called with a recorder whose change is to be written.
    """

    def __init__(self, labels: LabelTracker, written: Callable[[Recorder], None]):
        self._labels = labels
        self._written = written

    def mark(self, layer: Labels, where: tuple[slice | np.ndarray, ...], reviewed: bool) -> None:
        """Mark voxels, a box or their indices, as reviewed, which protects them, or unmark them. Raises LDSegError."""
        if reviewed:
            self._check(layer, where)
        recorder = self._labels.recorder_of(layer)
        recorder.mark_reviewed(where, reviewed)
        layer.metadata[REVIEWED_KEY] = any(recorder.counts())
        self._written(recorder)

    def sign_off(self, layer: Labels, who: str) -> None:
        """Mark the whole label as reviewed and sign it off in the name of ``who``. Raises LDSegError."""
        if not who.strip():
            raise LDSegError(
                "Enter your name first; a sign-off states who is responsible for the labels."
            )
        self._check(layer)
        recorder = self._labels.recorder_of(layer)
        recorder.sign_off(who.strip()[:200], now())
        layer.metadata[REVIEWED_KEY] = True
        self._written(recorder)

    def sign_off_of(self, layer: Labels) -> SignOff | None:
        """Return the sign-off of a labels layer, None if there is none."""
        tracked = self._labels.find(layer)
        recorder = tracked.recorder if tracked is not None else None
        case = recorder.case if recorder is not None else None
        with suppress(LDSegError):
            return case.record().sign_off if case is not None else None
        return None

    def _check(self, layer: Labels, where: tuple[slice | np.ndarray, ...] = ()) -> None:
        """Raise LDSegError if ``layer`` is hidden or a voxel has a value without a class."""
        if not layer.visible:
            raise LDSegError(
                f"{layer.name} is hidden, so you cannot have checked it; press the eye beside its name, or "
                "select the labels that you see."
            )
        tracked = self._labels.find(layer)
        data = np.asarray(layer.data[where])
        wrong = None if tracked is None else unnamed_value(data, tracked.classes)
        if wrong is not None:
            raise LDSegError(
                f"{layer.name} holds the value {wrong}, which has no class: name it under Edit classes in "
                "the Correct tab, or erase its voxels."
            )
