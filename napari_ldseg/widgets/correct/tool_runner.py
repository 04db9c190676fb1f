"""Applying correction tools to a labels layer, one after another, each as one undo step.

A change is computed in a worker thread and written in the GUI thread through ``data_setitem``, so that
``events.paint`` fires. Voxels that the user has painted in the meantime keep their painted value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.layers import Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from ...correction.change import Change
from ...errors import LDSegError
from .piece_click import Index
from .tool_job import ToolJob

HOW_TO_UNDO = "Press Ctrl+Z to undo."


class ToolRunner(QObject):
    """Runs the tools on one layer. Lives in the GUI thread.

    Parameters
    ----------
    make_job
        Returns the job of a tool when its turn comes. May raise LDSegError.
    """

    changed = Signal()
    message = Signal(str, bool)
    written = Signal(object)

    def __init__(
        self, make_job: Callable[[str, Index | None], ToolJob], parent: QObject | None = None
    ):
        super().__init__(parent)
        self._make_job = make_job
        self._layer: Labels | None = None
        self._queue: list[tuple[str, Index | None]] = []
        self._worker: Any = None

    @property
    def busy(self) -> bool:
        """Whether a change is being computed."""
        return self._worker is not None

    def set_layer(self, layer: Labels | None) -> None:
        """Work on ``layer``; drop the tools that are waiting for another layer."""
        self._layer = layer
        self._queue.clear()

    def shut_down(self) -> None:
        """Drop the waiting tools and the change that is being computed."""
        self.set_layer(None)
        if self._worker is not None:
            self._worker.returned.disconnect()
            self._worker.errored.disconnect()
            self._worker = None

    def start(self, name: str, index: Index | None) -> None:
        """Apply a tool after those that are waiting; ``index`` is the voxel that was clicked."""
        self._queue.append((name, index))
        if not self.busy:
            self._next()

    def _next(self) -> None:
        if not self._queue:
            return
        try:
            job = self._make_job(*self._queue.pop(0))
            job.check()
        except LDSegError as error:
            self.message.emit(str(error), True)
            self._next()
            return
        self._worker = create_worker(job.compute, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(partial(self._finish, job))
        self._worker.errored.connect(self._fail)
        self.changed.emit()
        self._worker.start()

    def _finish(self, job: ToolJob, change: Change) -> None:
        self._worker = None
        self.message.emit(*self._write(job, change))
        self.changed.emit()
        self._next()

    def _write(self, job: ToolJob, change: Change) -> tuple[str, bool]:
        """Write ``change`` into the layer; return a message and whether it is an error."""
        layer, label = job.layer, job.tool.label
        if self._layer is None or layer is not self._layer or layer.data is not job.labels:
            return f"{label} was not applied: another layer was selected in the meantime.", True
        if not len(change):
            return job.no_change, False
        if job.leaves_nothing(change):
            return job.nothing_left, True
        untouched = layer.data[change.indices] == change.before
        indices = tuple(i[untouched] for i in change.indices)
        layer.data_setitem(indices, change.after[untouched])
        self.written.emit(job)
        count = len(indices[0])
        return f"{label}: {count:,} voxel{'s' if count != 1 else ''} changed. {HOW_TO_UNDO}", False

    def _fail(self, error: Exception) -> None:
        self._worker = None
        self._queue.clear()
        self.message.emit(f"The tool failed and nothing was changed: {error}.", True)
        self.changed.emit()
