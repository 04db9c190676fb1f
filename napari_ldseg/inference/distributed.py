"""Processes and devices for training and for segmenting many images, in one or several processes."""

from __future__ import annotations

import datetime
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from ..errors import LDSegError
from ..utils.text import one_line
from .devices import resolve_device, training_precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
LAUNCHERS = ("LOCAL_RANK", "LT_", "RANK", "SLURM_", "TORCHELASTIC_", "WORLD_SIZE")
Value = TypeVar("Value")


class OneProcess(NamedTuple):
    """Fabric's members that segmenting needs, for one process: importing Fabric takes seconds."""

    device: torch.device
    is_global_zero: bool = True
    global_rank: int = 0
    world_size: int = 1

    def broadcast(self, value: Value) -> Value:
        """Return ``value``."""
        return value

    def all_reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        """Return ``tensor``."""
        return tensor


def join_processes(
    accelerator: str = "auto",
    devices: str | None = None,
    nodes: int | None = None,
    timeout: datetime.timedelta = datetime.timedelta(minutes=30),
) -> Fabric | OneProcess:
    """Return what segmenting needs to know of the run's processes; see ``make_fabric``."""
    launched = any(name.startswith(LAUNCHERS) for name in os.environ)
    one = devices in (None, "1") and nodes in (None, 1) and accelerator in ("auto", "cpu")
    if one and not launched:
        return OneProcess(resolve_device(accelerator))
    return make_fabric(accelerator, devices, nodes, timeout=timeout)


def make_fabric(
    accelerator: str = "auto",
    devices: str | None = None,
    nodes: int | None = None,
    precision: str = "32-true",
    timeout: datetime.timedelta = datetime.timedelta(minutes=30),
    parts: bool = False,
) -> Fabric:
    """Return a launched Fabric; this call returns in every process of the run.

    Under torchrun, ``fabric run`` or SLURM's srun the processes already exist; with several ``devices``
    on one machine this call starts the others by running the same command line again. Call it once,
    before any work and before anything is written.

    Parameters
    ----------
    accelerator
        ``"auto"``, ``"cpu"``, ``"gpu"``, ``"cuda"`` or ``"mps"``.
    devices
        Per node: a number, ``"auto"`` for all GPUs, or a list of GPUs as in ``"0,2"``; on the CPU the
        number of processes. None takes as many as the launcher started, or one.
    nodes
        Machines; None takes as many as the launcher uses, or one.
    precision
        A precision of Lightning Fabric, or "auto", see ``training_precision``.
    timeout
        How long one process waits for another before it fails.
    parts
        Whether an update of a training may use a part of the networks only.

    Raises
    ------
    LDSegError
        If this machine lacks the accelerator or the devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    launched_devices, launched_nodes = _launched()
    devices = devices or launched_devices or "1"
    nodes = (launched_nodes or 1) if nodes is None else nodes
    if accelerator not in ACCELERATORS:
        raise LDSegError(
            f"{accelerator!r} is not an accelerator; choose one of {', '.join(ACCELERATORS)}."
        )
    if nodes < 1:
        raise LDSegError(f"The number of nodes must be at least 1, not {nodes}.")
    if not (devices == "auto" or _numbers(devices)):
        raise LDSegError(
            f"{devices!r} is not valid for --devices; give a number, 'auto', or GPUs such as 0,2."
        )
    _check_gpus(accelerator, devices)
    one_gpu_at_most = devices == "auto" and torch.cuda.device_count() < 2
    kind = (
        resolve_device()
        if accelerator == "auto"
        else torch.device(accelerator.replace("gpu", "cuda"))
    )
    single_process = nodes == 1 and (devices == "1" or one_gpu_at_most)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=training_precision(precision, kind),  # type: ignore[arg-type]
            strategy="auto"
            if single_process
            else DDPStrategy(timeout=timeout, find_unused_parameters=parts),
        )
        if not os.environ.get("LT_CLI_USED"):
            fabric.launch()
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        reason = one_line(error, 250).rstrip(".")
        raise LDSegError(
            f"The run cannot start with --devices {devices} and --nodes {nodes}: {reason}."
        ) from error
    return fabric


def device_name(fabric: Fabric | OneProcess) -> str:
    """Return the name of this process's device for ``inference.devices.resolve_device``."""
    device = fabric.device
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


def _launched() -> tuple[str | None, int | None]:
    """Return the devices per node and the nodes that torchrun, ``fabric run`` or srun started."""
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return str(local), int(os.environ["WORLD_SIZE"]) // local
    if SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", 1))
        tasks = os.environ.get("SLURM_NTASKS_PER_NODE")
        return tasks or str(max(1, int(os.environ.get("SLURM_NTASKS", 1)) // nodes)), nodes
    return None, None


def _numbers(devices: str) -> list[int]:
    """Return the numbers of ``"2"`` or ``"0,2"``; empty if it is neither."""
    parts = [part.strip() for part in devices.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal()]
    return numbers if len(numbers) == len(parts) and numbers != [0] else []


def _check_gpus(accelerator: str, devices: str) -> None:
    """Raise LDSegError if the run needs GPUs that this machine does not have."""
    gpus, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if accelerator in ("gpu", "cuda", "mps") and not (mps if accelerator == "mps" else gpus or mps):
        raise LDSegError(
            "This machine has no GPU that torch can use; omit --accelerator or set it to cpu."
        )
    listed = "," in devices  # indices from 0 instead of a number
    needed = 0 if devices == "auto" else max(_numbers(devices)) + listed
    if accelerator == "cpu" or (accelerator == "auto" and not gpus and not mps):
        if listed:
            raise LDSegError(f"--devices {devices} lists GPUs, but this run uses the CPU.")
        return
    # Under torchrun and srun each process may see only its own GPU.
    if needed > max(gpus, int(mps)) and _launched() == (None, None):
        raise LDSegError(
            f"--devices {devices} needs more GPUs than the {max(gpus, int(mps))} of this machine; give "
            "fewer, or add --accelerator cpu."
        )
