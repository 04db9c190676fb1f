"""Make the documentation's pictures from the sample scans, in a real (or virtual) window."""

from __future__ import annotations

from pathlib import Path

import napari
from demo import run, wait
from qtpy.QtWidgets import QApplication

DOCS = Path(__file__).resolve().parents[1] / "docs"


def picture(model: str, samples: int, path: Path) -> None:
    """Segment the sample scan of ``model`` in the window and save a screenshot."""
    viewer, widget = run(None, model, samples)
    wait(widget)
    viewer.reset_view()
    viewer.camera.zoom *= 1.05
    QApplication.processEvents()
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()


def main() -> None:
    """Write docs/*.png."""
    DOCS.mkdir(exist_ok=True)
    picture("mri-phantom", 20, DOCS / "segment-3d.png")
    picture("echo-phantom", 20, DOCS / "segment-2d.png")
    napari.Viewer.close_all()


if __name__ == "__main__":
    main()
