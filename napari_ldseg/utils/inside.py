"""Names from files that others wrote, joined to a folder that they must not leave."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from ..errors import LDSegError


def inside(folder: Path, name: str) -> Path:
    """Return ``folder / name``, a file or folder below ``folder`` that need not exist.

    Raises
    ------
    LDSegError
        If ``name`` or a link leads outside ``folder``, or no file can have the name; or it is a pipe or a
        device, which could never be read to its end.
    """
    path, kind = folder / name, 0
    try:
        below = folder.resolve() in path.resolve().parents
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            kind = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, a circle of links
        raise LDSegError(
            f"{folder} names {name[:100]!r}, an impossible file that no disk can have; correct the name."
        ) from error
    if not below:
        raise LDSegError(
            f"{name} leads outside {folder}; remove the link or the name from the folder."
        )
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise LDSegError(f"{path} is neither a file nor a folder; remove it.")
    return path


def refuse_links_out(folder: Path) -> None:
    """Raise LDSegError if a link anywhere in ``folder`` leads outside it."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                inside(folder, path.relative_to(folder).as_posix())
