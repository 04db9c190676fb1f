"""Milliseconds of each correction tool on a 256x256x128 label volume, in a real or virtual window.

python benchmarks/correction.py prints the median of five runs of the function itself, and from pressing
the tool's key until the labels layer shows the result, undo step included; and the longest gap of the
window's event loop during the run. Two structures: one of the size of a liver, and one that fills the
volume.
"""

from __future__ import annotations

import os
import platform
import statistics
import time

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_ldseg.correction.brush import brush_voxels, in_range
from napari_ldseg.correction.pieces import keep_largest, relabel_piece
from napari_ldseg.correction.shape import fill_holes, grow, shrink, smooth
from napari_ldseg.correction.slices import copy_slice, fill_between
from napari_ldseg.evaluation.machine import processor_name

SHAPE, SPACING = (128, 256, 256), (1.0, 0.7, 0.7)
AMOUNT = 3.0
RUNS = 5


def structure(radii: tuple[float, float, float], every: int = 1) -> np.ndarray:
    """Return an ellipsoid with a rough border, 50 specks and 50 holes, next to a second class."""
    rng = np.random.default_rng(0)
    z, y, x = (np.arange(n, dtype=np.float32) for n in SHAPE)
    centre = [n / 2 for n in SHAPE]
    parts = [((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)]
    level = parts[0][:, None, None] + parts[1][:, None] + parts[2]
    rough = 0.04 * np.sin(x / 4) * np.sin(y / 4)[:, None] * np.sin(z / 3)[:, None, None]
    inside = level + rough < 1
    labels = inside.astype(np.uint8)
    for place in rng.choice(np.flatnonzero(inside), 50, replace=False):
        labels.flat[place] = 0
    for place in rng.choice(np.flatnonzero(level > 1.3), 50, replace=False):
        labels.flat[place] = 1
    slab = labels[: SHAPE[0] // 3, SHAPE[1] // 2 : SHAPE[1] // 2 + 20]
    slab[slab == 1] = 2
    labels[np.arange(SHAPE[0]) % every != 0] = 0
    return labels


def main() -> None:
    """Print one table per structure."""
    print(f"{platform.platform()}, {os.cpu_count()} cores; {processor_name()}")
    print(
        f"{' x '.join(map(str, SHAPE))} voxels of {SPACING} mm, {AMOUNT} mm, median of {RUNS}, ms"
    )
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1440, 900)
    viewer.add_image(
        np.random.default_rng(0).random(SHAPE, dtype=np.float32), scale=SPACING, units="mm"
    )
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    for title, radii in (("liver-sized", (45, 75, 75)), ("full volume", (62, 125, 125))):
        full, painted = structure(radii), structure(radii, every=4)
        print(f"\n{title}: {np.count_nonzero(full == 1):,} voxels")
        print(
            f"{'tool':18s}{'function':>10s}{'in napari':>11s}{'longest gap':>13s}{'changed':>12s}"
        )
        layer = viewer.add_labels(full.copy(), scale=SPACING, units="mm", name=title)
        layer.selected_label = 1
        widget.smoothing.setValue(AMOUNT / 3)
        widget.distance.setValue(AMOUNT)
        for name, function in functions(full, painted).items():
            layer.data[:] = painted if name == "fill_between" else full
            layer.refresh()
            report(viewer, widget, layer, name, function)
        layer.visible = False
    viewer.close()


def functions(full: np.ndarray, painted: np.ndarray) -> dict:
    """Return each tool as a function without arguments."""
    middle = tuple(n // 2 for n in SHAPE)
    return {
        "keep_largest": lambda: keep_largest(full, 1),
        "fill_holes": lambda: fill_holes(full, 1),
        "erase_piece": lambda: relabel_piece(full, middle, 0),
        "relabel_piece": lambda: relabel_piece(full, middle, 2),
        "smooth": lambda: smooth(full, 1, AMOUNT / 3, SPACING),
        "grow": lambda: grow(full, 1, AMOUNT, SPACING),
        "shrink": lambda: shrink(full, 1, AMOUNT, SPACING),
        "fill_between": lambda: fill_between(painted, 1, 0, SPACING),
        "copy_next": lambda: copy_slice(full, 1, 0, middle[0], middle[0] + 1),
        "threshold_brush": lambda: brush(full),
    }


def brush(labels: np.ndarray) -> np.ndarray:
    """Return the voxels in range under a 3D brush of 40 voxels, as at each point of a stroke."""
    centre = (SHAPE[0] // 2, SHAPE[1] // 2, 8)
    voxels = brush_voxels(centre, 40, (0, 1, 2), SHAPE, SPACING)
    return np.flatnonzero(in_range(labels, voxels, 0, 0))


def report(viewer, widget, layer, name: str, function) -> None:
    """Time one tool as a function and in the window, and print its row."""
    pure = statistics.median(timed(function) for _ in range(RUNS))
    in_window, gaps, changed = [], [], 0
    middle = tuple(n // 2 for n in SHAPE)
    for _ in range(RUNS):
        viewer.dims.point = layer.data_to_world(middle)
        pump(0.1)
        before = layer.data.copy()
        ticks = [time.perf_counter()]
        if name == "threshold_brush":
            widget._use(name)
            ticks = [time.perf_counter()]
            layer.brush_size, layer.n_edit_dimensions = 40, 3
            with layer.block_history():
                layer.paint((middle[0], middle[1], 8), 1)
        elif name in ("erase_piece", "relabel_piece"):
            layer.selected_label = 2 if name == "relabel_piece" else 1
            widget.corrector._runner.start(name, middle)
        else:
            widget._use(name)
        QApplication.processEvents()
        ticks.append(time.perf_counter())
        while widget.corrector.busy:
            QApplication.processEvents()
            ticks.append(time.perf_counter())
            time.sleep(0.001)  # Qt's own loop waits for events, too
        in_window.append(ticks[-1] - ticks[0])
        gaps.append(max(np.diff(ticks)))
        changed = int((layer.data != before).sum())
        layer.undo()
        layer.selected_label = 1
        if name == "threshold_brush":
            widget._use(name)
        assert np.array_equal(layer.data, before), name
    print(
        f"{name:18s}{1000 * pure:10.0f}{1000 * statistics.median(in_window):11.0f}"
        f"{1000 * statistics.median(gaps):13.0f}{changed:12,}"
    )


def timed(action) -> float:
    """Return the seconds that ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def pump(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
