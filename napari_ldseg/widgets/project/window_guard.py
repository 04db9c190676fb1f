"""Saving the corrections when the window closes."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QMainWindow, QWidget

from ..common.qt import main_window


class WindowGuard(QObject):
    """Saves everything when the main window closes, and keeps it open once if that fails.

    Parameters
    ----------
    save
        Writes everything to the disk and returns the name of what could not be written, or "".
    warn
        Called with a message when the window is kept open.
    closed
        Called once the window is closed.

    Once everything is saved, each of ``questions`` is called with the window; one that returns False keeps
    the window open. When a program closes its viewer, nothing is asked.
    """

    def __init__(
        self, save: Callable[[], str], warn: Callable[[str], None], closed: Callable[[], None]
    ):
        super().__init__()
        self._save, self._warn, self._closed = save, warn, closed
        self.questions: list[Callable[[QWidget], bool]] = []
        self._window: ref[QWidget] | None = None
        self._warned = False

    def watch(self, widget: QWidget) -> None:
        """Guard the main window that holds ``widget``."""
        window = main_window(widget)
        if window is not self._guarded:
            self._window = ref(window)
            window.installEventFilter(self)

    @property
    def _guarded(self) -> QWidget | None:
        return None if self._window is None else self._window()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Save before the window closes."""
        if event is None or event.type() != QEvent.Type.Close:
            return super().eventFilter(watched, event)
        window = self._guarded
        if window is None or watched is not window:
            return super().eventFilter(watched, event)
        unsaved = self._save()
        if unsaved and not self._warned:
            self._warned = True
            self._warn(
                f"Not closed: the corrections of {unsaved} are not on the disk. Free space or reconnect "
                "the drive, or close again to lose them."
            )
            event.ignore()
            return True
        if not _closed_by_program(window) and not all(ask(window) for ask in self.questions):
            event.ignore()
            return True
        QTimer.singleShot(0, self._if_closed)
        return super().eventFilter(watched, event)

    def _if_closed(self) -> None:
        try:
            window = self._guarded
            closed = window is None or not window.isVisible()
        except RuntimeError:  # Qt has deleted it
            closed = True
        if closed:
            self._closed()


def _closed_by_program(window: QWidget) -> bool:
    """Return whether ``Viewer.close``, which first hides what is in the window, closes ``window``."""
    central = window.centralWidget() if isinstance(window, QMainWindow) else None
    if central is None:
        return False
    direct = Qt.FindChildOption.FindDirectChildrenOnly
    return all(child.isHidden() for child in central.findChildren(QWidget, options=direct))
