"""Make the documentation's screenshots from the sample scans, in a real (or virtual) window."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from demo import TIME_LIMIT, run, wait
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QApplication

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.widgets.common.class_labels import set_classes

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SAMPLES = 10  # as many as the models are calibrated for


def correction(path: Path) -> None:
    """Dock the Correct widget beside the sample volume's labels and save a screenshot."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    image, labels = viewer.open_sample("napari-ldseg", "mri_phantom")
    labels.visible = True
    names = {1: ("anterior nucleus", "#e69f00"), 2: ("posterior nucleus", "#56b4e9")}
    set_classes(labels, {v: ClassInfo(name=n, colour=c) for v, (n, c) in names.items()})
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    viewer.layers.selection.active = labels
    viewer.dims.set_point(0, image.extent.world.mean(axis=0)[0])
    viewer.reset_view()
    widget.buttons["threshold_brush"].click()
    pause()
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()


def segmentation(model: str, path: Path) -> None:
    """Segment the sample scan of ``model`` in the window and save a screenshot."""
    viewer, widget = run(None, model, SAMPLES)
    wait(widget)
    viewer.reset_view()
    viewer.camera.zoom *= 1.05
    QApplication.processEvents()
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()


def review(path: Path) -> None:
    """Segment the sample volume, go to the second region in the Review tab and save a screenshot."""
    viewer, widget = run(None, "mri-phantom", SAMPLES)
    wait(widget)
    _, tab = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    wait_until(lambda: tab.browser.decoded and bool(tab.reviewer.regions))
    tab.regions.next.click()
    tab.regions.accept.click()
    wait_until(lambda: bool(tab.samples.buttons))
    pause()
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()


def three_planes(path: Path) -> None:
    """Show the sample volume and its labels in three planes and save a screenshot."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    image, labels = viewer.open_sample("napari-ldseg", "mri_phantom")
    labels.visible, labels.opacity = True, 0.5
    names = {1: ("anterior nucleus", "#e69f00"), 2: ("posterior nucleus", "#56b4e9")}
    set_classes(labels, {v: ClassInfo(name=n, colour=c) for v, (n, c) in names.items()})
    _, tab = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: View")
    tab.three.click()
    pause()
    tab.planes["coronal"].click()
    tab.windows.auto.click()
    inside = np.argwhere(labels.data)
    tab.three_planes.go_to(np.array(image.data_to_world(inside.mean(axis=0))))
    viewer.reset_view()
    pause()
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()


def wait_until(done: Callable[[], bool]) -> None:
    """Run the event loop until ``done()``."""
    end = time.monotonic() + TIME_LIMIT
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"The window did not finish within {TIME_LIMIT} s.")
        QApplication.processEvents()
        time.sleep(0.01)


def pause() -> None:
    """Run the event loop for half a second, until everything is drawn."""
    for _ in range(50):
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    """Write docs/images/*.png, except that of the Train tab (benchmarks/retrain_gui.py has the scene)."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())  # the user's own settings and project stay as they are
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(folder / "settings"))
    QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(folder / "project"))
    segmentation("mri-phantom", IMAGES / "segment-3d.png")
    segmentation("echo-phantom", IMAGES / "segment-2d.png")
    correction(IMAGES / "correct.png")
    review(IMAGES / "review.png")
    three_planes(IMAGES / "view.png")
    napari.Viewer.close_all()


if __name__ == "__main__":
    main()
