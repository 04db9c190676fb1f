"""What it costs to reach the expert's label by brush alone, and with the Review tab, in the real window.

python benchmarks/review_gui.py [--only MODEL] [--cases 3] [--output OUTPUT]

Random validation cases of the bundled models (splits in ``models/splits``, data in LDSEG_DATA, default
../shared/data), segmented once in the window with N = 10, which is not counted. Two simulated
users know the expert's label and correct the same label map one after the other (the first one's strokes are
undone), with real mouse and key events (``hand.py``):

- brush: looks at the image, or at every slice of a volume that has a structure, one after the other, and
  draws strokes. Nothing else of the plugin is used;
- review: opens the Review tab. Period goes to the worst region. Where at least 95 % of its voxels have the
  expert's class, the user presses Y. Elsewhere the user takes an alternative, by a click on its picture and
  Shift+U, if that removes as many errors as a stroke has to; draws strokes at the pieces of errors that reach
  into the region, as far as the canvas shows them; presses Y; presses U and clicks Apply if the preview makes
  the mean DSC larger, else Reject. After the last region it goes on as the brush user.

A stroke is the same in both ways: the class of the largest piece of errors in the slice shown, dragged along
the piece on the centres at which the brush (``BRUSH`` voxels wide) stays inside the expert's structure, where
it repairs most. A piece counts if a brush can repair it, and if it has at least ``LEAST`` of the brush's
area; half of that in each further round. Class and brush size are set by napari's keys.

Cases that OUTPUT already has are kept; each is written as soon as it is measured.

The target is the same in both ways: a mean DSC over the classes of 0.02 below that of perfect painting with
this brush, in which every voxel of the expert's structures that the brush can cover is right. Cases that
reach it without a correction are left out. Decisions are counted per region, alternative taken, stroke,
preview, and slice looked at. Both ways end with the action that reaches the target. The
brush user's eye is the expert: it finds the largest error at once, which no reader does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import machine
import napari
import numpy as np
from hand import LIMIT, Hand
from qtpy.QtCore import QPoint, QPointF, QSettings, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.measure import approximate_polygon

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.machine import describe_machine
from napari_ldseg.evaluation.overlap import mean_dsc
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.files import suffix_of
from napari_ldseg.scans.nifti import NIFTI_SUFFIXES
from napari_ldseg.training.config import read_config
from napari_ldseg.widgets.project.state import project_of
from napari_ldseg.widgets.review.samples_part import MOST_SHOWN

ROOT = Path(__file__).parents[1]
SPLITS = "models/splits/{}.json"
CASES = {"camus": 3, "glas": 1, "hippocampus": 1}
BRUSH = {"camus": 5, "glas": 9, "hippocampus": 3}
SAMPLES, WITHIN, AGREES, LEAST, SEED = 10, 0.02, 0.95, 0.25, 0
ROUNDS, MOST_REGIONS, MARGIN = 6, 150, 2
STRAIGHT = 0.7  # voxels that a stroke's straight parts may be beside its path
LEAST_ON_SCREEN, EDGE = 10, 4  # pixels: the brush, and the margin of the canvas
SHIFT = Qt.KeyboardModifier.ShiftModifier
WAYS = "brush", "review"
COUNTS = "presses", "keys", "strokes", "wheel", "decisions"


class Window:
    """A napari window with a segmented case and a hand, and what the simulated user knows of it."""

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
        self.classes = len(segment.model.metadata.classes)
        self.viewer.layers.selection.active = self.layer
        self.hand = Hand(self.viewer)
        self.hand.canvas.setFocus()
        self.segmented, self.point = self.layer.data.copy(), self.viewer.dims.point
        self.defaults = self.layer.mode, self.layer.selected_label, self.layer.brush_size
        self.size = BRUSH[model]
        radius = self.size // 2 + 0.5  # as napari's brush
        offsets = np.arange(-(self.size // 2), self.size // 2 + 1)
        self.disc = offsets[:, None] ** 2 + offsets**2 <= radius**2
        self.least = LEAST * self.disc.sum()
        self.centres = self._centres()
        disc = self.disc.reshape((1,) * (self.expert.ndim - 2) + self.disc.shape)
        self.paintable = {c: ndimage.binary_dilation(m, disc) for c, m in self.centres.items()}
        painted = self.layer.data.copy()
        for c, where in self.paintable.items():
            painted[where] = c
        self.best = mean_dsc(painted, self.expert, self.classes)
        self.target = self.best - WITHIN
        self.start = self.dsc()

    def start_again(self) -> None:
        """Undo all strokes and put view, brush and counts back."""
        recorder = project_of(self.viewer).labels.recorder_of(self.layer)
        recorder.flush(10)  # a stroke and its undo in one record count as painting the old value
        for _ in range(self.hand.counts["strokes"]):
            self.layer.undo()
        recorder.flush(10)
        if not np.array_equal(self.layer.data, self.segmented) or recorder.masks().protected.any():
            raise SystemExit("Not all strokes were undone.")
        self.layer.mode, self.layer.selected_label, self.layer.brush_size = self.defaults
        self.least = LEAST * self.disc.sum()
        self.viewer.reset_view()
        self.viewer.dims.set_point(range(len(self.point)), self.point)
        self.hand = Hand(self.viewer)

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()
        for _ in range(20):
            QApplication.processEvents()

    def _centres(self) -> dict[int, np.ndarray]:
        """Return, for each class, where the brush is inside the expert's structure."""
        disc = self.disc.reshape((1,) * (self.expert.ndim - 2) + self.disc.shape)
        return {
            c: ndimage.binary_erosion(self.expert == c, disc, border_value=1)
            for c in range(self.classes)
        }

    def dsc(self) -> float:
        """Return the mean DSC of the labels as they are now."""
        return mean_dsc(self.layer.data, self.expert, self.classes)

    @property
    def done(self) -> bool:
        """Whether the target is reached."""
        return self.dsc() >= self.target

    @property
    def frame(self) -> tuple[int, ...]:
        """The index of the slice shown, () of an image."""
        point = self.layer.world_to_data(self.viewer.dims.point)
        return tuple(round(float(i)) for i in point[:-2])

    def stroke(self, near: np.ndarray | None = None) -> bool:
        """Draw one stroke in the slice shown; False if there is no piece of errors.

        With ``near``, at a piece that it has a part of, as far as the canvas shows it.
        """
        found = self._largest_piece(near)
        if found is None:
            return False
        value, piece = found
        self.hand.think()
        path = self._path(self.centres[value][self.frame], piece)
        self._take(value)
        self._zoom_to(path)
        before = self.layer.data.copy()
        self.hand.stroke(self._pixels(path))
        if np.array_equal(before, self.layer.data):
            raise SystemExit("A stroke changed nothing.")
        return True

    def _largest_piece(self, near: np.ndarray | None) -> tuple[int, np.ndarray] | None:
        labels, expert = self.layer.data[self.frame], self.expert[self.frame]
        found, size = None, self.least
        visible = None if near is None else self._visible()
        for c in range(self.classes):
            wrong = (labels != c) & (expert == c) & self.paintable[c][self.frame]
            if visible is not None:
                wrong &= visible
            pieces, count = ndimage.label(wrong, np.ones((3, 3)))
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)
            sizes[0] = 0
            if near is not None:
                sizes[np.setdiff1d(np.arange(count + 1), pieces[near])] = 0
            if sizes.max() >= size:
                size, found = sizes.max() + 1, (c, pieces == sizes.argmax())
        return found

    def _path(self, centres: np.ndarray, piece: np.ndarray) -> list[tuple[int, int]]:
        """Return the pixels of the stroke: between the ends of the usable centres, where most is repaired."""
        repairs = ndimage.convolve(piece.astype(int), self.disc.astype(int), mode="constant")
        usable = centres & (repairs > 0)
        if (usable & self._visible()).any():
            usable &= self._visible()
        parts, count = ndimage.label(usable, np.ones((3, 3)))
        gains = ndimage.sum_labels(repairs, parts, range(1, count + 1))
        inside = parts == 1 + int(np.argmax(gains))
        start = np.unravel_index(np.where(inside, repairs, 0).argmax(), inside.shape)
        length = np.where(inside, 1.0, np.inf)
        for _ in range(2):  # the farthest from anywhere is an end, that from it the other one
            other, start = start, farthest(length, start)
        finder = MCP_Geometric(np.where(inside, 1 / np.maximum(repairs, 1) ** 2, np.inf))
        finder.find_costs([other])
        line = approximate_polygon(np.array(finder.traceback(start)), STRAIGHT)
        return [tuple(int(i) for i in place) for place in line]

    def _take(self, value: int) -> None:
        """Take the brush of the right size with the right class, by napari's keys."""
        if self.layer.mode != "paint":
            self.hand.key(Qt.Key.Key_2)
        while self.layer.brush_size != self.size:
            smaller = self.layer.brush_size > self.size
            self.hand.key(Qt.Key.Key_BracketLeft if smaller else Qt.Key.Key_BracketRight)
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


