"""The devices and precisions that this machine can compute with."""

from __future__ import annotations

import torch

from ..errors import LDSegError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def available_devices() -> list[str]:
    """Return torch device names, the fastest first and ``"cpu"`` last."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``"auto"`` is the fastest available one.

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


def supports_float64(device: torch.device) -> bool:
    """Return whether ``device`` supports float64 (Apple's MPS does not)."""
    return device.type != "mps"


def resolve_precision(device: torch.device, voxels: int, name: str = "auto") -> str:
    """Return the precision called ``name``, a key of ``PRECISIONS``.

    ``"auto"`` is bfloat16 on a CPU with instructions for it if the networks' grid has at least 2^16
    ``voxels``, otherwise float32: smaller images gain nothing.

    Raises
    ------
    LDSegError
        If there is no such precision, or not on ``device``.
    """
    if name == "auto":
        faster = device.type == "cpu" and voxels >= 2**16 and has_fast_bfloat16(device)
        return "bfloat16" if faster else "float32"
    if name not in PRECISIONS:
        raise LDSegError(f"There is no precision {name!r}; choose auto, {' or '.join(PRECISIONS)}.")
    if name != "float32" and device.type != "cpu":
        raise LDSegError(f"The precision {name} is for the CPU; choose float32 on {device}.")
    return name


def training_precision(name: str, device: torch.device) -> str:
    """Return the precision of Lightning Fabric called ``name``; "auto" is the fastest that trains well."""
    if name != "auto":
        return name
    return "bf16-mixed" if has_fast_bfloat16(device) else "32-true"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bfloat16 is fast on ``device``; a CPU that emulates it is 20 times slower."""
    if device.type != "cpu":
        return True
    # Older versions of torch lack this function.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
