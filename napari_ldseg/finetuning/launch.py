"""Starting and finding fine-tuning runs; ``process.py`` does the work."""

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
from ..training.run_folder import RunFolder, Status
from ..utils.inside import inside, refuse_links_out
from ..utils.installed import can_compute
from ..utils.text import free_name
from .config import FineTuningConfig, read_config, write_config

MODELS, RUNS = "models", "training"


class FineTuningRun(RunFolder):
    """The folder of a project's run, with its configuration. Raises LDSegError if that is broken."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.config = read_config(folder)

    @property
    def name(self) -> str:
        """The new model's name."""
        return self.config.name

    @property
    def models(self) -> Path:
        """The project's models, where the new one goes."""
        return self.config.project / MODELS

    def resume(self) -> None:
        """Start a process on a run without one; it continues from the last state.

        Raises
        ------
        LDSegError
            If a run of the project is at work, a link leads out of the run's folder, or the process cannot be
            started.
        """
        other = active(self.config.project)
        if other is not None:
            raise LDSegError(f"{other.name} is being trained; wait for it or cancel it first.")
        refuse_links_out(self.folder)
        inside(self.config.project, MODELS)
        try:
            self.withdraw_requests()
            self.write_status(Status(phase="starting", text="Starting …"))
            _spawn(self.folder)
        except OSError as error:
            raise _not_started(self.folder, error) from error

    def discard(self) -> None:
        """Delete the run's folder; its finished checkpoint stays among the project's models.

        Raises
        ------
        LDSegError
            If its process is at work.
        """
        if not self.status().ended:
            raise LDSegError(f"{self.name} is being trained; cancel it first.")
        shutil.rmtree(self.folder, ignore_errors=True)


def start(config: FineTuningConfig) -> FineTuningRun:
    """Make a run's folder in the project and start its process, which outlives this one.

    Raises
    ------
    LDSegError
        If another run of the project is at work, the folder cannot be written, or PyTorch is not installed.
    """
    if not can_compute():
        raise LDSegError("Training needs PyTorch; run: pip install 'napari-ldseg[local]'.")
    name = re.sub(r"[^\w.-]+", "-", config.name).strip("-.") or "model"
    name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{name}"
    others = inside(config.project, RUNS)
    folder = others / free_name(name, lambda n: (others / n).exists())
    try:
        folder.mkdir(parents=True)
        write_config(folder, config)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_started(folder, error) from error
    run = FineTuningRun(folder)
    try:
        run.resume()
    except LDSegError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


def runs(project: Path) -> list[FineTuningRun]:
    """Return the project's runs, the newest first; other folders are left out."""
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


def _not_started(folder: Path, error: OSError) -> LDSegError:
    return LDSegError(f"The training cannot be started in {folder}: {error.strerror or error}.")


def _spawn(folder: Path) -> None:
    """Start the process detached: it continues when the window or the terminal closes."""
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
