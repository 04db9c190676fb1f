"""Small helpers around Qt."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtWidgets import QHeaderView, QWidget

T = TypeVar("T")


def existing(part: T | None) -> T:
    """Return ``part``, which cannot be None here although Qt's type stubs allow it."""
    assert part is not None
    return part


def main_window(widget: QWidget) -> QWidget:
    """Return the main window that holds ``widget``, also while its dock floats."""
    window = existing(widget.window())
    while (parent := window.parentWidget()) is not None:
        window = existing(parent.window())
    return window


def stretch_column(header: QHeaderView | None, column: int) -> None:
    """Let ``column`` take the spare width; the others are as wide as their contents."""
    header = existing(header)
    header.setStretchLastSection(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
