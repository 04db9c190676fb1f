"""What the four docked widgets have in common: the project's notice, a status line, a guarded window."""

from __future__ import annotations

import napari
from qtpy.QtCore import QEvent
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QWidget

from ..common.canvas_text import canvas_text_of
from ..common.docking import dock_as_tab
from ..common.notice import Notice
from ..common.style import WIDTH, StatusLine
from .state import ProjectState, project_of


class Tab(QWidget):
    """A docked widget of the plugin, which becomes a tab beside the others.

    Attributes
    ----------
    viewer, project_state
        The viewer as napari gives it to plugins, and the state of its project.
    project_notice, status
        The project's notice and the status line; each subclass puts them into its layout.
    """

    def __init__(self, viewer: napari.Viewer):
        super().__init__()
        self.viewer = viewer
        self.project_state = project_of(viewer)
        canvas_text_of(viewer)  # volumes the right way up, with letters, from the first tab on
        self.project_notice = ProjectNotice(self.project_state)
        self.status = StatusLine()
        self.project_state.failed.connect(self.show_error)
        self.setMinimumWidth(WIDTH)

    def show_error(self, text: str) -> None:
        """Show ``text`` as an error in the status line."""
        self.status.show_message(text, error=True)

    def shut_down(self) -> None:
        """Release the viewer; called when the widget is removed from its dock."""

    def event(self, event: QEvent | None) -> bool:
        """Shut down when the widget is removed from its dock."""
        removed = event is not None and event.type() == QEvent.Type.ParentChange
        if removed and self.parent() is None:
            self.shut_down()
        return super().event(event)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Guard the window against closing with unsaved corrections, and dock as a tab."""
        self.project_state.window_guard.watch(self)
        dock_as_tab(self)
        super().showEvent(event)


class ProjectNotice(Notice):
    """Asks about corrections that cannot be saved, or that a crash left unsaved."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None):
        super().__init__(parent)
        self._state = state
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the most urgent question, or nothing."""
        problem, unsaved = self._state.problem, self._state.unsaved_cases
        if problem:
            self.show_text(problem, ("Try now", self._state.retry), urgent=True)
        elif unsaved and not self._state.busy:
            names = unsaved[-1].name
            if len(unsaved) > 1:
                names += f" and {len(unsaved) - 1} more"
            self.show_text(
                f"napari closed before the corrections of {names} were saved. Restore opens them again; at "
                "most the last second is lost. Discard goes back to the last saved label; the corrections "
                "stay in a file in the case's folder.",
                ("Restore", self._state.restore),
                ("Discard", self._state.discard),
            )
        else:
            self.hide()
