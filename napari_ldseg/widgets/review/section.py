"""A part of the Review tab that can be folded; it stays as the user left it."""

from __future__ import annotations

from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible

from ..common.qt import existing


def section(title: str, part: QWidget, is_open: bool = False) -> QCollapsible:
    """Return ``part`` under ``title``, unfolded as it was last, at first as ``is_open``."""
    settings, key = QSettings("napari-ldseg", "napari-ldseg"), f"review/open/{title}"
    folded = QCollapsible(title, expandedIcon="▼", collapsedIcon="▶")
    folded.addWidget(part)
    existing(folded.layout()).setContentsMargins(0, 0, 0, 0)
    existing(folded.layout()).setSpacing(2)
    if settings.value(key, is_open, bool):
        folded.expand(animate=False)
    folded.toggled.connect(lambda now: settings.setValue(key, now))
    return folded
