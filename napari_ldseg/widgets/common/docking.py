"""Where the widgets are docked: one tab beside the other, since each needs the window's height."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

OURS = "napari_ldseg"


def dock_as_tab(widget: QWidget) -> None:
    """Put the dock of ``widget`` on a tab with another of ours, once; the user may part them again."""
    dock: Any = widget.parent()
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parent()
    if dock is None or dock.property(OURS):
        return
    dock.setProperty(OURS, True)
    # A tab has no room for napari's long title; the Window menu keeps it.
    action, title = dock.toggleViewAction(), dock.windowTitle()
    dock.setWindowTitle(title.removeprefix("LDSeg: ").split(" (")[0])
    action.setText(title)
    window: Any = dock.parent()
    area = window.dockWidgetArea(dock)
    for other in window.findChildren(QDockWidget):
        there = window.dockWidgetArea(other) == area and not other.isHidden()
        if other is not dock and other.property(OURS) and there and not other.isFloating():
            window.tabifyDockWidget(other, dock)
            # The tab bar exists only after the layout has been done.
            QTimer.singleShot(0, dock.raise_)
            return
