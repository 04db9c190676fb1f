"""Import of the authors' ``.hdf5`` models in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.qt.threading import create_worker
from qtpy.QtCore import QStandardPaths

from ...checkpoint.header import read_metadata
from ...errors import LDSegError


def import_in_background(
    chosen: Path, done: Callable[[Path], None], failed: Callable[[str], None]
) -> None:
    """Import the model in the folder of ``chosen``.

    Calls ``done`` with the new checkpoint or ``failed`` with a message, in the GUI thread.
    """

    def finish(result: Path | str) -> None:
        if isinstance(result, Path):
            done(result)
        else:
            failed(result)

    worker = create_worker(_import, chosen, _start_thread=False)
    worker.returned.connect(finish)
    worker.start()


def _import(chosen: Path) -> Path | str:
    # Imported here so that the window does not wait for torch.
    from ...checkpoint.file import save_checkpoint
    from ...checkpoint.keras import dims_of_file, import_keras

    folder, dims = chosen.parent, dims_of_file(chosen)
    try:
        checkpoint = import_keras(folder, dims)
        try:
            return save_checkpoint(checkpoint, _free_path(folder, folder.resolve().name, dims))
        except LDSegError:  # the user may not write to this folder
            location = QStandardPaths.StandardLocation.GenericDataLocation
            data = Path(QStandardPaths.writableLocation(location)) / "napari-ldseg"
            return save_checkpoint(checkpoint, _free_path(data, folder.resolve().name, dims))
    except LDSegError as error:
        return str(error)
    except Exception as error:  # shown to the user, whatever it is
        return f"{folder} could not be imported: {error}."


def _free_path(folder: Path, name: str, dims: int) -> Path:
    """Return a path in ``folder`` for the checkpoint that overwrites only an earlier import."""
    stem = name or "authors"
    for number in range(1, 1000):
        path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.safetensors"
        if not path.exists() or _is_import(path, dims):
            break
    return path


def _is_import(path: Path, dims: int) -> bool:
    try:
        metadata = read_metadata(path)
    except LDSegError:
        return False
    return metadata.networks == "authors" and metadata.architecture.dims == dims
