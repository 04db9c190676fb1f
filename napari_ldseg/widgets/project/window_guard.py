"""What happens to the corrections when the window closes."""

from __future__ import annotations

from collections.abc import Callable
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QMainWindow, QWidget


class WindowGuard(QObject):
    """Has everything saved when the main window closes, and holds it back once if that fails.

    Parameters
    ----------
    save
        Brings everything to the disk and returns the name of what could not be brought, or "".
    warn
        Told the sentence when the window is held back.
    closed
        Called once the window is closed.

    ``questions`` are put to the user, with the window, once everything is saved; one that answers False
    keeps it open. A program that closes its viewer is not asked.
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
        window = widget.window()
        while window.parentWidget() is not None:
            window = window.parentWidget().window()
        if self._window is None or window is not self._window():
            self._window = ref(window)
            window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Save before the window closes."""
        if event.type() == QEvent.Type.Close and watched is self._window():
            unsaved = self._save()
            if unsaved and not self._warned:
                self._warned = True
                self._warn(
                    f"Not closed: the corrections of {unsaved} are not on the disk. Free space or "
                    "reconnect the drive, or close again to lose them."
                )
                event.ignore()
                return True
            if not _taken_apart(watched) and not all(ask(watched) for ask in self.questions):
                event.ignore()
                return True
            QTimer.singleShot(0, self._if_closed)
        return super().eventFilter(watched, event)

    def _if_closed(self) -> None:
        try:
            window = self._window()
            closed = window is None or not window.isVisible()
        except RuntimeError:  # Qt has deleted it
            closed = True
        if closed:
            self._closed()


def _taken_apart(window: QWidget) -> bool:
    """Whether napari has closed the viewer inside ``window`` already, as ``Viewer.close`` does first."""
    central = window.centralWidget() if isinstance(window, QMainWindow) else None
    if central is None:
        return False
    direct = Qt.FindChildOption.FindDirectChildrenOnly
    return all(child.isHidden() for child in central.findChildren(QWidget, options=direct))
