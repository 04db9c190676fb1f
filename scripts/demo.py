"""The main task on a sample scan: open it in napari, dock the Segment widget, click Segment.

With --output FOLDER it waits for the result, saves the label and SD volumes (NIfTI), a screenshot
and a summary there, and closes the window; without it the window stays open.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.scans.files import suffix_of
from napari_ldseg.scans.nifti import NIFTI_SUFFIXES

SAMPLES = {"mri-phantom": "mri_phantom", "echo-phantom": "echo_phantom"}
TIME_LIMIT = 240


def run(scan: str | None, model: str, samples: int) -> tuple[napari.Viewer, object]:
    """Open ``scan`` (a file, or by default the model's sample), dock the widget, click Segment."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    if scan:
        is_nifti = suffix_of(scan) in NIFTI_SUFFIXES
        viewer.open(scan, plugin="napari-ldseg" if is_nifti else "napari")
    else:
        viewer.open_sample("napari-ldseg", SAMPLES[model])
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    widget.model.choose(bundled_checkpoints()[model])
    widget.samples.setValue(samples)
    if widget.model.metadata.architecture.dims == 3:
        viewer.dims.set_point(0, viewer.layers[0].extent.world.mean(axis=0)[0])
    QApplication.processEvents()
    QTest.mouseClick(widget.segment, Qt.MouseButton.LeftButton)
    return viewer, widget


def wait(widget) -> float:
    """Run the event loop until the run has ended; return the seconds it took."""
    started = time.monotonic()
    while widget.session.running:
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() - started > TIME_LIMIT:
            raise SystemExit(f"The demo did not finish within {TIME_LIMIT} s.")
    seconds = time.monotonic() - started
    for _ in range(50):
        QApplication.processEvents()
        time.sleep(0.01)
    return seconds


def save(viewer: napari.Viewer, widget, folder: Path, seconds: float) -> None:
    """Write label.nii.gz, sd.nii.gz, screenshot.png and summary.json/.txt into ``folder``."""
    results = widget.session.results
    if results is None or results.labels is None or results.sample_sd is None:
        raise SystemExit(f"The demo has no result: {widget.status.text()}")
    folder.mkdir(parents=True, exist_ok=True)
    results.labels.save(str(folder / "label.nii.gz"), plugin="napari-ldseg")
    results.sample_sd.save(str(folder / "sd.nii.gz"), plugin="napari-ldseg")
    viewer.window.screenshot(str(folder / "screenshot.png"), canvas_only=False, flash=False)
    summary = results.labels.metadata["napari_ldseg_result"]
    (folder / "summary.json").write_text(json.dumps({**summary, "seconds": seconds}, indent=1))
    lines = [
        f"image     {summary['provenance']['image']}",
        f"model     {summary['provenance']['checkpoint']}",
        f"samples   {summary['samples']} with {summary['provenance']['steps']} steps",
        *(f"{name}: {c['size']:.0f} {summary['unit']}" for name, c in summary["classes"].items()),
        f"mean SD   {summary['mean_sample_sd']:.4f}",
        f"seconds   {seconds:.1f}",
        f"device    {summary['provenance']['device']}",
    ]
    (folder / "summary.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"label.nii.gz, sd.nii.gz, screenshot.png and summary.json are in {folder}/")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", help="a NIfTI or 2D image file instead of the sample scan")
    parser.add_argument("--model", default="mri-phantom", choices=bundled_checkpoints())
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.scan is None and arguments.model not in SAMPLES:
        parser.error(f"{arguments.model} has no sample scan; give one with --scan")
    viewer, widget = run(arguments.scan, arguments.model, arguments.samples)
    if arguments.output is None:
        napari.run()
        return
    save(viewer, widget, arguments.output, wait(widget))
    viewer.close()


if __name__ == "__main__":
    main()
