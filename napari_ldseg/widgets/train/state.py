"""The training's state in a viewer: the run, its status, the models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

from napari.components import ViewerModel
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ...errors import LDSegError
from ...finetuning.comparison import COMPARISON, Comparison, read_comparison
from ...finetuning.config import FineTuningConfig
from ...finetuning.launch import FineTuningRun, runs, start
from ...finetuning.model_store import ModelStore
from ...training.run_folder import Status
from ..common.per_viewer import OnePerViewer
from ..project.state import project_of
from .closing import ask_before_closing

POLL_MS = 400


class TrainingState(QObject):
    """Starts and follows the project's training and stores the decisions. Lives in the GUI thread.

    A run continues without the window and is shown from its files. A new window therefore finds a run that
    is active, was stopped or killed, or is finished and waits for the user's decision.
    """

    changed = Signal()
    failed = Signal(str)
    models_changed = Signal()
    adopted = Signal(object)
    used = Signal(object)

    def __init__(self, viewer: ViewerModel):
        super().__init__()
        self.project = project_of(viewer)
        self.store = ModelStore(self.project.folder)
        self.run: FineTuningRun | None = None
        self.status: Status | None = None
        self.comparison: Comparison | None = None
        self.busy = ""
        self.segments_with: Path | None = None
        self._worker: Any = None
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)
        self.project.changed.connect(self._on_project)
        self.project.ended.connect(partial(self._shut_down, ref(viewer)))
        self.project.window_guard.questions.append(self._may_close)
        self.find_run()

    @property
    def active(self) -> bool:
        """Whether a process trains, or is being started."""
        return self.status is not None and not self.status.ended

    @property
    def model_in_use(self) -> Path | None:
        """The model that the user chose for the project, or None."""
        try:
            return self.store.adopted
        except LDSegError as error:
            self.failed.emit(str(error))
            return None

    def note_use(self, path: Path) -> None:
        """Remember the model that the Segment tab has selected for an image."""
        if path != self.segments_with:
            self.segments_with = path
            self.used.emit(path)

    def find_run(self) -> None:
        """Find the newest run, if it is active or waits for a decision."""
        self.run = self.status = self.comparison = None
        with suppress(LDSegError):
            for run in runs(self.project.folder)[:1]:
                status = run.status()
                model = status.checkpoint
                if status.phase == "finished" and (
                    model is None or not model.is_file() or self.store.decided(model)
                ):
                    continue
                self.run, self.status = run, status
        self._follow()
        self.changed.emit()

    def poll(self) -> None:
        """Read the current status of the training."""
        if self.run is None:
            return
        try:
            self.status = self.run.status()
        except LDSegError as error:
            if self.run.folder.exists():
                return  # the file is being written, or the disk is not available for a moment
            self.failed.emit(str(error))
            self.find_run()
            return
        self._follow()
        self.changed.emit()
        if self.status.phase == "finished":
            self.models_changed.emit()

    def start(self, config: FineTuningConfig) -> None:
        """Save the corrections, then start the training; both in the background."""
        recorders = self.project.labels.recorders

        def work() -> FineTuningRun:
            for recorder in recorders:
                if not recorder.finish_writing():
                    raise LDSegError(
                        f"The corrections of {recorder.name} are not saved: {recorder.problem}"
                    )
            return start(config)

        self._in_background("Saving the corrections …", work)

    def resume(self) -> None:
        """Resume a run that was stopped, killed, or failed."""
        if self.run is not None:
            run = self.run

            def work() -> FineTuningRun:
                run.resume()
                return run

            self._in_background("Resuming …", work)

    def pause(self) -> None:
        """Pause the training after its current update."""
        self._request(lambda run: run.pause())

    def unpause(self) -> None:
        """End the pause."""
        self._request(lambda run: run.unpause())

    def stop(self) -> None:
        """Stop the training; its state is saved, so that it can be resumed."""
        self._request(lambda run: run.stop())

    def discard(self) -> None:
        """Delete the folder of a run that is not active."""
        if self._request(lambda run: run.discard()):
            self.find_run()

    def use(self, path: Path) -> None:
        """Use the model at ``path`` from now on, a new or an older one."""
        if self._decide(partial(self.store.adopt, path)):
            self.adopted.emit(path)

    def keep(self) -> None:
        """Keep the old model; the new one stays among the project's models."""
        if self.status is not None and self.status.checkpoint is not None:
            self._decide(partial(self.store.decline, self.status.checkpoint))

    def _decide(self, decision: Callable[[], None]) -> bool:
        try:
            decision()
        except LDSegError as error:
            self.failed.emit(str(error))
            if not self.active:
                self.find_run()
            return False
        if not self.active:
            self.find_run()
        self.models_changed.emit()
        return True

    def _request(self, request: Callable[[FineTuningRun], None]) -> bool:
        if self.run is None:
            return False
        try:
            request(self.run)
        except LDSegError as error:
            self.failed.emit(str(error))
        except OSError as error:
            self.failed.emit(
                f"The request did not reach the training: {self.run.folder} cannot be written "
                f"({error.strerror or error})."
            )
        else:
            return True
        return False

    def _in_background(self, what: str, work: Callable[[], FineTuningRun]) -> None:
        if self.busy:
            return
        self.busy = what
        self._worker = create_worker(work, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(self._on_started)
        self._worker.errored.connect(self._on_error)
        self._worker.start()
        self.changed.emit()

    def _on_started(self, run: FineTuningRun) -> None:
        self.busy, self.run, self.comparison = "", run, None
        self.status = Status(phase="starting", text="Starting …")
        self._follow()
        self.changed.emit()

    def _on_error(self, error: Exception) -> None:
        self.busy = ""
        self.changed.emit()
        known = isinstance(error, LDSegError)
        self.failed.emit(
            str(error) if known else f"The training did not start: {type(error).__name__}: {error}."
        )

    def _may_close(self, window: QWidget) -> bool:
        """Ask about an active training; return whether the window may close."""
        self.poll()
        if not self.active or self.run is None or self.status is None:
            return True
        paused = self.status.phase == "paused"
        answer = ask_before_closing(window, self.run.config.name, paused, self.status.seconds_left)
        if answer == "stop":
            self.stop()
        elif answer == "continue":
            self.unpause()  # without the window nobody could end a pause
        return answer != "cancel"

    def _shut_down(self, viewer: ref[ViewerModel]) -> None:
        self._timer.stop()
        live_viewer = viewer()
        if live_viewer is not None:
            training_of.forget(live_viewer)

    def _on_project(self) -> None:
        if self.project.folder != self.store.project:
            self.store = ModelStore(self.project.folder)
            self.find_run()
            self.models_changed.emit()

    def _follow(self) -> None:
        if self.active:
            self._timer.start()
            return
        self._timer.stop()
        if self.run is not None and self.status is not None and self.status.phase == "finished":
            with suppress(LDSegError):
                self.comparison = read_comparison(self.run.folder / COMPARISON)


training_of = OnePerViewer(TrainingState)
