"""What it costs to reach the expert's label by brush alone, and with the Review tab, in the real window.

python benchmarks/review_gui.py [--only MODEL] [--cases 3] [--output OUTPUT]

Random validation cases of the bundled models (splits in ``models/splits``, data in LDSEG_DATA, default
../shared/data), segmented once in the window with N = 10, which is not counted. Two simulated readers
(``readers.py``), an oracle that needs no looking and one that has to search, correct the same label map, each by
brush alone and with the Review tab, each in a new window, with real mouse and key events (``hand.py``).

A stroke is the same in all ways (``strokes.py``): the class of a piece of errors in the slice shown, dragged
along the piece on the centres at which the brush stays inside the expert's structure, where it repairs most. The
brush is ``BRUSH`` voxels wide; where the Review tab has set another size, that one, as long as it can repair
something. With the tab, a line along an edge of the expert's (key A) is drawn instead where it repairs more than the
largest stroke. A piece counts if the brush can repair it, and if it has at least ``LEAST`` of the area of a
brush of ``BRUSH``, the limit of visibility; half of that in each further round. Class and brush size are set by
napari's keys, or by the tab's.

The target is the same in all ways: a mean DSC over the classes of 0.02 below that of perfect painting with a
brush of ``BRUSH``, in which every voxel of the expert's structures that it can cover is right. Cases that
reach it without a correction are left out. All ways end with the action that reaches the target.

All constants of the readers were set before the first measurement; two rules of the reader with the Review tab
were changed after the first case: an outline is taken only if it is nearer to the expert's label, and no more are
looked at after one that did not help. Lines, and that the reader does not ask for updates, were decided on other
validation cases (``CHOSEN_ON``), offline. How long people look is an assumption: the totals are given with 0, 1 and 2
times the looking time. Cases that OUTPUT already has are kept; each is
written as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import napari
import numpy as np
from hand import LIMIT, Hand
from qtpy.QtCore import QPoint, QPointF, QSettings, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from readers import Reader
from strokes import Brush, edge_lines

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.correction.border import redraw_border
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.machine import describe_machine
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.files import suffix_of
from napari_ldseg.scans.nifti import NIFTI_SUFFIXES
from napari_ldseg.training.config import read_config
from napari_ldseg.widgets.project.state import project_of

ROOT = Path(__file__).parents[1]
SPLITS = "models/splits/{}.json"
CASES = {"camus": 3, "glas": 1, "hippocampus": 1}
BRUSH = {"camus": 5, "glas": 9, "hippocampus": 3}
SAMPLES, WITHIN, LEAST, SEED = 10, 0.02, 0.25, 0
LEAST_ON_SCREEN, EDGE = 10, 4  # pixels: the brush, and the margin of the canvas
CHOSEN_ON = "camus", range(3, 10)  # places in the random order of the cases
WAYS = "brush", "review"
COUNTS = "presses", "keys", "strokes", "lines", "wheel", "decisions", "looks"
READERS = "oracle", "searching"
Piece = tuple[int, np.ndarray]


class Window:
    """A napari window with a segmented case and a hand, and what a simulated reader knows of it."""

    def __init__(self, case: Case, model: str, folder: Path):
        QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(folder))
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(1200, 900)
        is_nifti = suffix_of(str(case.file)) in NIFTI_SUFFIXES
        self.viewer.open(str(case.file), plugin="napari-ldseg" if is_nifti else "napari")
        _, segment = self.viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
        segment.model.choose(bundled_checkpoints()[model])
        segment.samples.setValue(SAMPLES)
        QApplication.processEvents()
        QTest.mouseClick(segment.segment, Qt.MouseButton.LeftButton)
        pump_until(lambda: not segment.session.running)
        self.layer = segment.session.results.labels
        self.expert = case.read_label().astype(np.uint8)
        self.viewer.layers.selection.active = self.layer
        self.hand = Hand(self.viewer)
        self.hand.canvas.setFocus()
        self.segmented = self.layer.data.copy()
        self.tab: Any = None
        self._brushes: dict[int, Brush] = {}
        self._classes = len(segment.model.metadata.classes)
        self.size = BRUSH[model]
        self.brush = self._brush_of(self.size)
        self.least = LEAST * self.brush.disc.sum()
        self.target = self.brush.best - WITHIN
        self.start = self.dsc()

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()
        for _ in range(20):
            QApplication.processEvents()

    def _brush_of(self, size: int) -> Brush:
        if size not in self._brushes:
            self._brushes[size] = Brush(self.expert, self.segmented, self._classes, size)
        return self._brushes[size]

    def dsc(self) -> float:
        """Return the mean DSC of the labels as they are now."""
        return self.brush.dsc(self.layer.data)

    @property
    def done(self) -> bool:
        """Whether the target is reached."""
        return self.dsc() >= self.target

    @property
    def frame(self) -> tuple[int, ...]:
        """The index of the slice shown, () of an image."""
        point = self.layer.world_to_data(self.viewer.dims.point)
        return tuple(round(float(i)) for i in point[:-2])

    def free(self) -> np.ndarray:
        """Return where neither an edit nor a review protects the labels, bool."""
        recorder = project_of(self.viewer).labels.recorder_of(self.layer)
        return ~recorder.masks().protected

    def pieces(
        self,
        near: np.ndarray | None = None,
        frame: tuple[int, ...] | None = None,
        labels: np.ndarray | None = None,
    ) -> list[Piece]:
        """Return what strokes can repair in a slice, by default of the labels shown: the largest first.

        With ``near``, the pieces that it has a part of, as far as the canvas shows them.
        """
        labels = self.layer.data if labels is None else labels
        frame = self.frame if frame is None else frame
        visible = None if near is None else self._visible()
        found: list[Piece] = []
        for size in self._sizes:
            found = self._brush_of(size).pieces(labels, frame, self.least, visible, near)
            if found:
                break
        return found

    def stroke(self, value: int, piece: np.ndarray) -> None:
        """Draw one stroke of class ``value`` at a piece in the slice shown."""
        frame, visible = self.frame, self._visible()
        for size in self._sizes:
            brush = self._brush_of(size)
            if (piece & brush.paintable[value][frame]).sum() >= self.least:
                break
        self.hand.think()
        path = brush.path(value, frame, piece, visible)
        self._take(value, brush.size)
        self._zoom_to(path)
        before = self.layer.data.copy()
        self.hand.stroke(self._pixels(path))
        if np.array_equal(before, self.layer.data):
            raise SystemExit("A stroke changed nothing.")

    def line(self, least: int, near: np.ndarray | None) -> bool:
        """Draw the line along an edge in the slice shown that repairs most; not if less than ``least`` voxels."""
        frame, where = self.frame, self._visible()
        if near is not None:
            where &= near
        labels, expert, free = self.layer.data[frame], self.expert[frame], ~self._reviewed()[frame]
        best, chosen = least - 1, None
        for value, path in edge_lines(labels, expert, self._classes, where):
            change = redraw_border(labels, np.array(path, float), value)
            at = tuple(i[free[change.indices]] for i in change.indices)
            after = change.after[free[change.indices]]
            gain = int((after == expert[at]).sum()) - int((labels[at] == expert[at]).sum())
            if gain > best:
                best, chosen = gain, (value, path)
        if chosen is None:
            return False
        self.hand.think()
        self._take_class(chosen[0])
        if not self._has_pen:
            self.hand.key(Qt.Key.Key_A)
        self._zoom_to(chosen[1])
        before = self.layer.data.copy()
        self.hand.stroke(self._pixels(chosen[1]))
        self.hand.counts["lines"] += 1
        return not np.array_equal(before, self.layer.data)

    def _reviewed(self) -> np.ndarray:
        recorder = project_of(self.viewer).labels.recorder_of(self.layer)
        return recorder.masks().reviewed

    @property
    def _has_pen(self) -> bool:
        return self.tab is not None and "paint" in vars(self.layer)

    @property
    def _sizes(self) -> list[int]:
        """The brush sizes to try: that which the tab has set, then the usual one."""
        pen = self.tab.reviewer._pen if self._has_pen else None
        set_by_tab = int(self.layer.brush_size) if pen is None else pen._size
        own = self.tab is not None and set_by_tab != self.size
        return [set_by_tab] * own + [self.size]

    def _take(self, value: int, size: int) -> None:
        """Take the brush of the right size with the right class, by keys."""
        if self.layer.mode != "paint":
            self.hand.key(Qt.Key.Key_2)
        self._take_class(value)
        if self._has_pen:
            self.hand.key(Qt.Key.Key_A)
        while self.layer.brush_size != size:
            smaller = self.layer.brush_size > size
            self.hand.key(Qt.Key.Key_BracketLeft if smaller else Qt.Key.Key_BracketRight)

    def _take_class(self, value: int) -> None:
        region = None if self.tab is None else self.tab.reviewer.region
        if region is not None and value != self.layer.selected_label and value in region.classes:
            if self.layer.mode != "paint":
                self.hand.key(Qt.Key.Key_2)
            self.hand.key(Qt.Key.Key_C)
        while self.layer.selected_label != value:
            smaller = self.layer.selected_label > value
            self.hand.key(Qt.Key.Key_Minus if smaller else Qt.Key.Key_Equal)

    def _zoom_to(self, path: list[tuple[int, int]]) -> None:
        """Zoom with the wheel until the brush is large enough, and the path is all on the canvas."""
        middle = path[len(path) // 2]
        for _ in range(60):
            outside = not all(self._inside(pixel) for pixel in self._pixels(path))
            if not outside and self._brush_on_screen() >= LEAST_ON_SCREEN:
                return
            (at,) = self._pixels([middle])
            if not self._inside(at):
                at = self.hand.canvas.rect().center()
            self.hand.wheel(self.hand.canvas, at, -1 if outside else 1)
            if outside and self._brush_on_screen() < LEAST_ON_SCREEN:
                return  # a long path is drawn smaller

    def _brush_on_screen(self) -> float:
        a, b = self._pixels([(0, 0), (0, 100)])
        return self.size * abs(b.x() - a.x()) / 100

    @property
    def voxel_on_screen(self) -> float:
        """The width of a voxel of the slice shown, in pixels of the canvas."""
        return self._brush_on_screen() / self.size

    def _visible(self) -> np.ndarray:
        """Return the pixels of the slice shown that are on the canvas."""
        shape = self.expert.shape[-2:]
        start, stop = self._pixels([(0, 0), shape])
        visible = np.zeros(shape, bool)
        step = (stop - start).y() / shape[0], (stop - start).x() / shape[1]
        ends = (self.hand.canvas.height(), self.hand.canvas.width())
        first = start.y(), start.x()
        visible[
            tuple(
                slice(max(0, math.ceil((EDGE + 1 - a) / s)), max(0, int((end - EDGE - 1 - a) / s)))
                for a, s, end in zip(first, step, ends, strict=True)
            )
        ] = True
        return visible

    def _inside(self, pixel: QPoint) -> bool:
        return self.hand.canvas.rect().adjusted(EDGE, EDGE, -EDGE, -EDGE).contains(pixel)

    def _pixels(self, places: Sequence[tuple[int, int]]) -> list[QPoint]:
        """Return the canvas pixels of pixels of the slice shown."""
        frame, transform = (
            self.frame,
            self.viewer.window._qt_viewer.canvas.view.scene.transform,
        )
        y, x = (np.array([self.layer.data_to_world((*frame, *p)) for p in places])[:, -2:]).T
        mapped = transform.map(np.stack([x, y, 0 * x, 0 * x + 1], axis=1))
        return [QPointF(float(u), float(v)).toPoint() for u, v in mapped[:, :2]]

    def show(self, index: int) -> None:
        """Go to a slice of a volume with the arrow keys."""
        while self.frame[0] != index:
            before = self.frame[0]
            self.hand.key(Qt.Key.Key_Right if before < index else Qt.Key.Key_Left)
            if self.frame[0] == before:
                raise SystemExit("The arrow keys do not change the slice.")


def pump_until(done) -> None:
    """Run the event loop until ``done()``."""
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"The window did not answer within {LIMIT} s.")
        QApplication.processEvents()
        time.sleep(0.05)


def measure(case: Case, model: str, folder: Path) -> dict | None:
    """Return what all ways took, None if the case needs no correction."""
    result: dict = {"model": model, "case": case.name}
    for reader in READERS:
        result[reader] = {}
        for way in WAYS:
            window = Window(case, model, folder / reader / way / case.name)
            if window.done:
                window.close()
                return None
            about = {"start": window.start, "best": window.brush.best, "target": window.target}
            result |= {name: round(value, 4) for name, value in about.items()}
            acting = Reader(window, searching=reader == "searching")
            used = acting.by_review() if way == "review" else acting.by_brush()
            result[reader][way] = costs(window) | ({"used": used} if used else {})
            print(reader, way, json.dumps(result[reader][way]), flush=True)
            window.close()
    return result


def costs(window: Window) -> dict:
    """Return the counts and times so far."""
    hand = window.hand
    return {
        **{name: hand.counts[name] for name in COUNTS},
        "hand_s": round(hand.hand, 1),
        "looking_s": round(hand.looking, 1),
        "program_s": round(hand.program, 1),
        "program_cpu_s": round(hand.cpu, 1),
        "longest_s": [round(hand.longest[0], 2), hand.longest[1]],
        "keys_elsewhere": hand.unfocused,
        "reached": window.done,
        "dsc": round(window.dsc(), 4),
    }


def write(results: list[dict], path: Path) -> None:
    """Write the cases measured so far."""
    report = {
        "data": "LDSEG_DATA",
        "split": SPLITS,
        "part": "validation",
        "seed": SEED,
        "samples": SAMPLES,
        "brush": BRUSH,
        "within": WITHIN,
        "machine": describe_machine("cpu") | {"load": [round(x, 1) for x in os.getloadavg()]},
        "cases": results,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the cases, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--cases", type=int, default=max(CASES.values()), help="at most, per model")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/data/review_gui.json")
    arguments = parser.parse_args()
    os.environ.setdefault("LDSEG_DATA", str(ROOT.parent / "shared" / "data"))
    folder = Path(tempfile.mkdtemp())
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(folder / "settings"))
    results = json.loads(arguments.output.read_text())["cases"] if arguments.output.exists() else []
    for model in [arguments.only] if arguments.only else CASES:
        config = read_config(ROOT / "models" / f"{model}.yaml")
        cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
        held_out = read_split(ROOT / SPLITS.format(model)).cases("validation", cases)
        wanted = min(CASES[model], arguments.cases)
        for index in np.random.default_rng(SEED).permutation(len(held_out)):
            if sum(one["model"] == model for one in results) == wanted:
                break
            if any(one["case"] == held_out[index].name for one in results):
                continue
            print(held_out[index].name, flush=True)
            one = measure(held_out[index], model, folder)
            if one is not None:
                results.append(one)
                write(results, arguments.output)
    print(machine.describe(load=os.getloadavg()))
    heads = ["case", "DSC", "target", "reader", "way", *COUNTS, "hand s", "looking s", "reached"]
    rows = [
        [
            *(one[name] for name in ("case", "start", "target")),
            *(reader, way),
            *(one[reader][way][name] for name in (*COUNTS, "hand_s", "looking_s", "reached")),
        ]
        for one in results
        for reader in READERS
        for way in WAYS
    ]
    print(machine.table(heads, rows))


if __name__ == "__main__":
    main()
