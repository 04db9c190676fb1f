"""The distance of an image from each model's training images, found in a worker thread."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from qtpy.QtCore import QObject, QTimer, Signal

from ...checkpoint.header import read_metadata
from ...errors import LDSegError
from ...scans.scan import Scan
from .latest import Latest


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
        self._asked: set[Path] = set()
        self._work = Latest()
        # After the image is drawn: importing torch, even in a thread, delays the window.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._begin)
        self.destroyed.connect(self._work.drop)

    def look_at(self, scan: Scan | None) -> None:
        """Forget what was found on another image; ``ask`` is about ``scan`` from now on."""
        self.stop()
        self._scan, self.unlike = scan, {}

    def ask(self, models: Sequence[Path]) -> None:
        """Find the distances from those of ``models`` that are not known yet and have a domain."""
        busy = self._work.busy or self._soon.isActive()
        known = self.unlike.keys() | self._asked if busy else self.unlike
        wanted = [path for path in dict.fromkeys(models) if path not in known and _has_domain(path)]
        if self._scan is not None and wanted:
            self._asked = {*wanted, *(self._asked.difference(self.unlike) if busy else ())}
            self._soon.start()

    def stop(self) -> None:
        """Forget the question that is being answered."""
        self._soon.stop()
        self._work.drop()

    def _begin(self) -> None:
        if self._scan is not None:
            models = sorted(self._asked)
            self._work.start(
                find_unlike, self._scan, models, done=self._take, failed=lambda _: None
            )

    def _take(self, found: dict[Path, str | None]) -> None:
        self.unlike |= found
        self.changed.emit()


def find_unlike(
    scan: Scan, models: Sequence[Path]
) -> Generator[None, None, dict[Path, str | None]]:
    """Return for each model why ``scan`` is far from its training images, or None; imports torch.

    A model that cannot be used on the scan is None too: ``check_fit`` gives the reason. Yields after each
    model, so that the work can be stopped.
    """
    from ...checkpoint.file import load_checkpoint
    from ...inference.domain import look_at

    unlike: dict[Path, str | None] = {}
    for path in models:
        try:
            found = look_at(load_checkpoint(path), scan)
        except (LDSegError, OSError, RuntimeError):
            found = None
        unlike[path] = None if found is None else found.unlike
        yield
    return unlike


def _has_domain(path: Path) -> bool:
    try:
        return read_metadata(path).domain is not None
    except LDSegError:
        return False