def by_brush(window: Window) -> None:
    """Correct with the brush alone, slice by slice, until the target."""
    slices: list[int | None] = [None]
    if window.expert.ndim == 3:
        shown = (window.layer.data > 0) | (window.expert > 0)
        slices = list(np.flatnonzero(shown.any((1, 2))))
    for _ in range(ROUNDS):
        for index in slices:
            if index is not None:
                window.show(index)
            window.hand.think()
            while not window.done and window.stroke():
                pass
            if window.done:
                return
        window.least /= 2
        slices.reverse()  # back from where the last round ended


def by_review(window: Window) -> dict:
    """Correct with the Review tab until the target; return what was used."""
    used = {"regions": 0, "accepted": 0, "alternatives": 0, "updates": 0, "updates_rejected": 0}
    _, tab = window.viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    hand, reviewer, browser, updater = window.hand, tab.reviewer, tab.browser, tab.updater
    hand.wait(lambda: not reviewer.busy and bool(reviewer.regions), "The search for regions")
    while used["regions"] < MOST_REGIONS and not window.done:
        if reviewer.region is None:
            hand.key(Qt.Key.Key_Period)
        region = reviewer.region
        if region is None or not reviewer.states.count("to do"):
            break
        used["regions"] += 1
        hand.think()
        labels, expert = (a[region.box][region.mask] for a in (window.layer.data, window.expert))
        if (labels == expert).mean() >= AGREES:
            used["accepted"] += 1
            hand.key(Qt.Key.Key_Y)
            continue
        hand.wait(lambda: browser.decoded and browser._grouper is None, "Finding alternatives")
        changed = False
        button = nearest_alternative(window, tab)
        if button is not None:
            hand.think()
            hand.click(button)
            hand.key(Qt.Key.Key_U, SHIFT)
            used["alternatives"] += 1
            changed = True
        for near in slices_of(window, region):
            while not window.done and window.stroke(near):
                changed = True
        if window.done:
            break
        hand.key(Qt.Key.Key_Y)
        if changed:
            hand.key(Qt.Key.Key_U)
            hand.wait(lambda: not updater.busy, "The update")
            if updater.proposal is not None:
                used["updates"] += 1
                hand.think()
                better = gain(window, updater.proposal.update) > 0
                used["updates_rejected"] += not better
                notice = tab.update_part.notice
                hand.click(notice.first if better else notice.second)
                hand.wait(lambda: not reviewer.busy, "The search for regions")
    used["brush_after"] = not window.done
    if not window.done:
        by_brush(window)
    return used


