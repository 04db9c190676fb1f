"""Kill the journal's writer at random times and check what is left.

A child process paints disjoint dabs into a volume at the speed of a user and prints the time of each.
The parent kills it with SIGKILL after a random time, replays the journal from the disk, and checks that
it is a prefix of the dabs and that no dab is missing that was painted more than a second before the kill.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SHAPE = (32, 96, 96)
DAB = 60
DABS_PER_SECOND = 80
ALLOWED_LOSS = 1.0
PARALLEL = 2


def places() -> np.ndarray:
    """Return the flat indices of the dabs' voxels (dabs, DAB), each voxel in one dab only."""
    order = np.random.default_rng(0).permutation(np.prod(SHAPE) // DAB)
    return order[:, None] * DAB + np.arange(DAB)


def child(folder: Path) -> None:
    """Paint until killed."""
    from napari_ldseg.checkpoint.metadata import ClassInfo
    from napari_ldseg.project.case import Masks
    from napari_ldseg.project.folder import Project
    from napari_ldseg.project.recorder import Recorder
    from napari_ldseg.scans.scan import Scan

    project = Project(folder, create=True)
    array = np.zeros(SHAPE, np.uint8)
    masks = Masks.untouched(array.copy())
    scan = Scan(np.random.default_rng(1).integers(0, 999, SHAPE).astype(np.int16), name="scan")
    classes = [ClassInfo(name=n, colour="#ff0000") for n in ("background", "organ")]
    recorder = Recorder(
        "scan", array, masks, scan, lambda: project.add_case("scan", scan, None, classes, masks)
    )
    flat = array.reshape(-1)
    print("ready", flush=True)
    for dab, voxels in enumerate(places()):
        flat[voxels] = 1
        recorder.touch(array, painted=True)
        print(dab, time.time(), flush=True)
        if dab % 100 == 99:
            recorder.save()
        time.sleep(1 / DABS_PER_SECOND)


def kill_once(folder: Path, seconds: float) -> tuple[float, int]:
    """Return the seconds of lost dabs and the number of painted dabs. Raises AssertionError."""
    from napari_ldseg.project.folder import Project

    command = [sys.executable, __file__, "--child", "--folder", str(folder)]
    log = folder.with_suffix(".txt")
    with open(log, "w") as output:
        process = subprocess.Popen(command, stdout=output)
        while "ready" not in log.read_text():
            time.sleep(0.01)
        time.sleep(seconds)
        killed = time.time()
        process.kill()
        process.wait()
    whole = log.read_text().split("\n")[1:-1]  # the kill may cut the last line
    times = [float(line.split()[1]) for line in whole]
    project = Project(folder)
    cases = project.cases()
    kept = 0
    if cases:
        masks = cases[0].load()
        if not np.array_equal(masks.label != 0, masks.edited):
            raise AssertionError("the edited mask does not match the label")
        present = masks.label.reshape(-1)[places()]
        kept = int(present[:, 0].sum())
        if not (present[:kept] == 1).all() or present[kept:].any():
            raise AssertionError("the remaining dabs are not a prefix of the painted ones")
    project.close()
    lost = killed - times[kept] if kept < len(times) else 0.0
    if lost > ALLOWED_LOSS:
        raise AssertionError(f"{lost:.2f} s of dabs are lost")
    return lost, len(times)


def main() -> int:
    """Kill, check, and print the losses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.folder)
        return 0
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    draw = random.Random(arguments.seed)

    def attempt(number: int, seconds: float) -> tuple[float, int] | None:
        folder = root / f"kill-{number}"
        try:
            outcome = kill_once(folder, seconds)
        except Exception as error:
            print(f"kill {number}: {error}; its folder is {folder}", flush=True)
            return None
        shutil.rmtree(folder)
        return outcome

    moments = [draw.uniform(0, arguments.longest) for _ in range(arguments.kills)]
    with ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = [o for o in pool.map(attempt, range(arguments.kills), moments) if o is not None]
    losses, dabs, survived = [o[0] for o in outcomes], sum(o[1] for o in outcomes), len(outcomes)
    print(f"{survived} of {arguments.kills} kills left a valid prefix; {dabs} dabs were painted")
    if losses:
        print(f"lost painting: median {np.median(losses):.2f} s, most {max(losses):.2f} s")
    return 0 if survived == arguments.kills else 1


if __name__ == "__main__":
    raise SystemExit(main())
