"""The folder of a training or fine-tuning run: its files, its status, and requests to its process.

Free of torch, so that the window can import it. ``utils.locking.exclusive_lock`` keeps a second process out.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from ..errors import LDSegError
from ..utils.inside import inside
from ..utils.locking import held
from ..utils.records import read_record, write_record

STATE, LOG, STATUS, CURVES = "state.pt", "log.csv", "status.json", "curves.png"
PAUSE, STOP = "pause", "stop"
STARTING_SECONDS = 60
Ended = Literal["finished", "stopped", "failed", "killed"]
Phase = Literal["starting", "preparing", "training", "paused", "measuring"] | Ended


class TrainingStopped(LDSegError):
    """The run was asked to stop; its state is on disk."""


class Status(BaseModel):
    """Where a run stands; ``text`` is one sentence for the user.

    ``checkpoint`` is the finished model's file, ``seconds_left`` an estimate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: Phase
    text: str = ""
    update: int = 0
    updates: int = 0
    seconds_left: float | None = None
    loss: float | None = None
    validation_dsc: float | None = None
    checkpoint: Path | None = None

    @property
    def ended(self) -> bool:
        """Whether no process works on the run any more."""
        return self.phase in get_args(Ended)


class RunFolder:
    """A run's ``folder``.

    Only the run's process writes the status. Others ask it to pause or stop with the empty files ``pause`` and
    ``stop``.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def name(self) -> str:
        """What to call the run in messages."""
        return self.folder.name

    @property
    def models(self) -> Path:
        """The folder of the finished checkpoint."""
        return self.folder

    def file(self, name: str) -> Path:
        """Return the path of one of the run's files; raise LDSegError if a link leads out of its folder."""
        return inside(self.folder, name)

    @property
    def alive(self) -> bool:
        """Whether a process works on the run."""
        return held(self.folder)

    def status(self) -> Status:
        """Return where the run stands; ``killed`` if its process ended without writing how.

        Raises
        ------
        LDSegError
            If the status is missing or broken, or names a checkpoint outside ``models``.
        """
        # In this order: a process writes how it ends before it releases the lock.
        alive = self.alive
        status = read_record(self.file(STATUS), Status)
        if status.checkpoint is not None:
            # The folders may have been moved since.
            checkpoint = inside(self.models, status.checkpoint.name)
            status = status.model_copy(update={"checkpoint": checkpoint})
        if alive or status.ended:
            return status
        if status.phase == "starting" and self._age() < STARTING_SECONDS:
            return status
        text = (
            f"The training of {self.name} was ended from outside, perhaps because it was out of memory; it "
            "can be resumed from its last state."
        )
        return status.model_copy(update={"phase": "killed", "text": text, "seconds_left": None})

    def write_status(self, status: Status) -> None:
        """Replace the status. Raises OSError."""
        write_record(self.folder / STATUS, status)

    def pause(self) -> None:
        """Ask the process to wait after the current update. Raises OSError or LDSegError."""
        self.file(PAUSE).touch()

    def unpause(self) -> None:
        """End the pause. Raises OSError."""
        (self.folder / PAUSE).unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask the process to write its state and end. Raises OSError or LDSegError."""
        self.file(STOP).touch()

    def withdraw_requests(self) -> None:
        """Forget what an earlier process was asked. Raises OSError."""
        for name in (PAUSE, STOP):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def pause_requested(self) -> bool:
        """Whether the process is to wait, and not to stop."""
        return (self.folder / PAUSE).exists() and not self.stop_requested

    @property
    def stop_requested(self) -> bool:
        """Whether the process is to write its state and end."""
        return (self.folder / STOP).exists()

    def _age(self) -> float:
        with suppress(OSError):
            return time.time() - (self.folder / STATUS).stat().st_mtime
        return STARTING_SECONDS
