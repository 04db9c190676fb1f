"""The cost of the journal on a 256 x 256 x 128 volume.

Strokes of 30 brush dabs of 21 voxels in diameter, painted at 60 dabs per second on one slice. Prints the
time in the GUI thread per dab, the delay until a stroke's last dab is on the disk, the thread's time per
comparison of the volume, the bytes per stroke, and the time to write label and masks.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.project.recorder import Recorder
from napari_ldseg.scans.scan import Scan

SHAPE = (128, 256, 256)
STROKES, DABS, RADIUS = 20, 30, 10


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    array = np.zeros(SHAPE, np.uint8)
    array[40:90, 60:200, 60:200] = 1
    scan = Scan(rng.integers(0, 2000, SHAPE).astype(np.int16), name="volume")
    masks = Masks.untouched(array.copy())
    classes = [ClassInfo(name=str(i), colour="#ff0000") for i in range(4)]
    disc = np.hypot(*np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]) <= RADIUS
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project", create=True)
        recorder = Recorder(
            "volume", array, masks, scan, lambda: project.add_case("v", scan, None, classes, masks)
        )
        touches, delays, sizes, firsts = [], [], [], []
        for stroke in range(STROKES):
            z, y, x = rng.integers(30, 90), rng.integers(20, 60), rng.integers(20, 200)
            before = recorder._size
            for dab in range(DABS):
                view = array[z, y + 5 * dab - RADIUS + 10 : y + 5 * dab + RADIUS + 11]
                view = view[:, x - RADIUS : x + RADIUS + 1]
                view[disc[: view.shape[0]]] = 2 + stroke % 2
                began = time.perf_counter()
                recorder.touch(array, painted=True)
                touches.append(time.perf_counter() - began)
                time.sleep(1 / 60)
            began = time.perf_counter()
            while not np.array_equal(recorder._seen, array) or recorder._pending:
                time.sleep(0.002)
            (firsts if stroke == 0 else delays).append(time.perf_counter() - began)
            if stroke:
                sizes.append(recorder._size - before)
        looks = []
        for _ in range(10):
            began = time.perf_counter()
            with recorder._state:
                recorder._record_changes()
            looks.append(time.perf_counter() - began)
        began = time.perf_counter()
        recorder.save()
        recorder.flush()
        saved = time.perf_counter() - began
        recorder.close()
        project.close()
    shape = " x ".join(map(str, SHAPE))
    print(f"volume {shape}, {STROKES} strokes of {DABS} dabs")
    print(
        f"GUI thread per dab: median {1e6 * np.median(touches):.0f} us, most {1e3 * max(touches):.2f} ms"
    )
    print(f"comparison of the volume (thread): median {1e3 * np.median(looks):.1f} ms")
    print(
        f"first stroke on the disk, with case and image copy: {firsts[0]:.2f} s after its last dab"
    )
    print(f"later strokes on the disk: median {np.median(delays):.2f} s, most {max(delays):.2f} s")
    print(f"journal per stroke: median {np.median(sizes):.0f} bytes, most {max(sizes)} bytes")
    print(f"label and masks written: {saved:.2f} s")


if __name__ == "__main__":
    main()
