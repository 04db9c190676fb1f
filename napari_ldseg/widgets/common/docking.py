"""Docking the widgets as tabs, since each of them needs the full height of the window."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

from .qt import existing

DOCKED = "napari_ldseg"  # the Qt property that marks the plugin's docks


def dock_as_tab(widget: QWidget) -> None:
    """Make the dock of ``widget`` a tab beside the plugin's other docks.

    This happens once per dock, so that the user may separate them afterwards.
    """
    dock: Any = widget.parent()
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parent()
    if dock is None or dock.property(DOCKED):
        return
    dock.setProperty(DOCKED, True)
    # A tab has no room for napari's long title; the Window menu keeps it.
    action, title = existing(dock.toggleViewAction()), dock.windowTitle()
    dock.setWindowTitle(title.removeprefix("LDSeg: ").split(" (")[0])
    action.setText(title)
    window: Any = dock.parent()
    area = window.dockWidgetArea(dock)
    for other in window.findChildren(QDockWidget):
        beside = window.dockWidgetArea(other) == area and not other.isHidden()
        if other is not dock and other.property(DOCKED) and beside and not other.isFloating():
            window.tabifyDockWidget(other, dock)
            # The tab bar exists only after the layout has been done.
            QTimer.singleShot(0, dock.raise_)
            return
