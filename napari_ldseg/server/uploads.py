"""Files that clients send: bounded, with names that do not leave their folder, deleted with their request or session."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ..errors import LDSegError
from ..scans.files import suffix_of
from ..utils.inside import inside
from ..utils.text import one_line, reason_of
from ..utils.unzip import checked_members, copy_blocks

MAX_UPLOAD_BYTES = 2 * 2**30
MAX_FILES = 20_000  # in a session: the slices of a series
NAME = re.compile(r"[\w][\w.() +-]{0,199}")


def is_plain_name(name: str) -> bool:
    """Return whether ``name`` can only mean something directly in a folder."""
    return bool(NAME.fullmatch(name)) and ".." not in name


def safe_name(name: str | None, default: str) -> str:
    """Return the last part of a client's file name without what could leave a folder or hide in it."""
    last = re.split(r"[/\\]", name or "")[-1]
    cleaned = re.sub(r"\.{2,}", ".", re.sub(r"[^\w.() +-]", "_", last)).lstrip(". ")[-150:]
    return cleaned if is_plain_name(cleaned) else default


def keep_temporary_files_in(folder: Path) -> None:
    """Let this process and those that it starts keep temporary files in ``folder``, emptied first.

    So what a crash leaves of the uploads is deleted at the next start, and only the owner can read it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def save_upload(file: IO[bytes], folder: Path, name: str, most: int = MAX_UPLOAD_BYTES) -> Path:
    """Copy ``file`` to ``folder / name`` and return that path.

    Raises
    ------
    LDSegError
        If it has more than ``most`` bytes, or ``name`` leads outside ``folder``.
    """
    path = inside(folder, name)
    with path.open("wb") as target:
        copy_blocks(file, target, most)
        if file.read(1):
            raise LDSegError(f"{name} is larger than the {most / 2**20:.0f} MiB that are allowed.")
    return path


def unpack(archive: Path, folder: Path, most: int = MAX_UPLOAD_BYTES) -> None:
    """Unpack a ZIP archive into ``folder``.

    Raises
    ------
    LDSegError
        If it is damaged, encrypted, holds more than ``most`` bytes or ``MAX_FILES`` files, or a name leads outside
        ``folder``. Then nothing stays of it.
    """
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as archived:
            advice = "send a plain, smaller one"
            members = checked_members(archived, archive.name, MAX_FILES, most, advice)
            if not members:
                raise LDSegError(f"{archive.name} is empty; send the image.")
            for member in members:
                path = _place(folder, member.filename, archive.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archived.open(member) as source:
                    save_upload(source, path.parent, path.name, member.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise LDSegError(f"{archive.name} cannot be unpacked: {reason_of(error)}.") from error
    except LDSegError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _place(folder: Path, name: str, archive: str) -> Path:
    """Return the file ``name`` of an archive in ``folder``; raise LDSegError without the server's paths."""
    try:
        return inside(folder, name)
    except LDSegError as error:
        raise LDSegError(
            f"{archive} has a file {one_line(name, 100)!r}, which would leave its folder; send a plain one."
        ) from error


def save_session(
    files: Iterable[tuple[str | None, IO[bytes]]],
    folder: Path,
    unpacked: bool,
    most: int = MAX_UPLOAD_BYTES,
) -> Path:
    """Save the files of a new session in ``folder`` and return its image: a file, or a folder of DICOM.

    Parameters
    ----------
    files
        Pairs of a name and a file, at least one.
    folder
        An empty folder, the session's own.
    unpacked
        Whether to unpack a single ZIP archive.
    most
        Bytes in all.

    Raises
    ------
    LDSegError
        If there is no file, or they are too many or too large.
    """
    images = folder / "image"
    images.mkdir()
    saved: list[Path] = []
    left = most
    for number, (name, file) in enumerate(files):
        if number >= MAX_FILES:
            raise LDSegError(f"A session has more than {MAX_FILES} files; send fewer.")
        plain = safe_name(name, f"file-{number}")
        if (images / plain).exists():
            plain = f"{number}-{plain}"
        saved.append(save_upload(file, images, plain, left))
        left -= saved[-1].stat().st_size
    if not saved:
        raise LDSegError("The session has no file; send the image.")
    if len(saved) > 1:
        return images
    if unpacked and suffix_of(saved[0]) == ".zip":
        unpack(saved[0], folder / "unpacked", most)
        saved[0].unlink()
        found = [path for path in (folder / "unpacked").rglob("*") if path.is_file()]
        return found[0] if len(found) == 1 else folder / "unpacked"
    return saved[0]
