"""Which images does each bundled model's check call unlike its training images? Prints the table of docs/explanation/unlike.md.

python benchmarks/domain_check.py [--most N] [--models NAME ...]

Needs the models' data (LDSEG_DATA, LIDC_READERS) and, there, the folders knee and retina. A volume is given to
a 2D model as its slices, and to a 3D model as a box in its middle of the model's field of view. Colour images are
made grey for a model of grey images. At most N images of a data set are looked at.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from refit_checkpoint import cases_of  # noqa: E402

from napari_ldseg.checkpoint.bundled import bundled_checkpoints  # noqa: E402
from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint  # noqa: E402
from napari_ldseg.errors import LDSegError  # noqa: E402
from napari_ldseg.inference.domain import Finding, look_at  # noqa: E402
from napari_ldseg.inference.region import Region, crop  # noqa: E402
from napari_ldseg.scans.files import read_scan  # noqa: E402
from napari_ldseg.scans.scan import Scan  # noqa: E402
from napari_ldseg.training.measure import evenly_spaced  # noqa: E402

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "rocket")
TEXTURES = ("brick", "clock", "grass", "gravel", "page", "text")
Read = Callable[[], Scan]


def data_sets(most: int) -> Iterator[tuple[str, list[Read]]]:
    """Yield the name of each data set and how to read at most ``most`` of its images."""
    for name in bundled_checkpoints():
        for part, cases in cases_of(name).items():
            if cases and part != "training":
                yield f"{name}, {part}", [case.read_scan for case in evenly_spaced(cases, most)]
    folder = Path(os.environ.get("LDSEG_DATA", ROOT.parent / "shared" / "data"))
    for title, images in (
        ("knee MRI", "knee/images"),
        *((f"fundus, {camera}", f"retina/{camera}/images") for camera in ("drive", "drishti")),
    ):
        files = sorted((folder / images).iterdir())
        yield title, [partial(read_scan, file) for file in files[:most]]
    for title, names in (("photographs", PHOTOGRAPHS), ("textures, text", TEXTURES)):
        yield title, [partial(_sample, name) for name in names]


def _sample(name: str) -> Scan:
    array = np.asarray(getattr(skimage.data, name)())
    return Scan(array[..., :3] if array.ndim == 3 else array, channels=array.ndim == 3)


def distances(checkpoint: Checkpoint, images: Sequence[Read]) -> tuple[list[Finding], float]:
    """Return the findings on the images that the model can be used on, and the seconds per image."""
    found, seconds = [], 0.0
    for read in images:
        scan = _given(checkpoint, read())
        if scan is None:
            continue
        started = time.perf_counter()
        value = look_at(checkpoint, scan)
        seconds += time.perf_counter() - started
        if value is not None:
            found.append(value)
    return found, seconds / max(1, len(found))


def _given(checkpoint: Checkpoint, scan: Scan) -> Scan | None:
    """Return what of ``scan`` the model would be given; None if it cannot be used on it at all."""
    metadata = checkpoint.metadata
    if metadata.architecture.image_channels == 1 and scan.channels:
        scan = replace(scan, array=np.asarray(scan.array)[..., :3].mean(-1), channels=False)
    dims, fov = metadata.architecture.dims, metadata.field_of_view
    if scan.channel_count != metadata.architecture.image_channels or len(scan.shape) < dims:
        return None
    if dims == 2 or fov is None:
        return scan
    # The axes of a box differ little enough to take the largest for all.
    size = [round(max(fov.largest) / s) for s in scan.spacing[-dims:]]
    low = [max(0, (n - m) // 2) for n, m in zip(scan.shape, size, strict=True)]
    high = [min(n, a + m) for n, a, m in zip(scan.shape, low, size, strict=True)]
    return crop(scan, Region(tuple(low), tuple(high)))


def main() -> None:
    """Print the table and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--models", nargs="*", default=list(bundled_checkpoints()))
    arguments = parser.parse_args()
    models = {name: load_checkpoint(bundled_checkpoints()[name]) for name in arguments.models}
    print(f"| images | {' | '.join(models)} |")
    print(f"|---|{'---|' * len(models)}")
    times: dict[str, list[float]] = {name: [] for name in models}
    for title, images in data_sets(arguments.most):
        cells = []
        for name, checkpoint in models.items():
            try:
                found, seconds = distances(checkpoint, images)
            except LDSegError as error:
                cells.append(str(error))
                continue
            if not found:
                cells.append("-")
                continue
            times[name].append(seconds)
            domain = checkpoint.metadata.domain
            assert domain is not None
            flagged = sum(one.unlike is not None for one in found)
            ratio = np.median([one.distance for one in found]) / domain.limit
            cells.append(f"{flagged} of {len(found)} ({ratio:.2f})")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    for name, seconds in times.items():
        print(f"{name}: {np.mean(seconds):.3f} s per image")


if __name__ == "__main__":
    main()
