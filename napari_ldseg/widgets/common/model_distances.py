"""The distance of an image from each model's training images, found in a worker thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from ...checkpoint.header import read_metadata
from ...errors import LDSegError
from ...scans.scan import Scan


class ModelDistances(QObject):
    """Why an image is far from the training images of each of several models. Lives in the GUI thread.

    ``unlike`` has the models that were looked at: the clause of ``far_from_training``, None if the image is like
    the training images or the model does not tell. ``changed`` is emitted when all of them are known.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None):
        super().__init__(parent)
        self.unlike: dict[Path, str | None] = {}
        self._scan: Scan | None = None
        self._stop = threading.Event()
        self._asked: set[Path] = set()
        self._worker: Any = None

    def look_at(self, scan: Scan | None) -> None:
        """Forget what was found on another image; ``ask`` is about ``scan`` from now on."""
        self.stop()
        self._scan, self.unlike = scan, {}

    def ask(self, models: Sequence[Path]) -> None:
        """Find the distances from those of ``models`` that are not known yet and have a domain."""
        scan = self._scan
        known = self.unlike if self._worker is None else self.unlike.keys() | self._asked
        wanted = [path for path in dict.fromkeys(models) if path not in known and _has_domain(path)]
        if scan is None or not wanted:
            return
        if self._worker is not None:
            wanted += self._asked.difference(self.unlike)
        self.stop()
        self._stop, self._asked = threading.Event(), set(wanted)
        worker = create_worker(
            find_unlike, scan, wanted, self._stop, _start_thread=False, _ignore_errors=True
        )

        def take(found: dict[Path, str | None]) -> None:
            if self._worker is worker:
                self._worker = None
                self.unlike |= found
                with suppress(RuntimeError):  # Qt has deleted the widgets already.
                    self.changed.emit()

        worker.returned.connect(take)
        self._worker = worker
        # After the image is drawn: importing torch, even in a thread, delays the window.
        QTimer.singleShot(0, worker.start)

    def stop(self) -> None:
        """Forget the question that is being answered."""
        self._stop.set()
        self._worker = None


def find_unlike(
    scan: Scan, models: Sequence[Path], stop: threading.Event
) -> dict[Path, str | None]:
    """Return for each model why ``scan`` is far from its training images, or None; imports torch.

    A model that cannot be used on the scan is None too: ``check_fit`` gives the reason.
    """
    return dict(_each(scan, models, stop))


def _each(
    scan: Scan, models: Sequence[Path], stop: threading.Event
) -> Iterator[tuple[Path, str | None]]:
    from ...checkpoint.file import load_checkpoint
    from ...inference.domain import look_at

    for path in models:
        if stop.is_set():
            return
        try:
            found = look_at(load_checkpoint(path), scan)
        except (LDSegError, OSError, RuntimeError):
            found = None
        yield path, None if found is None else found.unlike


def _has_domain(path: Path) -> bool:
    try:
        return read_metadata(path).domain is not None
    except LDSegError:
        return False
