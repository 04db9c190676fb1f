"""Browsing to one of the authors' ``.hdf5`` files: its folder is imported in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.qt.threading import thread_worker
from qtpy.QtCore import QStandardPaths

from ...checkpoint.header import read_metadata
from ...errors import LDSegError


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
    from ...checkpoint.file import save_checkpoint
    from ...checkpoint.keras import dims_of_file, import_keras

    folder, dims = chosen.parent, dims_of_file(chosen)
    try:
        checkpoint = import_keras(folder, dims)
        try:
            return save_checkpoint(checkpoint, _free(folder, folder, dims))
        except LDSegError:  # a folder that only others may write to
            where = QStandardPaths.StandardLocation.GenericDataLocation
            own = Path(QStandardPaths.writableLocation(where)) / "napari-ldseg"
            return save_checkpoint(checkpoint, _free(own, folder, dims))
    except LDSegError as error:
        return str(error)
    except Exception as error:  # whatever it is, the user must hear of it
        return f"{folder} could not be imported: {error}."


def _free(place: Path, folder: Path, dims: int) -> Path:
    """Return the checkpoint's path in ``place``: ``folder``'s name, never over another model's file."""
    stem = folder.resolve().name or "authors"
    for number in range(1, 1000):
        path = place / f"{stem}{f'-{number}' if number > 1 else ''}.safetensors"
        if not path.exists() or _is_import(path, dims):
            break
    return path


def _is_import(path: Path, dims: int) -> bool:
    try:
        metadata = read_metadata(path)
    except LDSegError:
        return False
    return metadata.networks == "authors" and metadata.architecture.dims == dims
