"""Names from files that others wrote, joined to a folder that they must not leave."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import LDSegError


def inside(folder: Path, name: str) -> Path:
    """Return ``folder / name``, a file or folder below ``folder`` that need not exist.

    Raises
    ------
    LDSegError
        If ``name`` or a link leads outside ``folder``, or no file can have the name.
    """
    path = folder / name
    try:
        below = folder.resolve() in path.resolve().parents
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a NUL, a circle of links
        raise LDSegError(
            f"{folder} names {name[:100]!r}, an impossible file that no disk can have; correct the name."
        ) from error
    if not below:
        raise LDSegError(
            f"{name} leads outside {folder}; remove the link or the name from the folder."
        )
    return path


def refuse_links_out(folder: Path) -> None:
    """Raise LDSegError if a link anywhere in ``folder`` leads outside it."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                inside(folder, path.relative_to(folder).as_posix())
