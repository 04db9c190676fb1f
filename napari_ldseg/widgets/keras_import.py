"""Browsing to one of the authors' ``.hdf5`` files: its folder is imported in a worker thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from napari.qt.threading import thread_worker
from qtpy.QtCore import QStandardPaths

from ..errors import LDSegError


def import_in_background(
    chosen: Path, done: Callable[[Path], None], failed: Callable[[str], None]
) -> None:
    """Import the folder of ``chosen``; call ``done`` with the checkpoint, or ``failed`` with why not.

    Both are called in the GUI thread.
    """

    def finish(result: Path | str) -> None:
        if isinstance(result, Path):
            done(result)
        else:
            failed(result)

    worker = thread_worker(_import, start_thread=False)(chosen)
    worker.returned.connect(finish)
    worker.start()


def _import(chosen: Path) -> Path | str:
    # Imported here: the window must not wait for torch.
    from ..checkpoint.keras import dims_of_file, import_keras_file

    try:
        dims = dims_of_file(chosen)
        return import_keras_file(chosen.parent, _target(chosen.parent, dims), dims)
    except LDSegError as error:
        return str(error)
    except Exception as error:  # whatever it is, the user must hear of it
        return f"{chosen.parent} could not be imported: {error}."


def _target(folder: Path, dims: int) -> Path:
    """Return where the checkpoint goes: into ``folder``, or the user's own data if it is read-only."""
    stem = folder.resolve().name or "released"
    place = folder
    if not os.access(folder, os.W_OK):
        where = QStandardPaths.StandardLocation.GenericDataLocation
        place = Path(QStandardPaths.writableLocation(where)) / "napari-ldseg"
    target = place / f"{stem}.safetensors"
    # One folder may hold the files of a 2D and a 3D model.
    return target.with_name(f"{stem}-3D.safetensors") if dims == 3 else target
