"""One run at a time works in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LDSegError

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None  # type: ignore[assignment]

PATIENCE_SECONDS = 12


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep other runs out of it; the system lets go when this process ends.

    Raises
    ------
    LDSegError
        If another run works in it, or it cannot be made.
    """
    handle = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise LDSegError(
            f"The run's folder {folder} cannot be made: {error.strerror}; choose another one."
        ) from error
    if handle is None:
        yield
        return
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    """Lock the open ``folder``; the readers of a killed run may hold it for some seconds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise LDSegError(
                    f"Another run is at work in {folder}; wait for it or choose another folder."
                ) from error
            time.sleep(0.2)
        except OSError:
            return  # Some network file systems lock no folders.
