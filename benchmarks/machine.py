"""The machine, its load and a timer for the other benchmarks."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

from napari_ldseg.evaluation.machine import processor_name


def describe(**settings) -> str:
    """Return the processor, the threads, the versions and ``settings`` in one line."""
    processor = processor_name()
    if torch.cuda.is_available():
        processor += f", {torch.cuda.get_device_name()}"
    text = "".join(f", {name} {value}" for name, value in settings.items())
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}{text}"
    )


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux ru_maxrss is at least that of the process that started this one
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def seconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the shortest of ``repeats`` durations of ``call``, and the cores used by other processes.

    A duration measured while others were busy is too long: measure it again. With one thread it is CPU
    time, without the time of waiting for a core.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    durations = []
    busy, own, started = _busy(), time.process_time(), time.perf_counter()
    for _ in range(repeats):
        now = clock()
        call()
        durations.append(clock() - now)
    total = time.perf_counter() - started
    others = (_busy() - busy - (time.process_time() - own)) / total
    return min(durations), max(0.0, others)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _busy() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
