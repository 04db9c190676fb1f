"""How responsive the window is: the gaps of a 20 ms timer in the GUI thread during sampling.

Run in a real or virtual window: python benchmarks/gui_gap.py [model] [scan] [samples]
"""

from __future__ import annotations

import argparse
import os
import platform
import time

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.layers.samples import sample_folder


def main() -> None:
    """Print the longest and the 99th percentile gap without a run and in a run, and the time to cancel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mri-phantom")
    parser.add_argument("scan", nargs="?", default=str(sample_folder() / "mri_phantom.nii.gz"))
    parser.add_argument("samples", nargs="?", type=int, default=40)
    arguments = parser.parse_args()
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    viewer.open(arguments.scan, plugin="napari-ldseg")
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    widget.model.choose(bundled_checkpoints()[arguments.model])
    widget.samples.setValue(arguments.samples)
    pump(8, lambda: False)
    print(f"{platform.platform()}, {os.cpu_count()} cores; {arguments.model}; {arguments.scan}")
    report("idle", pump(3, lambda: False))
    for what in ("first run, torch and the model loading", "second run"):
        QTest.mouseClick(widget.segment, Qt.MouseButton.LeftButton)
        report(what, pump(300, lambda: not widget.session.running))
        print("   ", widget.status.text())
    widget.samples.setValue(1000)
    QTest.mouseClick(widget.segment, Qt.MouseButton.LeftButton)
    pump(3, lambda: False)
    started = time.monotonic()
    QTest.mouseClick(widget.cancel, Qt.MouseButton.LeftButton)
    pump(60, lambda: not widget.session.running)
    print(f"cancel took {time.monotonic() - started:.2f} s; {widget.status.text()}")
    viewer.close()


def pump(seconds: float, done) -> np.ndarray:
    """Run the event loop until ``done()`` or for ``seconds``; return the timer's gaps in ms."""
    stamps: list[float] = []
    timer = QTimer()
    timer.setInterval(20)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: stamps.append(time.monotonic()))
    timer.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.001)
    timer.stop()
    return np.diff(stamps) * 1000


def report(what: str, gaps: np.ndarray) -> None:
    """Print a summary of the gaps."""
    print(
        f"{what}: {len(gaps)} ticks, longest gap {gaps.max():.0f} ms, "
        f"99 % below {np.percentile(gaps, 99):.0f} ms"
    )


if __name__ == "__main__":
    main()
