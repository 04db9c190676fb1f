"""The process of a fine-tuning run: ``python -m napari_ldseg.finetuning.process RUN_FOLDER``."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from ..errors import LDSegError, is_out_of_memory, os_error_sentence
from ..project import lock
from .config import Phase, Status, read_config, read_status, write_status

NICENESS = 10
ATTEMPTS = 20


def main(folder: Path) -> int:
    """Work on the run in ``folder`` and leave its end in ``status.json``; return the exit code."""
    if not _locked(folder):
        return 2
    try:
        phase, text, checkpoint = _worked(folder)
        with suppress(OSError):
            old = _status(folder)
            write_status(
                folder,
                old.model_copy(
                    update={
                        "phase": phase,
                        "text": text,
                        "checkpoint": checkpoint,
                        "seconds_left": None,
                    }
                ),
            )
    finally:
        lock.release(folder)
    return 0 if phase == "finished" else 1


def _locked(folder: Path) -> bool:
    """Lock the run's folder; the process before, which has said its last word, may still be ending."""
    for _ in range(ATTEMPTS):
        try:
            lock.acquire(folder)
            return True
        except LDSegError:
            time.sleep(0.5)
        except OSError:
            break
    return False


def _worked(folder: Path) -> tuple[Phase, str, Path | None]:
    # Loading torch takes seconds; the lock must be there before.
    from ..training.loop import STATE, TrainingStopped
    from .reporter import Reporter
    from .retrain import retrain

    try:
        name = read_config(folder).name
        path = retrain(folder, Reporter(folder))
        # The largest of the run's files, and there is nothing to go on with any more.
        with suppress(OSError):
            (folder / STATE).unlink(missing_ok=True)
        return "finished", f"{name} is ready.", path
    except TrainingStopped:
        return "stopped", "Stopped; it can be resumed from here.", None
    except LDSegError as error:
        return "failed", str(error), None
    except Exception as error:
        traceback.print_exc()
        return "failed", _plain(error), None


def _plain(error: Exception) -> str:
    """Return an unforeseen error as a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "The disk is full; make room, then resume."
    if isinstance(error, OSError):
        return os_error_sentence(error)
    if is_out_of_memory(error):
        return (
            "The memory did not suffice for training; close other programs or choose the CPU as the "
            "device, then resume."
        )
    return f"The training failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}."


def _status(folder: Path) -> Status:
    try:
        return read_status(folder)
    except LDSegError:
        return Status(phase="starting")


if __name__ == "__main__":
    with suppress(AttributeError, OSError):  # Windows sets the priority at the start.
        os.nice(NICENESS)
    sys.exit(main(Path(sys.argv[1])))
