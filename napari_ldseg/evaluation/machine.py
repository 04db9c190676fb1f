"""The machine that times are measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from ..inference.devices import resolve_device


def describe_machine(device: str = "auto") -> dict[str, str | int]:
    """Return device, processor, cores, threads and versions, ready for JSON."""
    resolved = resolve_device(device)
    names = {
        "cuda": lambda: torch.cuda.get_device_name(resolved),
        "mps": lambda: "Apple GPU",
        "cpu": processor_name,
    }
    return {
        "device": str(resolved),
        "device_name": names[resolved.type](),
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor_name() -> str:
    """Return the processor's model name, as far as the system provides it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
