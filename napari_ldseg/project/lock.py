"""One process at a time works in a project folder; a dead process's lock is taken over."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil

from ..errors import LDSegError

NAME = "lock.json"
_held: set[Path] = set()


def acquire(folder: Path) -> None:
    """Write the lock file of ``folder``.

    Raises
    ------
    LDSegError
        If another process, or another window of this one, works in it.
    OSError
        If the folder cannot be written.
    """
    path = (folder / NAME).resolve()
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            _take_over(path, folder)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(_owner(), file)
        _held.add(path)
        return
    raise LDSegError(f"{folder} is being opened by another napari; try again.")


def held(folder: Path) -> bool:
    """Return whether a living process works in ``folder``, this one included."""
    path = (folder / NAME).resolve()
    owner = _read(path)
    return path in _held or (owner is not None and _alive(owner))


def release(folder: Path) -> None:
    """Remove the lock file if it is this process's own."""
    path = (folder / NAME).resolve()
    if path in _held:
        _held.discard(path)
        with suppress(OSError):
            if _read(path) == _owner():
                path.unlink()


def _owner() -> dict:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "started": psutil.Process(pid).create_time()}


def _take_over(path: Path, folder: Path) -> None:
    """Remove the lock of a dead process, or raise LDSegError if its owner lives."""
    owner = _read(path)
    if owner is None:
        # Just being written, or torn by a crash.
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < 2:
                time.sleep(0.3)
                if _read(path) is not None:
                    return
    elif path in _held:
        raise LDSegError(f"{folder} is open in another window of this napari; use that one.")
    elif _alive(owner):
        raise LDSegError(
            f"{folder} is open in another napari (process {owner['pid']} on {owner['host']}); close "
            "it there or choose another project folder."
        )
    aside = path.with_name(f"{NAME}.{os.getpid()}")
    with suppress(FileNotFoundError):
        os.replace(path, aside)
        # Somebody else may have taken it over between reading and renaming.
        if _read(aside) != owner:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _read(path: Path) -> dict | None:
    try:
        owner = json.loads(path.read_text(encoding="utf-8")[:1000])
        int(owner["pid"]), str(owner["host"]), float(owner["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner


def _alive(owner: dict) -> bool:
    if owner["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(owner["pid"])
        started = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:  # killed, and its parent has not asked yet
            return False
    except psutil.Error:
        return False
    return abs(started - owner["started"]) < 2 and owner["pid"] != os.getpid()
