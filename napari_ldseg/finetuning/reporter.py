"""What a run's process tells the window, and what the window may ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..training.log import Progress
from ..training.loop import TrainingStopped
from .config import Phase, Status, write_status
from .launch import PAUSE, STOP

SECONDS_BETWEEN_WORDS = 0.5
SECONDS_BETWEEN_LOOKS = 0.1


class Reporter:
    """Writes a run's ``status.json`` and obeys its control files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._status = Status(phase="starting", text="Starting …")
        self._written = 0.0

    def say(self, phase: Phase, text: str, **figures: object) -> None:
        """Tell a new phase or sentence at once. A full disk is told by what must be written, not here."""
        self._status = self._status.model_copy(update={"phase": phase, "text": text, **figures})
        with suppress(OSError):
            write_status(self.folder, self._status)
        self._written = time.monotonic()

    def on_progress(self, progress: Progress) -> None:
        """Tell where the loop is, at most twice a second."""
        figures = {
            "update": progress.update,
            "updates": progress.updates,
            "seconds_left": progress.seconds_left,
            "loss": float(progress.loss.total),
        }
        if progress.validation_dsc is not None:
            figures["validation_dsc"] = progress.validation_dsc
        self._status = self._status.model_copy(update=figures)
        if time.monotonic() - self._written > SECONDS_BETWEEN_WORDS:
            self.say("training", f"Learning: update {progress.update} of {progress.updates}.")

    def stop_asked(self) -> bool:
        """Wait as long as a pause is asked for; return whether to stop."""
        if (self.folder / PAUSE).exists() and not (self.folder / STOP).exists():
            phase, text = self._status.phase, self._status.text
            self.say("paused", "Paused.")
            while (self.folder / PAUSE).exists() and not (self.folder / STOP).exists():
                time.sleep(SECONDS_BETWEEN_LOOKS)
            self.say(phase, text)
        return (self.folder / STOP).exists()

    def check(self) -> None:
        """Raise TrainingStopped if that is asked for, and wait during a pause."""
        if self.stop_asked():
            raise TrainingStopped("The training was stopped; it can be resumed.")

    def counted(self, phase: Phase, what: str, total: int) -> Callable[[], None]:
        """Return a function to call after each of ``total`` steps, which also checks for a stop."""
        done = 0

        def one_more() -> None:
            nonlocal done
            done += 1
            self.check()
            self.say(phase, f"{what}: {done} of {total}.")

        return one_more
