"""The process of a fine-tuning run: ``python -m napari_ldseg.finetuning.process RUN_FOLDER``."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from ..errors import LDSegError
from ..training.reporter import Reporter
from ..training.run_folder import STATE, RunFolder
from ..utils.inside import refuse_links_out
from ..utils.locking import exclusive_lock

NICENESS = 10


def main(folder: Path) -> int:
    """Work on the run in ``folder`` and write its end to ``status.json``; return the exit code."""
    try:
        with exclusive_lock(folder):
            return _work(folder)
    except LDSegError:
        return 2  # another process works on it


def _work(folder: Path) -> int:
    reporter = Reporter(RunFolder(folder))
    try:
        refuse_links_out(folder)
        # Loading torch takes seconds; the lock must be held before.
        from .retrain import retrain

        path = retrain(folder, reporter)
    except Exception as error:
        if not isinstance(error, LDSegError):
            traceback.print_exc()
        reporter.fail(error)
        return 1
    # The largest of the run's files, and there is nothing left to resume.
    with suppress(OSError):
        (folder / STATE).unlink(missing_ok=True)
    reporter.finish(f"{path.stem} is ready.", path)
    return 0


if __name__ == "__main__":
    with suppress(AttributeError, OSError):  # Windows sets the priority at the start.
        os.nice(NICENESS)
    sys.exit(main(Path(sys.argv[1])))
