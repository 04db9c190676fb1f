"""Which device to compute on."""

from __future__ import annotations

import torch

from ..errors import LDSegError


def available_devices() -> list[str]:
    """Return torch device names, the fastest first; ``"cpu"`` is always the last."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``"auto"`` takes the fastest there is.

    Raises
    ------
    LDSegError
        If this machine has no such device.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    if name == "cuda" and devices[0].startswith("cuda"):
        return torch.device("cuda:0")
    if name not in devices:
        raise LDSegError(
            f"This machine has no device {name!r}; choose one of {', '.join(devices)}."
        )
    return torch.device(name)


def is_float64(device: torch.device) -> bool:
    """Return whether ``device`` computes in float64 (Apple's MPS does not)."""
    return device.type != "mps"
