"""The choice of a model: bundled ones by name, recent files, and any other file by browsing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from qtpy.QtCore import QSettings, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...checkpoint.bundled import bundled_checkpoints
from ...checkpoint.header import read_metadata
from ...checkpoint.licence import is_non_commercial
from ...checkpoint.metadata import Metadata
from ...errors import LDSegError
from ...inference.checks import check_fit, extent_mismatch
from ...inference.similarity import unlike_training
from ...scans.scan import Scan
from ...utils.text import count_text
from .keras_import import import_in_background
from .model_distances import ModelDistances
from .style import breakable, narrowed

RECENT_KEY = "recent_checkpoints"
RECENT_COUNT = 5


class ModelChoice(QWidget):
    """A combo box of checkpoints; below it, what the chosen one is for and how accurate it is."""

    changed = Signal()
    failed = Signal(str)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._settings = QSettings("napari-ldseg", "napari-ldseg")
        self.metadata: Metadata | None = None
        self._chosen = False
        self._offered: Path | None = None
        self._scan: Scan | None = None
        self._preferred: Path | None = None
        self._server: Mapping[str, Path] | None = None
        self._settled = False
        self._distances = ModelDistances(self)
        self._distances.changed.connect(self._on_distances)
        self.combo = narrowed(QComboBox())
        # The placeholder must not make the widget wider than its dock.
        self.combo.setMinimumWidth(self.combo.minimumSizeHint().width())
        self.combo.setPlaceholderText("choose a model")
        self.browse = QPushButton("Browse …")
        self._purpose = QLabel()
        self._purpose.setWordWrap(True)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.browse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._purpose)
        self._fill()
        self.combo.setCurrentIndex(0)  # with a placeholder, Qt selects nothing by itself
        self.combo.currentIndexChanged.connect(self._on_choice)
        self.combo.activated.connect(self._on_activated)
        self.browse.clicked.connect(self._on_browse)
        self._on_choice()

    @property
    def path(self) -> Path | None:
        """The chosen checkpoint file."""
        return self.combo.currentData()

    def choose(self, path: Path) -> None:
        """Select ``path``, adding it to the recent files if it is not listed yet.

        Raises
        ------
        LDSegError
            If the file is not a checkpoint; the selection stays.
        """
        read_metadata(path)
        self._chosen = True
        if self._row_of(path) < 0:
            recent = [path, *(p for p in self._recent() if p != path)][:RECENT_COUNT]
            self._settings.setValue(RECENT_KEY, [str(p) for p in recent])
            self.combo.blockSignals(True)
            self._fill()
            self.combo.blockSignals(False)
        self.combo.setCurrentIndex(self._row_of(path))
        self._on_choice()

    def offer(self, path: Path | None) -> None:
        """List the project's model ``path`` first and select it, unless the user has chosen a model."""
        if path == self._offered:
            return
        before, self._offered = self.path, path
        if self._server is not None:
            return
        self.combo.blockSignals(True)
        self._fill()
        wanted = before if self._chosen or path is None else path
        self.combo.setCurrentIndex(max(0, self._row_of(wanted) if wanted is not None else 0))
        self.combo.blockSignals(False)
        self._on_choice()

    def offer_server(self, models: Mapping[str, Path] | None) -> None:
        """List only the ``models`` of a server, by name; with None those of this computer again.

        The model of the same name stays selected.
        """
        if models == self._server:
            return
        before, self._server = self.path, models
        self.browse.setEnabled(models is None)
        self.combo.blockSignals(True)
        self._fill()
        listed = [self.combo.itemData(row) or Path() for row in range(self.combo.count())]
        same = [row for row, path in enumerate(listed) if before and path.stem == before.stem]
        self._chosen = self._chosen and bool(same)
        self.combo.setCurrentIndex(same[0] if same else -1)
        self.combo.blockSignals(False)
        self._select()
        self._on_choice()

    def prefer(self, path: Path) -> None:
        """Select ``path``, which the viewer uses, unless the user or the project has chosen a model."""
        self._preferred, before = path, self.path
        if self._row_of(path) < 0:
            self.combo.blockSignals(True)
            self._fill()
            self.combo.setCurrentIndex(self._row_of(before) if before is not None else -1)
            self.combo.blockSignals(False)
        if not self._chosen and self._offered is None:
            self.combo.setCurrentIndex(self._row_of(path))

    def suggest(self, scan: Scan | None) -> None:
        """Select the model that fits ``scan`` best, or none, unless the user has chosen a model.

        The project's model comes first, then 3D before 2D, then the closest field of view. A bundled model
        whose training images are unlike the scan is not selected: by the metadata now, by the distance
        from the training images as soon as that is known.
        """
        self._scan, self._settled = scan, False
        self._distances.look_at(scan)
        self._select()
        self._on_choice()

    def settle(self) -> None:
        """Keep the selected model for this image, as it is used now."""
        self._settled = True

    def shut_down(self) -> None:
        """Stop looking at the image."""
        self._distances.stop()

    def _select(self) -> None:
        """Select the model that fits the scan best, unless the user has chosen or used one."""
        if self._scan is None or self._chosen or self._settled:
            return
        fitting = self._fitting(self._scan)
        self.combo.blockSignals(True)
        self.combo.setCurrentIndex(min(fitting)[-1] if fitting else -1)
        self.combo.blockSignals(False)

    def _on_distances(self) -> None:
        self._select()
        self._on_choice()

    def _unlike(self, path: Path, metadata: Metadata, scan: Scan) -> str | None:
        """Return what shows that ``scan`` is unlike the training images, as far as it is known by now."""
        return unlike_training(metadata, scan) or self._distances.unlike.get(path)

    def _fitting(self, scan: Scan) -> list[tuple[bool, int, float, int]]:
        """Return the rows of the models that fit ``scan``, each behind what to sort by."""
        fitting = []
        bundled = (self._server or bundled_checkpoints()).values()
        for row in range(self.combo.count()):
            path = self.combo.itemData(row) or Path()
            try:
                metadata = read_metadata(path)
                check_fit(metadata, _in_channels(scan, metadata) if path == self._offered else scan)
            except LDSegError:
                continue
            dims, other = metadata.architecture.dims, path != self._offered
            # The user's own 2D model may be for slices; the bundled ones are not for a volume.
            in_slices = dims == 2 and scan.space == 3 and scan.calibrated and path in bundled
            if other and (in_slices or self._unlike(path, metadata, scan) is not None):
                continue
            fitting.append((other, -dims, extent_mismatch(metadata, scan), row))
        return fitting

    def suggest_for(self, classes: Collection[str], dims: int) -> None:
        """Select the model with most of ``classes`` and, among those, with the fewest other classes.

        The model has ``dims`` dimensions, or one less if it has more of the classes than any of those. The
        model that the viewer uses comes first if it has one of the classes. A model that the user has
        chosen or that the project uses stays selected.
        """
        if self._chosen or self._offered is not None or not classes:
            return
        fitting = []
        for row in range(self.combo.count()):
            with suppress(LDSegError):
                metadata = read_metadata(self.combo.itemData(row) or Path())
                known = {c.name for c in metadata.classes[1:]}
                shared = len(known.intersection(classes))
                less = dims - metadata.architecture.dims
                if less == 0 or (less == 1 and shared):
                    other = not shared or self.combo.itemData(row) != self._preferred
                    fitting.append((other, -shared, less, len(known), row))
        if fitting:
            self.combo.setCurrentIndex(min(fitting)[-1])

    def _on_activated(self) -> None:
        self._chosen = True

    def _row_of(self, path: Path) -> int:
        rows = [i for i in range(self.combo.count()) if self.combo.itemData(i) == path]
        return rows[0] if rows else -1

    def _fill(self) -> None:
        self.combo.clear()
        if self._server is not None:
            for name, path in self._server.items():
                self.combo.addItem(name, path)
            return
        bundled = bundled_checkpoints()
        if self._offered is not None and self._offered not in bundled.values():
            with suppress(LDSegError):
                name = read_metadata(self._offered).name
                self.combo.addItem(f"{name} (this project)", self._offered)
        for name, path in bundled.items():
            self.combo.addItem(name, path)
        listed = [self.combo.itemData(row) for row in range(self.combo.count())]
        recent = [p for p in self._recent() if p.is_file() and p not in listed]
        if self._preferred is not None and self._preferred not in (*listed, *recent):
            recent.append(self._preferred)
        if recent and self.combo.count():
            self.combo.insertSeparator(self.combo.count())
        for path in recent:
            self.combo.addItem(path.name, path)

    def _recent(self) -> list[Path]:
        stored = self._settings.value(RECENT_KEY) or []
        return [Path(p) for p in ([stored] if isinstance(stored, str) else stored)]

    def _on_choice(self) -> None:
        self.metadata = None
        text = ""
        if self.path is not None:
            try:
                self.metadata = read_metadata(self.path)
                text = _described(self.metadata)
                if is_non_commercial(self.metadata.training.licence):
                    text += " For non-commercial use only."
            except LDSegError as error:
                text = str(error)
        elif self._server is not None and not self._server:
            text = "The models of the server come here once it is connected, under Device."
        elif self._scan is not None and self.combo.count():
            text = f"None of these models was trained on images like {breakable(self._scan.name)}."
        if self.path is not None and self.metadata is not None and self._scan is not None:
            unlike = self._unlike(self.path, self.metadata, self._scan)
            if unlike is not None:
                text += f" Its training images are unlike {breakable(self._scan.name)}: {unlike}."
        self._purpose.setText(text)
        self.combo.setToolTip(self.combo.currentText())
        self.changed.emit()
        self._ask()

    def _ask(self) -> None:
        """Find the distances of the models that could be selected, and of the selected one."""
        if self._scan is None:
            return
        rows = [] if self._chosen else [row for *_, row in self._fitting(self._scan)]
        paths = [self.combo.itemData(row) for row in rows]
        if self.path is not None:
            paths.append(self.path)
        self._distances.ask(paths)

    def _on_browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Open a checkpoint", "", "LDSeg checkpoints (*.safetensors *.hdf5)"
        )
        if chosen.endswith(".hdf5"):
            self._show_importing(True)
            import_in_background(Path(chosen), self._on_import, self._on_import_failed)
        elif chosen:
            self._choose_file(Path(chosen))

    def _on_import(self, path: Path) -> None:
        self._show_importing(False)
        self._choose_file(path)

    def _on_import_failed(self, text: str) -> None:
        self._show_importing(False)
        self.failed.emit(text)

    def _show_importing(self, active: bool) -> None:
        self.browse.setEnabled(not active)
        self.browse.setText("Importing …" if active else "Browse …")

    def _choose_file(self, path: Path) -> None:
        try:
            self.choose(path)
        except LDSegError as error:
            self.failed.emit(str(error))


def _in_channels(scan: Scan, metadata: Metadata) -> Scan:
    """Return ``scan``, if it is grey, as one of as many channels as the model has: another layer may show each."""
    channels = metadata.architecture.image_channels
    if scan.channels or channels == 1:
        return scan
    blank = np.broadcast_to(np.zeros((), scan.array.dtype), (*scan.shape, channels))
    return replace(scan, array=blank, channels=True)


def _described(metadata: Metadata) -> str:
    """Return two sentences: what the model is for and how accurate it is."""
    accuracy = metadata.mean_dsc
    purpose = f"{metadata.description.rstrip('. ')}."
    if accuracy is None:
        return f"{purpose} Its accuracy has not been measured."
    dsc, cases = accuracy
    return f"{purpose} Mean DSC {dsc:.2f} on {count_text(cases, 'held-out case')}."
