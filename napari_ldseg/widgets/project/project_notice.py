"""What the project asks of the user, in every tab."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from ..common.notice import Notice
from .state import ProjectState


class ProjectNotice(Notice):
    """What the project has to say: corrections that cannot be saved, or that a crash left behind."""

    def __init__(self, state: ProjectState, parent: QWidget | None = None):
        super().__init__(parent)
        self._state = state
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the most urgent thing, or nothing."""
        problem, left = self._state.problem, self._state.left_behind
        if problem:
            self.show_text(problem, ("Try now", self._state.retry), urgent=True)
        elif left and not self._state.busy:
            names = left[-1].name
            if len(left) > 1:
                names += f" and {len(left) - 1} more"
            self.show_text(
                f"napari ended before the corrections of {names} were put away. Restore opens them "
                "as they were within the last second; Discard goes back to the label before them and "
                "keeps their file aside.",
                ("Restore", self._state.restore),
                ("Discard", self._state.discard),
            )
        else:
            self.hide()
