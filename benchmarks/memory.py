"""Peak memory against the number of samples: python benchmarks/memory.py [model] [scan].

Each N runs in a separate process; prints peak resident memory and its ratio to that of the smallest N.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import time

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.layers.samples import sample_folder


def measure(model: str, scan: str, n: int) -> None:
    """Segment once and print the peak resident memory in MiB and the seconds."""
    from napari_ldseg.checkpoint.file import load_checkpoint
    from napari_ldseg.inference.segment import segment
    from napari_ldseg.scans.files import read_scan

    loaded, image = load_checkpoint(bundled_checkpoints()[model]), read_scan(scan)
    started = time.monotonic()
    posterior = segment(loaded, image, n, device="cpu")
    seconds = time.monotonic() - started
    _ = posterior.labels, posterior.sample_sd, posterior.predictive_sd
    unit = 2**20 if sys.platform == "darwin" else 2**10
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, seconds)


def main() -> None:
    """Compare N = 10, 50 and 200."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mri-phantom")
    parser.add_argument("scan", nargs="?", default=str(sample_folder() / "mri_phantom.nii.gz"))
    parser.add_argument("--measure", type=int)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.model, arguments.scan, arguments.measure)
        return
    print(f"{platform.platform()}, CPU; {arguments.model}; {arguments.scan}")
    first = None
    for n in (10, 50, 200):
        command = [
            sys.executable,
            __file__,
            arguments.model,
            arguments.scan,
            "--measure",
            str(n),
        ]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        peak, seconds = map(float, answer.stdout.split())
        first = first or peak
        print(f"N = {n:3d}: peak {peak:.0f} MiB, ratio {peak / first:.3f}, {seconds:.1f} s")


if __name__ == "__main__":
    main()
