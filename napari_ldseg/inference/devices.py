"""Which device to compute on."""

from __future__ import annotations

import torch

from ..errors import LDSegError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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


def choose_precision(device: torch.device, voxels: int, name: str = "auto") -> str:
    """Return the precision called ``name``, a key of ``PRECISIONS``.

    ``"auto"`` is bfloat16 on a processor with instructions for it where the networks' grid has at
    least 2^16 ``voxels``, otherwise float32: a smaller image is done in no time anyway.

    Raises
    ------
    LDSegError
        If there is no such precision, or not on ``device``.
    """
    if name == "auto":
        pays = device.type == "cpu" and voxels >= 2**16 and computes_bfloat16(device)
        return "bfloat16" if pays else "float32"
    if name not in PRECISIONS:
        raise LDSegError(f"There is no precision {name!r}; choose auto, {' or '.join(PRECISIONS)}.")
    if name != "float32" and device.type != "cpu":
        raise LDSegError(f"The precision {name} is for the CPU; choose float32 on {device}.")
    return name


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is fast on ``device``; without instructions for it a CPU is 20 times slower."""
    if device.type != "cpu":
        return True
    # Older versions of torch cannot tell.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
