"""The button that saves a result in another format, or as a report, with a menu of what fits its image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton, QWidget

from ...errors import LDSegError, sentence
from ...export.formats import FORMATS, export_labels, export_map, fitting_formats
from ...export.result import Result
from ...layers.results import as_shown, layer_result
from ...review.maps import shown_sd
from ...scans.files import stem_of
from ..common.class_labels import classes_of
from ..common.qt import existing
from .state import project_of

REPORT = "Report (HTML) …"
UNCERTAINTY = "Uncertainty as"


class Shown(NamedTuple):
    """A copy of the result that is shown, its maps, and the proposed name and folder of a file."""

    result: Result
    maps: dict[str, np.ndarray]
    name: str
    folder: Path


class SaveResult(QPushButton):
    """Saves the labels layer that ``layer`` returns, with its maps.

    ``message`` is emitted with a text for the status line and whether it is an error.
    """

    message = Signal(str, bool)

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Callable[[], Any],
        parent: QWidget | None = None,
    ):
        super().__init__("Save result as", parent)
        self.setToolTip("Save the labels, the uncertainty or a report in the format of your choice")
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._layer, self._project = layer, project_of(viewer)
        self._worker: Any = None
        self.choices = QMenu(self)
        self.choices.aboutToShow.connect(self.fill)
        self.setMenu(self.choices)

    def fill(self) -> None:
        """List what the result that is shown can be saved as, the form that its image came in first."""
        self.choices.clear()
        try:
            shown = self._shown()
        except LDSegError as error:
            self.message.emit(str(error), True)
            shown = None
        if shown is None or self._worker is not None:
            text = "There is no result yet" if shown is None else "A result is being saved"
            existing(self.choices.addAction(text)).setEnabled(False)
            return
        fitting = fitting_formats(shown.result)
        for name in fitting:
            self._add(self.choices, f"{FORMATS[name].title} …", self._save_labels, shown, name)
        if _sd_of(shown) is not None:
            self.choices.addSeparator()
            maps = existing(self.choices.addMenu(UNCERTAINTY))
            fitting = [n for n in fitting if FORMATS[n].reason_no_map(shown.result) is None]
            titles = {
                FORMATS[name].map_suffix: name for name in reversed(fitting)
            }  # PNG cannot hold real numbers
            for name in reversed(list(titles.values())):
                title = "TIFF" if name == "png" else FORMATS[name].title
                self._add(maps, f"{title} …", self._save_map, shown, name)
        self.choices.addSeparator()
        self._add(self.choices, REPORT, self._save_report, shown)

    def _add(self, menu: QMenu, text: str, action: Callable[..., None], *arguments: Any) -> None:
        existing(menu.addAction(text)).triggered.connect(lambda _: action(*arguments))

    def _shown(self) -> Shown | None:
        layer = self._layer()
        if not isinstance(layer, Labels):
            return None
        tracked = self._project.labels.find(layer)
        image = tracked.image if tracked is not None else None
        image = image if isinstance(image, Image) else None
        edited = tracked is None or not np.array_equal(tracked.base, layer.data)
        result = layer_result(layer, image, classes_of(layer), edited)
        maps = {} if tracked is None else {**tracked.maps, **tracked.result_maps()}
        if image is not None:
            maps = {kind: as_shown(array, image) for kind, array in maps.items()}
        name = layer.name.removeprefix("labels · ")
        path = result.image
        if path is not None:
            name = stem_of(path)
        folder = Path.home() if path is None else path.parent
        return Shown(result, maps, f"{name}_labels", folder)

    def _save_labels(self, shown: Shown, name: str) -> None:
        one = FORMATS[name]
        self._save(shown, one.title, one.suffix, partial(_export, shown, name))

    def _save_map(self, shown: Shown, name: str) -> None:
        one = FORMATS[name]
        shown = shown._replace(name=shown.name.removesuffix("_labels") + "_uncertainty")
        self._save(shown, one.title, one.map_suffix, partial(_export_sd, shown, name))

    def _save_report(self, shown: Shown) -> None:
        shown = shown._replace(name=shown.name.removesuffix("_labels") + "_report")
        self._save(shown, "Web page", ".html", partial(_report, shown))

    def _save(self, shown: Shown, title: str, suffix: str, write: Callable[[Path], object]) -> None:
        """Ask for a file and write it in a thread."""
        chosen, _ = QFileDialog.getSaveFileName(
            self,
            "Save the result",
            str(shown.folder / f"{shown.name}{suffix}"),
            f"{title} (*{suffix})",
        )
        if not chosen:
            return
        path = Path(chosen if chosen.lower().endswith(suffix) else f"{chosen}{suffix}")
        self.message.emit(f"Saving {path.name} …", False)
        self._worker = create_worker(write, path, _start_thread=False, _ignore_errors=True)
        self._worker.returned.connect(lambda _: self._end(f"Saved as {path.name}.", False))
        self._worker.errored.connect(lambda error: self._end(_reason(path, error), True))
        self._worker.start()

    def _end(self, text: str, error: bool) -> None:
        self._worker = None
        self.message.emit(text, error)


def _export(shown: Shown, name: str, path: Path) -> None:
    export_labels(path, shown.result, name)


def _export_sd(shown: Shown, name: str, path: Path) -> None:
    sd = _sd_of(shown)
    if sd is not None:
        export_map(path, sd, shown.result, name)


def _report(shown: Shown, path: Path) -> None:
    from ...export.report import write_report  # with matplotlib, which takes seconds

    maps, name = shown.maps, shown.name.removesuffix("_report")
    write_report(path, shown.result, name, maps.get("predictive_sd"), maps.get("sample_sd"))


def _sd_of(shown: Shown) -> np.ndarray | None:
    """Return the SD that is shown as the uncertainty, None without any."""
    name = shown_sd(shown.maps)
    return None if name is None else shown.maps[name]


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, LDSegError):
        return str(error)
    return sentence(f"{path.name} could not be saved: {type(error).__name__}: {error}.")
