"""Seconds and peak memory of one 768 x 768 photograph with each of the retina's methods.

python benchmarks/retina_time.py [METHOD ...]

Wall-clock seconds, the median of five after one to warm up, with all cores or OMP_NUM_THREADS of them; the process's peak
memory. Each method in a process of its own, with new weights, which cost the same. ``retina-vessels`` is the
bundled model as the plugin runs it: its label map, the mean over eight ways to mirror and turn, and ten samples.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import machine
import numpy as np
import torch
from fundus_data import SIZE
from retina import METHODS, SIZES

from napari_ldseg import load_checkpoint, segment
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.model.diffdgss.image_unet import ImageUNet
from napari_ldseg.model.diffdgss.model import DiffDGSS

BUNDLED = "retina-vessels"
RUNS = 5


def work_of(method: str) -> Callable[[], object]:
    """Return what segments one photograph."""
    if method == BUNDLED:
        checkpoint = load_checkpoint(find_checkpoint(BUNDLED))
        photograph = np.zeros((SIZE, SIZE, 3), np.uint8)
        y, x = np.indices((SIZE, SIZE)) - SIZE / 2
        photograph[y**2 + x**2 < (0.48 * SIZE) ** 2] = 180, 90, 40
        photograph[::7, ::5] //= 2
        return lambda: segment(checkpoint, photograph, 10)
    image = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    if METHODS[method] is None:
        network = ImageUNet(SIZES, 2).eval()
        return lambda: network(image, torch.zeros(1))
    built = DiffDGSS(replace(SIZES, **METHODS[method])).eval()
    return lambda: built(image, lambda t: torch.randn(image.shape))


def time_one(method: str) -> None:
    """Print the line of one method."""
    work, seconds = work_of(method), []
    with torch.no_grad():
        for _ in range(RUNS + 1):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
    print(f"| {method} | {statistics.median(seconds[1:]):.2f} | {machine.peak_mib():.0f} |")


def main() -> None:
    """Time the methods, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["anchored", "chained", "single-time", "no-frequency", "unet", BUNDLED]
    parser.add_argument("methods", nargs="*", default=names)
    methods = parser.parse_args().methods
    if len(methods) == 1:
        time_one(methods[0])
        return
    print(f"{machine.describe()}\n\n| method | seconds | MiB |\n| --- | --- | --- |", flush=True)
    for method in methods:
        subprocess.run([sys.executable, __file__, method], check=True)


if __name__ == "__main__":
    main()
