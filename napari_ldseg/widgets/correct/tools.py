"""The correction tools as the user sees them: label, key and tip of each, and its button."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton

ARMED_STYLE = "QPushButton:checked { background: #2f6fde; color: white; font-weight: bold; }"


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes
    ----------
    across_slices
        Whether it needs a volume that is shown in slices.
    armed
        Whether it waits for the mouse instead of being applied at once.
    """

    name: str
    label: str
    key: str
    tip: str
    across_slices: bool = False
    armed: bool = False


OTHERS_STAY = "Other classes do not change."

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "keep_largest",
            "Keep largest piece",
            "K",
            f"Remove all pieces of the class except the largest. {OTHERS_STAY}",
        ),
        Tool(
            "fill_holes",
            "Fill holes",
            "H",
            "Fill background that the class encloses on all sides, in the whole volume or in the slice "
            f"shown. {OTHERS_STAY}",
        ),
        Tool(
            "erase_piece",
            "Erase a piece",
            "D",
            "Press, then click on a piece of any class: it becomes background.",
            armed=True,
        ),
        Tool(
            "relabel_piece",
            "Give a piece this class",
            "R",
            "Press, then click on a piece of another class: it gets the class selected above.",
            armed=True,
        ),
        Tool(
            "smooth",
            "Smooth",
            "S",
            f"Smooth the border of the class; thin parts stay. {OTHERS_STAY}",
        ),
        Tool(
            "grow",
            "Grow",
            "G",
            f"Grow the class into the background by the distance. {OTHERS_STAY}",
        ),
        Tool(
            "shrink",
            "Shrink",
            "Shift+G",
            f"Shrink the class by the distance on all sides. {OTHERS_STAY}",
        ),
        Tool(
            "fill_between",
            "Fill between slices",
            "I",
            "Paint the class in some of the slices you scroll through; this fills the slices between "
            f"them. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "copy_next",
            "Copy to next slice",
            "N",
            "Copy the class from the slice shown to the next one and go there. The copy replaces the "
            f"class in that slice. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "copy_previous",
            "Copy to previous slice",
            "Shift+N",
            "Copy the class from the slice shown to the previous one and go there. The copy replaces "
            f"the class in that slice. {OTHERS_STAY}",
            across_slices=True,
        ),
        Tool(
            "threshold_brush",
            "Threshold brush",
            "T",
            "A brush that paints only background with intensities in the range. Brush size and 2D or 3D "
            f"are those of the layer. {OTHERS_STAY}",
            armed=True,
        ),
    )
}


class ToolButton(QPushButton):
    """A button with the tool's label on the left and its key on the right."""

    def __init__(self, tool: Tool):
        super().__init__()
        self.tool = tool
        self.setCheckable(tool.armed)
        self.setStyleSheet(ARMED_STYLE)
        # The keyboard stays with the canvas: Space there moves the camera.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(tool.label)
        self._label, self._key = QLabel(tool.label), QLabel(tool.key.replace("Shift+", "⇧"))
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 0, 8, 0)
        row.addWidget(self._label, 1)
        row.addWidget(self._key)
        for label in (self._label, self._key):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            label.setStyleSheet("background: transparent;")
        self.setMinimumHeight(28)
        self.setMinimumWidth(row.sizeHint().width())

    def show_reason(self, reason: str) -> None:
        """Enable the button, or disable it with ``reason`` as its tooltip."""
        self.setEnabled(not reason)
        self._key.setVisible(not reason)
        self.setToolTip(reason or f"{self.tool.tip} Key: {self.tool.key}.")
