"""An exclusive lock of a folder. The operating system holds it and releases it when its process ends."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field

from ..errors import LDSegError
from .records import read_record, write_record

LOCK, OWNER = ".lock", ".lock.json"
PATIENCE_SECONDS = 12
CANNOT_LOCK = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


class _Owner(BaseModel):
    pid: Annotated[int, Field(gt=0, lt=2**32, strict=True)]
    host: str
    since: str = ""


class FolderLock:
    """The lock of ``folder``.

    Only the system's lock of the file ``.lock`` counts. ``.lock.json`` names the process that holds it, for
    messages. On a file system that cannot lock, a file in the computer's temporary folder is locked instead.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._lock: FileLock | None = None
        self._file: os.stat_result | None = None

    def acquire(self, patience: float = 0) -> bool:
        """Return whether the lock was acquired within ``patience`` seconds.

        Raises
        ------
        LDSegError
            If the lock file is a link.
        OSError
            If the folder cannot be written.
        """
        for path in _lock_files(self.folder):
            if path.is_symlink():
                raise LDSegError(f"{path} is a link to another file; delete it and try again.")
            lock = _lock_of(path)
            try:
                lock.acquire(timeout=patience, poll_interval=0.2)
            except Timeout:
                return False
            except OSError as error:
                if error.errno not in CANNOT_LOCK:
                    raise
                _remove_empty(path)
                continue
            self._lock, self._file = lock, path.lstat()
            with suppress(OSError):
                _write_owner(self.folder / OWNER)
            break
        return True

    def release(self) -> None:
        """Release the lock and remove its files; without a lock do nothing."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        path = Path(lock.lock_file)
        with suppress(OSError):
            # The folder may have been moved, and another one locked in its place.
            if self._file is not None and os.path.samestat(path.lstat(), self._file):
                (self.folder / OWNER).unlink(missing_ok=True)
                # Windows removes it on release. Who waits for it elsewhere notices and makes a new one.
                _remove_empty(path)
        lock.release()

    def owner(self) -> tuple[int, str] | None:
        """Return process number and host of who holds the lock, as that process wrote them; or None."""
        path = self.folder / OWNER
        with suppress(OSError, LDSegError):
            if stat.S_ISREG(path.lstat().st_mode):
                owner = read_record(path, _Owner, max_bytes=1000)
                host = re.sub(r"[^\w.-]+", "", owner.host)[:100]
                return (owner.pid, host) if host else None
        return None


def held(folder: Path) -> bool:
    """Return whether a process, this one included, holds the lock of ``folder``."""
    return any(_is_locked(path) for path in _lock_files(folder))


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Make ``folder`` and keep other runs out of it, waiting for one that is just ending.

    Raises
    ------
    LDSegError
        If another run works in it, or it cannot be made or written.
    """
    lock = FolderLock(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        acquired = lock.acquire(PATIENCE_SECONDS)
    except OSError as error:
        raise LDSegError(
            f"The run's folder {folder} cannot be made or written: {error.strerror}; choose another one."
        ) from error
    if not acquired:
        owner = lock.owner()
        who = f" (process {owner[0]} on {owner[1]})" if owner else ""
        raise LDSegError(
            f"Another run{who} is at work in {folder}; wait for it or choose another folder."
        )
    try:
        yield
    finally:
        lock.release()


def _remove_empty(path: Path) -> None:
    """Remove a lock file; one with content was not made here."""
    with suppress(OSError):
        if not path.lstat().st_size:
            path.unlink()


def _write_owner(path: Path) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    write_record(path, _Owner(pid=os.getpid(), host=socket.gethostname(), since=since))


def _lock_files(folder: Path) -> tuple[Path, Path]:
    """Return the lock file in ``folder`` and the one to use if its file system cannot lock."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
    return folder / LOCK, Path(tempfile.gettempdir()) / f"napari-ldseg-{name}.lock"


def _lock_of(path: Path) -> FileLock:
    # Whoever may write the folder may lock it, in any thread; a marker file would outlive a killed process.
    return FileLock(path, mode=0o666, thread_local=False, fallback_to_soft=False)


def _is_locked(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with _lock_of(path).acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False