def nearest_alternative(window: Window, tab):
    """Return the button of the alternative that removes most errors, None if it removes less than a stroke has to."""
    browser, box = tab.browser, tab.browser.box
    recorder = tab.reviewer.target.recorder
    free = np.ones(window.expert.shape, bool) if recorder is None else ~recorder.masks().protected
    best, found = window.least, None
    expert, labels = window.expert[box], window.layer.data[box]
    for button, one in zip(tab.samples.buttons, browser.alternatives[:MOST_SHOWN], strict=False):
        new = np.where(free[box], browser.labels_of(one.medoid)[box], labels)
        removed = int((labels != expert).sum()) - int((new != expert).sum())
        if removed >= best:
            best, found = removed, button
    return found


def slices_of(window: Window, region) -> Iterator[np.ndarray]:
    """Show each slice of a region, that shown first, and yield the part of it around the region."""
    where = np.zeros(window.expert.shape[-2:], bool)
    where[tuple(slice(max(0, s.start - MARGIN), s.stop + MARGIN) for s in region.box[-2:])] = True
    yield where
    if window.expert.ndim == 3:
        for index in range(region.box[0].start, region.box[0].stop):
            wrong = (window.layer.data[index] != window.expert[index]) & where
            if not window.done and wrong.sum() >= window.least:
                window.show(index)
                yield where


def gain(window: Window, update) -> float:
    """Return by how much an update would enlarge the mean DSC."""
    new = window.layer.data.copy()
    new[update.indices] = update.labels
    return mean_dsc(new, window.expert, window.classes) - window.dsc()


def farthest(cost: np.ndarray, start: tuple[int, ...]) -> tuple[int, ...]:
    """Return the reachable pixel with the longest way from ``start``."""
    costs, _ = MCP_Geometric(cost).find_costs([start])
    return np.unravel_index(np.where(np.isfinite(costs), costs, -1).argmax(), costs.shape)


def pump_until(done) -> None:
    """Run the event loop until ``done()``."""
    end = time.monotonic() + LIMIT
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"The window did not answer within {LIMIT} s.")
        QApplication.processEvents()
        time.sleep(0.05)


def measure(case: Case, model: str, folder: Path) -> dict | None:
    """Return what both ways took, None if the case needs no correction."""
    window = Window(case, model, folder / case.name)
    result: dict = {"model": model, "case": case.name}
    result |= {"start": window.start, "best": window.best, "target": window.target}
    result = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    if window.done:
        window.close()
        return None
    for way in WAYS:
        used = by_review(window) if way == "review" else by_brush(window)
        hand = window.hand
        result[way] = {
            **{name: hand.counts[name] for name in COUNTS},
            "hand_s": round(hand.hand, 1),
            "program_s": round(hand.program, 1),
            "program_cpu_s": round(hand.cpu, 1),
            "longest_s": [round(hand.longest[0], 2), hand.longest[1]],
            "keys_elsewhere": hand.unfocused,
            "reached": window.done,
            "dsc": round(window.dsc(), 4),
            **({"used": used} if used else {}),
        }
        print(way, json.dumps(result[way]), flush=True)
        if way == "brush":
            window.start_again()
    window.close()
    return result


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
    heads = ["case", "DSC", "target", "way", *COUNTS, "hand s", "program s", "of it CPU", "reached"]
    rows = [
        [
            one["case"],
            one["start"],
            one["target"],
            way,
            *(one[way][name] for name in COUNTS),
            *(one[way][name] for name in ("hand_s", "program_s", "program_cpu_s", "reached")),
        ]
        for one in results
        for way in WAYS
    ]
    print(machine.table(heads, rows))


if __name__ == "__main__":
    main()
