"""Thumbnails of the entries, made one by one in a worker, the last one asked for first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QImage, QPixmap

from ...batch.worklist import Entry

SIDE = 136  # twice the size in the list, for screens with small pixels
WAITING = 40  # those asked for longer ago have been scrolled away


class Thumbnails(QObject):
    """Keeps the thumbnails of a list in memory; ``made`` is emitted with the name of an entry.

    Parameters
    ----------
    make
        Returns the picture of an entry, None if it has none; called in a worker.
    """

    made = Signal(str)

    def __init__(self, make: Callable[[Entry], QImage | None], parent: QObject):
        super().__init__(parent)
        self._make = make
        self._pictures: dict[str, tuple[str, QPixmap | None]] = {}
        self._wanted: list[Entry] = []
        self._worker: Any = None
        self._generation = 0
        self._ended = False

    def get(self, entry: Entry) -> QPixmap | None:
        """Return the picture of ``entry``, an older one or None while it is being made."""
        version, picture = self._pictures.get(entry.name, (None, None))
        if version != _version(entry):
            self._wanted = [e for e in self._wanted if e.name != entry.name][1 - WAITING :]
            self._wanted.append(entry)
            self._start()
        return picture

    def clear(self) -> None:
        """Forget all pictures."""
        self._pictures, self._wanted = {}, []
        self._generation += 1

    def shut_down(self) -> None:
        """Make no more pictures."""
        self._ended, self._wanted = True, []

    def _start(self) -> None:
        if self._worker is not None or not self._wanted or self._ended:
            return
        entry = self._wanted.pop()
        worker = create_worker(self._make, entry, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(partial(self._keep, entry, self._generation))
        worker.errored.connect(lambda error: self._keep(entry, self._generation, None))
        worker.finished.connect(self._on_finished)
        self._worker = worker
        worker.start()

    def _keep(self, entry: Entry, generation: int, picture: QImage | None) -> None:
        if generation == self._generation and not self._ended:
            shown = None if picture is None else QPixmap.fromImage(picture)
            self._pictures[entry.name] = _version(entry), shown
            self.made.emit(entry.name)

    def _on_finished(self) -> None:
        self._worker = None
        self._start()


def _version(entry: Entry) -> str:
    return f"{entry.case or ''} {entry.version}"
