"""Data files that the header of an image names."""

from __future__ import annotations

from pathlib import Path

from ..errors import LDSegError
from ..utils.text import one_line

FORBIDDEN = set('/\\:%*?"<>|\0')


def file_beside(header: Path, name: str) -> Path:
    """Return the file called ``name`` in the folder of the file ``header`` that names it.

    Raises
    ------
    LDSegError
        If it is not the plain name of one file there: a path, a list, a pattern, or a link that leads out.
    """
    found = header.parent / name
    plain = name and not FORBIDDEN & set(name) and name not in (".", "..") and name.isprintable()
    if not plain or name.split()[0].upper() in ("LIST", "LOCAL"):
        raise LDSegError(
            f"{header.name} names its data '{one_line(name, 60)}', which is not one file in its folder; save it as a "
            "single file."
        )
    if not found.is_file() or found.resolve().parent != header.parent.resolve():
        raise LDSegError(
            f"{header.name} needs its data file {one_line(name, 60)}, which is not beside it; put both into one folder."
        )
    return found
