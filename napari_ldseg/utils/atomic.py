"""Atomic writes: a file is complete or unchanged."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)+")  # of any file, as atomic_write names it


@contextmanager
def atomic_write(path: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that replaces it, or is removed if the block fails.

    ``suffix`` is the temporary file's; missing parent folders are made. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unlike mkstemp this leaves the permissions to the umask.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    permissions = temporary.stat().st_mode
    try:
        yield temporary
        temporary.chmod(permissions)  # safetensors replaces the file by a new one
        _to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the name of a new folder beside ``path`` that replaces it, or is removed if the block fails.

    Missing parent folders are made. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    old = new.with_suffix(".old")
    try:
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Write the file's content to the disk before its name, in case of a power cut."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_writable(folder: Path) -> None:
    """Make ``folder`` if it is missing, and check that files can be written in it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def complete_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files of ``folder`` that end with ``suffix``, by name; none if there is no folder.

    Without hidden ones: those that ``atomic_write`` is writing, or that a killed process left.
    """
    return sorted(path for path in folder.glob(f"[!.]*{suffix}") if path.is_file())


def remove_leftovers_in(folder: Path) -> None:
    """Remove the temporary files of all files in ``folder`` that a killed process left behind."""
    for leftover in folder.glob(".*"):
        if LEFTOVER.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of ``path`` that a killed process left behind."""
    made = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}(\.\w+)+")
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if made.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)
