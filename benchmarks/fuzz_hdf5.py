"""Fuzz the HDF5 reader: python benchmarks/fuzz_hdf5.py FILE [--count 3000].

Each mutation (bit flips, truncation, overwritten bytes, swapped blocks) is read in a forked process with
the limits of the reader. Prints the outcomes, the longest time and the largest growth of memory. Needs
fork and /proc (Linux).
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from napari_ldseg.checkpoint import hdf5_reader

HANG_SECONDS = 60


def mutate(data: bytes, seed: int) -> bytes:
    """Return ``data`` damaged in one of four ways."""
    rng = random.Random(seed)
    damaged = bytearray(data)
    kind = seed % 4
    if kind == 0:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        return bytes(damaged[: rng.randrange(len(damaged))])
    elif kind == 2:
        for _ in range(rng.choice((1, 4))):
            start, length = rng.randrange(len(damaged)), rng.choice((1, 2, 4, 8))
            filler = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x01")) * length
            damaged[start : start + length] = filler[: len(damaged) - start]
    else:
        size = rng.choice((8, 64, 512))
        a, b = (rng.randrange(len(damaged) - size) for _ in range(2))
        damaged[a : a + size], damaged[b : b + size] = damaged[b : b + size], damaged[a : a + size]
    return bytes(damaged)


def read_in_fork(path: str) -> tuple[str, float, int]:
    """Return (outcome, seconds, peak memory in KiB) of reading ``path``."""
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        for descriptor in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        signal.alarm(HANG_SECONDS)
        out = io.BytesIO()
        hdf5_reader.main(path, out)
        os._exit(3 if b'"error"' in out.getvalue()[:4096] else 0)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - started
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        end = "hung" if number == signal.SIGALRM else f"crashed ({signal.Signals(number).name})"
    else:
        end = {0: "read", 3: "refused"}.get(os.WEXITSTATUS(status), "failed")
    return end, seconds, usage.ru_maxrss


def main() -> None:
    """Fuzz one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = arguments.file.read_bytes()
    print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, numpy {np.__version__}")
    _, _, plain = read_in_fork(str(arguments.file))
    ends: Counter[str] = Counter()
    slowest, largest = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "fuzzed.hdf5"
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            target.write_bytes(mutate(data, seed))
            end, seconds, peak = read_in_fork(str(target))
            ends[end] += 1
            slowest, largest = max(slowest, seconds), max(largest, peak)
            if end not in ("read", "refused"):
                print(f"seed {seed}: {end}, {seconds:.1f} s", flush=True)
    print(f"{arguments.count} mutations of {arguments.file.name} ({len(data)} bytes):", dict(ends))
    print(
        f"longest {slowest:.2f} s; memory at most {(largest - plain) / 1024:.1f} MiB over a plain read"
    )


if __name__ == "__main__":
    main()
