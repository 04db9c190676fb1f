"""Starting, pausing, stopping and finding fine-tuning runs; the work is done by ``process.py``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..errors import LDSegError
from ..project import lock
from .config import FineTuningConfig, Status, read_config, read_status, write_config, write_status

MODELS, RUNS = "models", "training"
PAUSE, STOP = "pause", "stop"
STARTING_SECONDS = 60


class FineTuningRun:
    """A run's folder. Its process only writes into it; it obeys the empty files ``pause`` and ``stop``."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = read_config(folder)

    @property
    def alive(self) -> bool:
        """Whether a process works on the run."""
        return lock.held(self.folder)

    def status(self) -> Status:
        """Return where the run stands; its phase is ``killed`` if its process is gone without a word."""
        alive = self.alive
        status = read_status(self.folder)
        if status.ended or alive:
            return status
        if status.phase == "starting" and self._age() < STARTING_SECONDS:
            return status
        text = (
            f"The training of {self.config.name} was ended from outside, perhaps for want of memory; it "
            "can go on from its last state."
        )
        return status.model_copy(update={"phase": "killed", "text": text, "seconds_left": None})

    def pause(self) -> None:
        """Have the process wait after the update it is at. Raises OSError."""
        (self.folder / PAUSE).touch()

    def unpause(self) -> None:
        """End the pause. Raises OSError."""
        (self.folder / PAUSE).unlink(missing_ok=True)

    def stop(self) -> None:
        """Have the process write its state and end; ``resume`` goes on from there. Raises OSError."""
        (self.folder / STOP).touch()

    def resume(self) -> None:
        """Start a process on a run that stands still.

        Raises
        ------
        LDSegError
            If a run of the project is at work, or the process cannot be started.
        """
        other = active(self.config.project)
        if other is not None:
            raise LDSegError(
                f"{other.config.name} is being trained; wait for it or cancel it first."
            )
        try:
            for name in (PAUSE, STOP):
                (self.folder / name).unlink(missing_ok=True)
            write_status(self.folder, Status(phase="starting", text="Starting …"))
            _spawn(self.folder)
        except OSError as error:
            raise LDSegError(
                f"The training cannot be started in {self.folder}: {error.strerror or error}."
            ) from error

    def discard(self) -> None:
        """Delete the run's folder; its finished checkpoint stays among the project's models.

        Raises
        ------
        LDSegError
            If its process is at work.
        """
        if not self.status().ended:
            raise LDSegError(f"{self.config.name} is being trained; cancel it first.")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _age(self) -> float:
        with suppress(OSError):
            return time.time() - (self.folder / "status.json").stat().st_mtime
        return STARTING_SECONDS


def start(config: FineTuningConfig) -> FineTuningRun:
    """Make a run's folder in the project and start its process, which outlives this one.

    Raises
    ------
    LDSegError
        If another run of the project is at work, or the folder cannot be written.
    """
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    name = re.sub(r"[^\w.-]+", "-", config.name).strip("-.") or "model"
    folder, number = config.project / RUNS / f"{stamp}-{name}", 2
    while folder.exists():
        folder, number = config.project / RUNS / f"{stamp}-{name}-{number}", number + 1
    try:
        folder.mkdir(parents=True)
        write_config(folder, config)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LDSegError(
            f"The training cannot be started in {folder}: {error.strerror or error}."
        ) from error
    run = FineTuningRun(folder)
    try:
        run.resume()
    except LDSegError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


def runs(project: Path) -> list[FineTuningRun]:
    """Return the project's runs, the newest first; folders that are none are left out."""
    found = []
    for folder in sorted((project / RUNS).glob("*/"), reverse=True):
        with suppress(LDSegError):
            run = FineTuningRun(folder)
            run.status()
            found.append(run)
    return found


def active(project: Path) -> FineTuningRun | None:
    """Return the run of the project that a process works on, or is being started for."""
    return next((run for run in runs(project) if not run.status().ended), None)


def _spawn(folder: Path) -> None:
    """Start the process detached: neither a closed window nor a closed terminal ends it."""
    command = [sys.executable, "-m", "napari_ldseg.finetuning.process", str(folder)]
    spare = max(1, (os.cpu_count() or 2) - 1)
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(spare))}
    options: dict = {"start_new_session": True}
    if os.name == "nt":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS  # type: ignore[attr-defined]
        options = {"creationflags": flags}
    with (folder / "process.log").open("ab") as log:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, **options
        )
