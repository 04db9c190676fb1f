"""Kill napari in a real window during a stroke, start it again, and click Restore.

The first process paints with the mouse on the canvas without releasing the button, and prints the number
of painted voxels after each movement. It is killed with SIGKILL after a random time. The second process
opens the window, waits for the offer to restore, clicks it, and counts the painted voxels.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE = (24, 300, 300)
EVENTS_PER_SECOND = 60
ALLOWED_LOSS = 1.0


def window(folder: Path):
    """Return a napari viewer in a window with the Project widget, with its files in ``folder``."""
    import napari
    from qtpy.QtCore import QSettings

    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(folder / "settings"))
    QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(folder / "project"))
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1000, 800)
    _, panel = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Project")
    return viewer, panel


def paint(folder: Path) -> None:
    """Paint until killed."""
    import napari
    from napari.layers import Labels
    from qtpy.QtCore import QEvent, QPointF, Qt, QTimer
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_ldseg.checkpoint.metadata import ClassInfo
    from napari_ldseg.widgets.project.state import project_of

    viewer, _ = window(folder)
    image = viewer.add_image(np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16))
    labels = Labels(np.zeros(SHAPE, np.uint8), name="labels")
    classes = [ClassInfo(name=n, colour="#ff0000") for n in ("background", "organ")]
    project_of(viewer).labels.track(labels, image, classes, np.zeros(SHAPE, np.uint8))
    viewer.add_layer(labels)
    labels.mode, labels.selected_label, labels.brush_size = "paint", 1, 6
    native = viewer.window._qt_viewer.canvas.native
    steps = iter(range(10**6))

    def place() -> QPointF:
        step = next(steps)
        angle, radius = step * 0.13, 40 + step * 0.15
        centre = native.rect().center()
        return QPointF(centre.x() + radius * np.cos(angle), centre.y() + radius * np.sin(angle))

    def move() -> None:
        where = place()
        held = Qt.MouseButton.LeftButton
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            where,
            native.mapToGlobal(where),
            Qt.MouseButton.NoButton,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(native, event)
        print(time.time(), np.count_nonzero(labels.data), flush=True)

    def press() -> None:
        QTest.mousePress(
            native,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            place().toPoint(),
        )
        timer.start(1000 // EVENTS_PER_SECOND)

    timer = QTimer()
    timer.timeout.connect(move)
    QTimer.singleShot(1000, press)
    napari.run()


def restore(folder: Path) -> None:
    """Click Restore and print the number of restored voxels."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    viewer, panel = window(folder)
    deadline = time.monotonic() + 10
    while len(viewer.layers) < 2 and time.monotonic() < deadline:
        QApplication.processEvents()
        if panel.project_notice.isVisible():
            QTest.mouseClick(panel.project_notice.first, Qt.MouseButton.LeftButton)
        time.sleep(0.02)
    painted = np.count_nonzero(viewer.layers[-1].data) if len(viewer.layers) == 2 else -1
    print(f"restored {painted}", flush=True)
    viewer.close()
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.02)


def kill_once(folder: Path, seconds: float) -> float:
    """Return the seconds of lost painting. Raises AssertionError."""
    folder.mkdir()
    command = [sys.executable, __file__, "--folder", str(folder), "--child"]
    log = folder / "painted.txt"
    with open(log, "w") as output:
        process = subprocess.Popen([*command, "paint"], stdout=output)
        deadline = time.monotonic() + 60
        while not log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        killed = time.time()
        process.kill()
        process.wait()
    lines = [line.split() for line in log.read_text().splitlines()[:-1]]
    times, counts = np.array(lines, float).T
    answer = subprocess.run([*command, "restore"], capture_output=True, text=True, timeout=60)
    if "restored" not in answer.stdout:
        raise AssertionError(answer.stderr[-2000:])
    restored = int(answer.stdout.split("restored")[1])
    later = times[counts > restored]
    lost = killed - later[0] if len(later) else 0.0
    print(f"  {counts[-1]:.0f} voxels painted, {restored} restored, {lost:.2f} s lost", flush=True)
    if restored < 0 or lost > ALLOWED_LOSS:
        raise AssertionError(f"{restored} voxels were restored; {lost:.2f} s are lost")
    return lost


def main() -> int:
    """Kill, restore, and print the losses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--longest", type=float, default=5.0, help="seconds of painting, at most")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=["paint", "restore"])
    arguments = parser.parse_args()
    if arguments.child:
        {"paint": paint, "restore": restore}[arguments.child](arguments.folder)
        return 0
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    draw = random.Random(arguments.seed)
    losses = []
    for number in range(arguments.kills):
        try:
            losses.append(kill_once(root / str(number), draw.uniform(0.3, arguments.longest)))
        except AssertionError as error:
            print(f"kill {number}: {error}; its folder is {root / str(number)}", flush=True)
    print(
        f"{len(losses)} of {arguments.kills} killed windows were restored within {ALLOWED_LOSS} s"
    )
    if len(losses) == arguments.kills:
        shutil.rmtree(root)
        return 0
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
