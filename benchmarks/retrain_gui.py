"""From corrected cases to an adopted better model by clicks in the window: time and responsiveness.

A weak echo-phantom model (with noise on its weights) is fine-tuned on five corrected synthetic
echocardiograms; eight more are held out. Prints the time from Start to the adopted model, the verdict, and
the gaps of a 20 ms timer in the GUI thread.

Run in a real or virtual window: python benchmarks/retrain_gui.py [noise] [--screenshot FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
import torch
from gui_gap import pump, report
from qtpy.QtCore import QSettings, Qt
from qtpy.QtTest import QTest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.scan import Scan

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from phantoms import echo_phantom

TRAINING, HELD_OUT = 5, 8


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("noise", nargs="?", type=float, default=0.4)
    parser.add_argument("--screenshot", type=Path, help="save a screenshot of the verdict here")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(folder / "settings"))
    QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(folder / "project"))
    weak = weakened(folder / "weak.safetensors", arguments.noise)
    fill(folder / "project")
    print(f"{platform.platform()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads here")
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    viewer.open_sample("napari-ldseg", "echo_phantom")
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    pump(5, lambda: False)
    widget.setup.model.choose(weak)
    print(widget.setup.cases.summary.text(), widget.setup.paces["quick"].text())
    report("idle", pump(3, lambda: False))
    started = time.monotonic()
    QTest.mouseClick(widget.setup.start, Qt.MouseButton.LeftButton)
    pump(5, lambda: widget.state.active)
    phases: dict[str, list[np.ndarray]] = {}
    while widget.state.active:
        phase = widget.state.status.phase
        gaps = pump(900, lambda now=phase: widget.state.status.phase != now)
        phases.setdefault(phase, []).append(gaps)
    print(f"{time.monotonic() - started:.0f} s from Start to the verdict")
    phases["the verdict"] = [pump(2, lambda: False)]
    for phase, gaps in phases.items():
        report(phase, np.concatenate(gaps))
    print(widget.state.status.text, widget.outcome.verdict.text())
    if arguments.screenshot:
        pump(1, lambda: False)
        viewer.window.screenshot(str(arguments.screenshot), canvas_only=False, flash=False)
    widget.outcome.use.click()
    history = json.loads((folder / "project" / "models" / "adopted.json").read_text())
    print("adopted:", history["decisions"][-1]["model"])
    viewer.close()


def weakened(path: Path, noise: float) -> Path:
    """Save the echo-phantom model with noise on its weights, ``noise`` of each tensor's SD."""
    checkpoint = load_checkpoint(bundled_checkpoints()["echo-phantom"])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in checkpoint.model.parameters():
            if weight.ndim > 1:
                weight += noise * weight.std() * torch.randn(weight.shape, generator=generator)
    changes = {"name": "weak", "metrics": (), "calibration": None}
    metadata = checkpoint.metadata.model_copy(update=changes)
    return save_checkpoint(replace(checkpoint, metadata=metadata), path)


def fill(folder: Path) -> None:
    """Make a project of reviewed phantoms, each of another patient."""
    metadata = load_checkpoint(bundled_checkpoints()["echo-phantom"]).metadata
    project = Project(folder, create=True)
    missing = {"training": TRAINING, "validation": HELD_OUT}
    seed = 9000
    while any(missing.values()):
        phantom = echo_phantom(seed)
        masks = Masks(phantom.label, *(np.full(phantom.label.shape, v) for v in (False, True)))
        scan = Scan(phantom.image, phantom.affine, name=f"case{seed}")
        case = project.add_case(scan.name, scan, None, metadata.classes, masks)
        split = next(name for name, count in missing.items() if count)
        case.change(split=split)
        missing[split] -= 1
        seed += 1
    project.close()


if __name__ == "__main__":
    main()
