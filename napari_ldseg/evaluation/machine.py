"""What a figure in seconds was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from ..inference.devices import choose_device


def describe_machine(device: str = "auto") -> dict[str, str | int]:
    """Return device, processor, cores, threads and versions, ready for JSON."""
    chosen = choose_device(device)
    names = {
        "cuda": lambda: torch.cuda.get_device_name(chosen),
        "mps": lambda: "Apple GPU",
        "cpu": _processor,
    }
    return {
        "device": str(chosen),
        "device_name": names[chosen.type](),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
