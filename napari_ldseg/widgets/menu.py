"""The plugin's entries in napari's Layers > Segment menu."""

from __future__ import annotations

import napari


def open_segment_widget(viewer: napari.Viewer) -> None:
    """Dock the Segment widget, or bring it to the front."""
    viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")


def open_correct_widget(viewer: napari.Viewer) -> None:
    """Dock the Correct widget, or bring it to the front."""
    viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")


def open_project_widget(viewer: napari.Viewer) -> None:
    """Dock the Project widget, or bring it to the front."""
    viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Project", tabify=True)
