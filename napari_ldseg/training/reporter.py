"""What a run's process reports: its status in the run's folder, and lines of progress."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LDSegError, is_out_of_memory, os_error_sentence
from ..utils.text import clock
from .run_folder import Phase, RunFolder, Status, TrainingStopped

if TYPE_CHECKING:
    from .log import Progress

SECONDS_BETWEEN_STATUSES = 0.5
SECONDS_BETWEEN_LINES = 30
SECONDS_BETWEEN_LOOKS = 0.1


class Reporter:
    """Keeps a run's status up to date and obeys requests to pause or stop.

    Parameters
    ----------
    run
        The run; None in a process that writes nothing.
    print_line
        Takes a line at every phase, and every 30 seconds of one that counts its steps.
    stop
        Returns whether to stop, in addition to requests in the run's folder.
    show_progress
        Called after every update of the training loop.
    """

    def __init__(
        self,
        run: RunFolder | None,
        print_line: Callable[[str], None] = lambda text: None,
        stop: Callable[[], bool] = lambda: False,
        show_progress: Callable[[Progress], None] = lambda progress: None,
    ):
        self._run, self._print_line, self._stop = run, print_line, stop
        self._show_progress = show_progress
        self._status = Status(phase="starting", text="Starting …")
        self._written = self._printed = 0.0

    def report(self, phase: Phase, text: str, **values: Any) -> None:
        """Write a new phase or sentence, with other fields of ``Status``, and print it."""
        self._write(phase=phase, text=text, **values)
        self._print_line(text)

    def on_progress(self, progress: Progress) -> None:
        """Take in one update of the training loop."""
        values: dict[str, Any] = {
            "update": progress.update,
            "updates": progress.updates,
            "seconds_left": progress.seconds_left,
            "loss": float(progress.loss.total),
        }
        if progress.validation_dsc is not None:
            values["validation_dsc"] = progress.validation_dsc
        self._status = self._status.model_copy(update=values)
        if time.monotonic() - self._written > SECONDS_BETWEEN_STATUSES:
            text = f"Training: update {progress.update} of {progress.updates}."
            self._write(phase="training", text=text)
        self._show_progress(progress)

    def stop_requested(self) -> bool:
        """Return whether to stop; during a pause wait first."""
        if self._run is not None and self._run.pause_requested:
            phase, text = self._status.phase, self._status.text
            self._write(phase="paused", text="Paused.")
            while self._run.pause_requested and not self._stop():
                time.sleep(SECONDS_BETWEEN_LOOKS)
            self._write(phase=phase, text=text)
        return self._stop() or (self._run is not None and self._run.stop_requested)

    def check(self) -> None:
        """Raise TrainingStopped if a stop is requested; during a pause wait first."""
        if self.stop_requested():
            raise TrainingStopped(
                "Stopped; resume the run (--resume on the command line) to continue from here."
            )

    def counter(self, phase: Phase, what: str, total: int) -> Callable[[], None]:
        """Report ``what`` and return a function to call after each of its ``total`` steps.

        The function raises TrainingStopped as ``check``.
        """
        self.report(phase, f"{what} …")
        began, done = time.monotonic(), 0

        def one_more() -> None:
            nonlocal done
            self.check()
            done += 1
            self._write(phase=phase, text=f"{what}: {done} of {total}.")
            if time.monotonic() - self._printed > SECONDS_BETWEEN_LINES:
                left = (time.monotonic() - began) / done * (total - done)
                self._printed = time.monotonic()
                self._print_line(f"{what}: {done} of {total}, {clock(left)} left")

        return one_more

    def finish(self, text: str, checkpoint: Path) -> None:
        """Write that the run is finished and where its checkpoint is."""
        self._write(phase="finished", text=text, checkpoint=checkpoint, seconds_left=None)

    def fail(self, error: Exception) -> None:
        """Write that ``error`` ended the run, or that it was stopped."""
        phase: Phase = "stopped" if isinstance(error, TrainingStopped) else "failed"
        text = "Stopped; it can be resumed from here." if phase == "stopped" else _sentence(error)
        self._write(phase=phase, text=text, seconds_left=None)

    def _write(self, **values: Any) -> None:
        self._status = self._status.model_copy(update=values)
        self._written = time.monotonic()
        if self._run is not None:
            # A full disk is reported by what must be written, not by the status.
            with suppress(OSError):
                self._run.write_status(self._status)


def _sentence(error: Exception) -> str:
    """Return why a run failed, and what to do."""
    if isinstance(error, LDSegError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full; make room, then resume."
    if isinstance(error, OSError):
        return os_error_sentence(error)
    if is_out_of_memory(error):
        return "Out of memory: close other programs or choose the CPU as the device, then resume."
    return f"The training failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}."
