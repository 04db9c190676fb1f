"""Reading the cases of a worklist, in workers: from a results folder, or from the project."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qtpy.QtGui import QImage

from ...batch.worklist import Entry, load_preview, load_result
from ...errors import LDSegError
from ...project.case import CaseContent
from ...project.folder import Project
from ..common.thumbnails import case_thumbnail
from ..project.case_layers import read_case

Stamp = tuple[int, ...]


def load_entry(entry: Entry, project: Project | None, folder: Path | None) -> CaseContent:
    """Return the project's case of ``entry``, else the result in ``folder``. Raises LDSegError."""
    if entry.case is not None and project is not None:
        return read_case(project, entry.case)
    if entry.result is not None and folder is not None:
        return load_result(folder, entry.result)
    raise LDSegError(f"{entry.name} is no longer in the project; open the worklist again.")


def entry_thumbnail(
    entry: Entry, project: Project | None, folder: Path | None, side: int
) -> QImage | None:
    """Return a picture of ``entry``, at most ``side`` pixels wide and high; None if it cannot be read."""
    with suppress(LDSegError, OSError, MemoryError):
        if entry.case is not None and project is not None:
            case = project.case(entry.case)
            image = project.images.read(case)
            classes = project.classes_of(case.record())
            return case_thumbnail(image, case.load(image).label, classes, side)
        if entry.result is not None and folder is not None:
            image, label = load_preview(folder, entry.result)
            return case_thumbnail(image, label, entry.result.classes, side)
    return None


def stamp_of(entry: Entry, project: Project | None, folder: Path | None) -> Stamp:
    """Return what differs as soon as the files of ``entry`` have changed."""
    if entry.case is not None and project is not None:
        case = project.case(entry.case).folder
        files = [case / name for name in ("case.json", "label.nii.gz", "journal")]
    elif entry.result is not None and folder is not None:
        files = [folder / "labels" / f"{entry.name}.nii.gz"]
    else:
        files = []
    return tuple(_modified(path) for path in files)


def _modified(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
