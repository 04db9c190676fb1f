"""napari's reader with the question which series of a DICOM folder to open."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari

from ...layers import files
from ...scans.dicom.series import Series


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[files.LayerTuple]] | None:
    """Return the reader of ``layers.files`` if it reads ``path``, else None.

    Where there is a window, it asks which of several series to open. Of a series that is open already, a
    slice only selects the layer: napari reads dropped files one by one.
    """
    if files.get_reader(path) is None:
        return None
    if isinstance(path, str) and _select_open_series(Path(path)):
        return lambda _: files.NO_LAYERS
    return functools.partial(files.read_layers, choose=choose_series)


def _select_open_series(path: Path) -> bool:
    """Select the layer of the series of which the DICOM slice ``path`` is a part; return False if there is none."""
    viewer = napari.current_viewer()
    layer = None if viewer is None else files.series_layer(path, viewer.layers)
    if viewer is None or layer is None:
        return False
    viewer.layers.selection.active = layer
    viewer.status = f"The series of {path.name} is open already, as {layer.name}."
    return True


def choose_series(found: list[Series]) -> Sequence[Series]:
    """Return the series that the user chooses, none if cancelled; all of them where there is no window."""
    # Without a window napari runs without Qt.
    core = sys.modules.get("qtpy.QtWidgets")
    application = None if core is None else core.QApplication.instance()
    if application is None or not any(w.isVisible() for w in application.topLevelWidgets()):
        return found
    from .series_dialog import SeriesDialog

    dialog = SeriesDialog(application.activeWindow(), found)
    chosen = dialog.chosen if dialog.exec() else []
    dialog.deleteLater()
    return chosen
