"""Fuzz everything that reads files of others: python benchmarks/fuzz.py [--kind images] [--count 5000].

Ten kinds of input: NIfTI and 2D image files, DICOM, NRRD, MetaImage and OME-Zarr, project folders, their journals, configurations with
everything that is exchanged (YAML, dataset.json, splits, CSV, the JSON of runs and batches), checkpoints, and the
HDF5 files of Keras. Small valid ones are damaged: bits flipped, parts cut, inserted, moved or spliced, fields of
headers and JSON set to what nobody expects, links and names that lead outside.

An input passes if it is read, or refused with an LDSegError of one line under 300 characters that names a
file; if nothing outside its folder changes, no library warns of garbage, and time and memory stay within limits.
Inputs are read in a process of their own, so that a crash or a hang is known by its index. An input depends on its
kind, seed and index alone: ``--only INDEX`` repeats it. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CLINICAL = ("dicom", "nrrd", "metaimage", "zarr")
KINDS = ("images", *CLINICAL, "projects", "journals", "configurations", "checkpoints", "hdf5")
SECONDS, MIB = 20, 512


class Result(NamedTuple):
    """What came of one input; ``outcome`` is accepted, refused or the failure."""

    outcome: str
    seconds: float
    mib: float

    @property
    def passed(self) -> bool:
        """Whether the input was read or refused as it should be."""
        return self.outcome in ("accepted", "refused")


class Worker:
    """A process that reads inputs, started again after each that ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def read(self, kind: str, seed: int, index: int) -> Result:
        """Return the result of one input."""
        process = self._process or self._start()
        try:
            process.stdin.write(json.dumps([kind, seed, index]) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._ended(crashed=True)
        # The first input of a kind waits for imports.
        ready, _, _ = select.select([process.stdout], [], [], 3 * SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line:
            return self._ended(crashed=bool(ready))
        result = Result(*json.loads(line))
        if result.passed and result.seconds > SECONDS:
            return result._replace(outcome=f"took {result.seconds:.0f} s")
        if result.passed and result.mib > MIB:
            return result._replace(outcome=f"needed {result.mib:.0f} MiB")
        return result

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.stdin.close()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

    def _start(self) -> subprocess.Popen:
        paths = (str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", ""))
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self._process

    def _ended(self, crashed: bool) -> Result:
        process, self._process = self._process, None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
        if not crashed:
            return Result("hung", 3.0 * SECONDS, 0.0)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Result(f"crashed ({name})", 0.0, 0.0)


class Summary(NamedTuple):
    """One row of the table."""

    kind: str
    count: int
    accepted: int
    refused: int
    failures: int
    seconds: float
    mib: float


def fuzz(kind: str, indices: range, seed: int, worker: Worker, report=print) -> Summary:
    """Read the inputs ``indices`` of ``kind``; ``report`` takes a line for each failure."""
    ends: Counter[str] = Counter()
    longest = most = 0.0
    for index in indices:
        result = worker.read(kind, seed, index)
        ends[result.outcome if result.passed else "failed"] += 1
        longest, most = max(longest, result.seconds), max(most, result.mib)
        if not result.passed:
            report(f"{kind} --seed {seed} --only {index}: {result.outcome}")
    counts = (ends["accepted"], ends["refused"], ends["failed"])
    return Summary(kind, len(indices), *counts, longest, most)


def main() -> None:
    """Fuzz the chosen kinds and print the table; exit with 1 after a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--kind", action="append", choices=KINDS, help="may be repeated; default all"
    )
    parser.add_argument("--count", type=int, default=5000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="INDEX", help="repeat this one input")
    arguments = parser.parse_args()
    only = arguments.only
    indices = range(arguments.count) if only is None else range(only, only + 1)
    rows, started = [], time.monotonic()
    for kind in arguments.kind or KINDS:
        worker = Worker()  # the HDF5 reader is forked, which takes longer where torch is loaded
        rows.append(fuzz(kind, indices, arguments.seed, worker, lambda t: print(t, flush=True)))
        worker.close()
        print(f"{rows[-1]}, {time.monotonic() - started:.0f} s so far", file=sys.stderr, flush=True)
    from machine import table

    from napari_ldseg.evaluation.machine import processor_name

    heads = ("kind", "inputs", "accepted", "refused", "failures", "longest, s", "memory, MiB")
    print(table(heads, [(*row[:5], f"{row.seconds:.2f}", f"{row.mib:.0f}") for row in rows]))
    print(
        f"\n{processor_name()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, seed {arguments.seed}"
    )
    sys.exit(any(row.failures for row in rows))


if __name__ == "__main__":
    main()
