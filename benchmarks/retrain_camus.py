"""From corrected cases to an adopted model in a real window: time, gain in DSC, responsiveness.

python benchmarks/retrain_camus.py [--cases 5] [--pace quick]

Frames of the CAMUS test patients are shifted (``forgetting.py``) and opened one by one. Each is segmented
with the bundled camus model, corrected towards the expert's label with simulated brush strokes, and marked
as reviewed. Then Start training and Use the new model are clicked. DSC is measured on thirty other shifted
frames. Run in a real or virtual window.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import forgetting
import machine
import napari
import numpy as np
from gui_gap import pump, report
from qtpy.QtCore import QSettings, Qt
from qtpy.QtTest import QTest
from skimage.io import imsave

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.overlap import overlap
from napari_ldseg.finetuning.comparison import read_comparison
from napari_ldseg.widgets.project.state import project_of

RADIUS, MAX_STROKES = 12, 80


def strokes(label: np.ndarray, expert: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return flat indices and value of each stroke: the wrong pixels of one class in a disc."""
    result, wrong = [], label != expert
    rows, columns = np.indices(label.shape)
    for _ in range(MAX_STROKES):
        if not wrong.any():
            break
        pixels = np.argwhere(wrong)
        y, x = pixels[len(pixels) // 2]
        disc = (rows - y) ** 2 + (columns - x) ** 2 <= RADIUS**2
        value = int(expert[y, x])
        painted = wrong & disc & (expert == value)
        result.append((np.flatnonzero(painted), value))
        wrong &= ~painted
    return result


def click(button) -> None:
    """Click a button with the mouse."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def correct(viewer, segmenter, case: Case, path: Path) -> tuple[int, float, float]:
    """Open, segment, correct and review one case; return the number of strokes, and DSC before and after."""
    (image,) = viewer.open(str(path))
    segmenter.image.value = image
    click(segmenter.segment)
    pump(120, lambda: not segmenter.session.running)
    layer = segmenter.session.results.labels
    expert = case.read_labels[0]()
    before = np.nanmean(overlap(layer.data, expert, 4)[0])
    painted = strokes(layer.data, expert)
    for flat, value in painted:
        layer.data_setitem(np.unravel_index(flat, expert.shape), value)
        pump(0.02, lambda: False)
    state = project_of(viewer)
    state.reviews.mark(layer, (slice(None), slice(None)), True)
    after = np.nanmean(overlap(layer.data, expert, 4)[0])
    pump(1.0, lambda: False)
    for other in viewer.layers:
        other.visible = False
    return len(painted), float(before), float(after)


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--pace", default="quick", choices=["quick", "thorough"])
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="ldseg-retrain-"))
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(work))
    QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(work / "project"))
    cases, shift = forgetting.held_out("camus"), forgetting.Shift()
    test_cases = [shift.of_case(case, 500 + i) for i, case in enumerate(cases[-30:])]

    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 1000)
    _, segmenter = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    segmenter.model.choose(find_checkpoint("camus"))
    segmenter.samples.setValue(1)
    print(machine.describe(cases=arguments.cases, pace=arguments.pace))
    counts, before, after = [], [], []
    for i, case in enumerate(cases[: arguments.cases]):
        path = work / f"{case.name}.png"
        imsave(path, shift.of(case.read_scan(), i).array, check_contrast=False)
        n, a, b = correct(viewer, segmenter, case, path)
        counts, before, after = [*counts, n], [*before, a], [*after, b]
    print(
        f"{arguments.cases} cases corrected: {np.mean(counts):.0f} strokes each, DSC {np.mean(before):.3f} -> "
        f"{np.mean(after):.3f}"
    )
    _, trainer = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    trainer.setup.model.choose(find_checkpoint("camus"))
    click(trainer.setup.paces[arguments.pace])
    report("idle", pump(3, lambda: False))
    started = time.monotonic()
    click(trainer.setup.start)
    gaps = pump(3600, lambda: trainer.state.status is not None and trainer.state.status.ended)
    report("during training", gaps)
    print(f"{trainer.state.status.text} {time.monotonic() - started:.0f} s after Start")
    click(trainer.outcome.use)
    pump(1, lambda: False)
    print(f"adopted {time.monotonic() - started:.0f} s after Start")
    new = trainer.state.model_in_use
    run_folder = next((work / "project" / "training").glob("*/comparison.json"))
    print(read_comparison(run_folder).verdict.text)
    old_dsc = forgetting.dsc(load_checkpoint(find_checkpoint("camus")), test_cases)
    new_dsc = forgetting.dsc(load_checkpoint(new), test_cases)
    gain = mean_by_patient(list(new_dsc - old_dsc), [case.patient for case in test_cases])
    print(
        f"30 other shifted frames: {old_dsc.mean():.3f} -> {new_dsc.mean():.3f}, {gain.value:+.3f} "
        f"({gain.low:+.3f} to {gain.high:+.3f})"
    )
    viewer.close()


if __name__ == "__main__":
    main()
