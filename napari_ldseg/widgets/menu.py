"""The plugin's entries in napari's Layers > Segment menu."""

from __future__ import annotations

import napari


def open_segment_widget(viewer: napari.Viewer) -> None:
    """Dock the Segment widget, or bring it to the front."""
    _open(viewer, "LDSeg: Segment")


def open_review_widget(viewer: napari.Viewer) -> None:
    """Dock the Review widget, or bring it to the front."""
    _open(viewer, "LDSeg: Review")


def open_correct_widget(viewer: napari.Viewer) -> None:
    """Dock the Correct widget, or bring it to the front."""
    _open(viewer, "LDSeg: Correct")


def open_project_widget(viewer: napari.Viewer) -> None:
    """Dock the Project widget, or bring it to the front."""
    _open(viewer, "LDSeg: Project")


def open_worklist_widget(viewer: napari.Viewer) -> None:
    """Dock the Worklist widget, or bring it to the front."""
    _open(viewer, "LDSeg: Worklist")


def open_train_widget(viewer: napari.Viewer) -> None:
    """Dock the Train widget, or bring it to the front."""
    _open(viewer, "LDSeg: Train")


def open_view_widget(viewer: napari.Viewer) -> None:
    """Dock the View widget, or bring it to the front."""
    _open(viewer, "LDSeg: View")


def _open(viewer: napari.Viewer, name: str) -> None:
    dock, _ = viewer.window.add_plugin_dock_widget("napari-ldseg", name)
    dock.show()
    dock.raise_()
