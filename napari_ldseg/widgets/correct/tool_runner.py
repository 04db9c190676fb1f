"""Applying the tools of ``correction/`` to a labels layer, one after another, each as one undo step.

A tool's change is computed in a worker thread and written in the GUI thread through ``data_setitem``,
so that ``events.paint`` fires. A voxel that the user has painted in the meantime keeps what the user
gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.qt.threading import create_worker

from ...correction.change import Change, Part
from ...correction.pieces import keep_largest, relabel_piece
from ...correction.shape import fill_holes, grow, shrink, smooth
from ...correction.slices import copy_slice, fill_between
from ...errors import LDSegError
from .piece_click import Index
from .tools import TOOLS, why_nothing
from .view import View

if TYPE_CHECKING:
    from .corrector import Corrector

TAKE_BACK = "Ctrl+Z takes it back."


class ToolRunner:
    """Runs tools on the target of ``state``, with its class and amounts, and says there what came of it."""

    def __init__(self, state: Corrector, view: View):
        self._state, self._view = state, view
        self._queue: list[tuple[str, Index | None]] = []
        self._worker = None

    @property
    def busy(self) -> bool:
        """Whether a change is being computed."""
        return self._worker is not None

    def forget_waiting(self) -> None:
        """Drop the tools that have not begun."""
        self._queue.clear()

    def shut_down(self) -> None:
        """Drop what is being computed too."""
        self.forget_waiting()
        if self._worker is not None:
            self._worker.returned.disconnect()
            self._worker.errored.disconnect()
            self._worker = None

    def start(self, name: str, index: Index | None) -> None:
        """Apply the tool, after those that were asked for before; ``index`` is the voxel clicked."""
        self._queue.append((name, index))
        if not self.busy:
            self._next()

    def _next(self) -> None:
        if not self._queue:
            return
        name, index = self._queue.pop(0)
        try:
            job, follow = self._job(name, index)
        except LDSegError as error:
            self._state.said.emit(str(error), True)
            self._next()
            return
        layer = self._state.target
        data = layer.data
        nothing = self._why_nothing(name)
        self._worker = create_worker(job, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(
            lambda change: self._finish(layer, data, name, change, nothing, follow)
        )
        self._worker.errored.connect(self._fail)
        self._state.changed.emit()
        self._worker.start()

    def _finish(self, layer, data, name, change: Change, nothing: str, follow) -> None:
        self._worker, state = None, self._state
        if layer is not state.target or layer.data is not data:
            state.said.emit(
                f"{TOOLS[name].words} was not applied, since another layer was selected meanwhile.",
                True,
            )
        elif not len(change):
            state.said.emit(nothing, False)
        elif name == "shrink" and not self._any_left(layer, change):
            state.said.emit(
                f"That would leave nothing of {state.name_of(change.before[0])}; take a smaller distance.",
                True,
            )
        else:
            untouched = data[change.indices] == change.before
            indices = tuple(i[untouched] for i in change.indices)
            layer.data_setitem(indices, change.after[untouched])
            follow()
            voxels = f"{len(indices[0]):,} voxel{'s' if len(indices[0]) != 1 else ''}"
            state.said.emit(f"{TOOLS[name].words}: {voxels} changed. {TAKE_BACK}", False)
        state.changed.emit()
        self._next()

    def _fail(self, error: Exception) -> None:
        self._worker = None
        self._queue.clear()
        self._state.said.emit(f"That did not work, and nothing was changed: {error}.", True)
        self._state.changed.emit()

    def _job(self, name: str, index: Index | None) -> tuple[Callable[[], Change], Callable]:
        """Return what computes the tool's change, and what to do once it is written."""
        state = self._state
        layer, value, amounts = state.target, state.value, state.amounts
        labels, position = layer.data, self._view.position(layer)
        axis = self._view.slice_axis(layer)
        # A click in the 3D view is on a whole piece.
        by_slice = state.by_slice and not self._view.in_3d
        part = Part.at(index or position, axis if by_slice else None)
        spacing = self._spacing_of(part)

        def stay() -> None:
            pass

        def across(function, *arguments):
            part = Part.at(position)
            along = part.axes.index(axis)
            return lambda: part.to_full(function(part.of(labels), value, along, *arguments))

        if name in ("erase_piece", "relabel_piece"):
            here = tuple(index[a] for a in part.axes)
            given = value if name == "relabel_piece" else 0
            return lambda: part.to_full(relabel_piece(part.of(labels), here, given)), stay
        if name == "fill_between":
            return across(fill_between, self._spacing_of(Part.at(position))), stay
        if name in ("copy_next", "copy_previous"):
            here = position[axis]
            there = here + (1 if name == "copy_next" else -1)
            if not 0 <= there < labels.shape[axis]:
                raise LDSegError("This is the last slice in that direction.")
            if not (Part.at(position, axis).of(labels) == value).any():
                raise LDSegError(
                    f"There is no {state.name_of(value)} in this slice to copy; go to one that has it."
                )
            return across(copy_slice, here, there), partial(self._view.go_to, layer, axis, there)
        jobs = {
            "keep_largest": lambda view: keep_largest(view, value),
            "fill_holes": lambda view: fill_holes(view, value),
            "smooth": lambda view: smooth(view, value, amounts.smoothing, spacing),
            "grow": lambda view: grow(view, value, amounts.distance, spacing),
            "shrink": lambda view: shrink(view, value, amounts.distance, spacing),
        }
        return lambda: part.to_full(jobs[name](part.of(labels))), stay

    def _why_nothing(self, name: str) -> str:
        """Return the sentence for a tool that changes nothing."""
        state = self._state
        part = "image" if state.target.ndim == 2 else "slice" if state.by_slice else "volume"
        amount = state.amounts.smoothing if name == "smooth" else state.amounts.distance
        return why_nothing(name, state.name_of(state.value), part, f"{amount:g} {state.unit}")

    def _any_left(self, layer: Labels, change: Change) -> bool:
        axis = self._view.slice_axis(layer) if self._state.by_slice else None
        part = Part.at(self._view.position(layer), axis)
        return np.count_nonzero(part.of(layer.data) == change.before[0]) > len(change)

    def _spacing_of(self, part: Part) -> tuple[float, ...]:
        spacing = self._state.spacing
        skipped = self._state.target.ndim - len(spacing)
        return tuple(spacing[a - skipped] for a in part.axes)
