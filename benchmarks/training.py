"""Training speed at the paper's sizes: python benchmarks/training.py [preset ...] [--updates 3].

Trains each preset (default glas, echo, knee and their fast versions) on random images for a few updates,
in a separate process, and prints images per second, peak memory, and the time of each part of an update.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch
from lightning_fabric import Fabric
from machine import describe, peak_mib, table

from napari_ldseg.model.blocks import CHANNELS_LAST
from napari_ldseg.model.ldseg import LDSeg
from napari_ldseg.model.losses import segmentation_loss
from napari_ldseg.model.presets import PRESETS
from napari_ldseg.training.loop import Objective
from napari_ldseg.training.settings import TrainingSettings


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Train in this process; print images per second, peak GiB, and seconds of each part of an update."""
    preset = PRESETS[name]
    arch, size, batch = preset.architecture, preset.size, arguments.batch
    fabric = Fabric(accelerator=arguments.device, devices=1, precision=arguments.precision)
    torch.manual_seed(0)
    model = LDSeg(arch)
    model.to(memory_format=CHANNELS_LAST[arch.dims])  # type: ignore[call-overload]
    objective = Objective(model, TrainingSettings())
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    wrapped, optimiser = fabric.setup(objective, optimiser)
    image = torch.rand(batch, arch.image_channels, *size, device=fabric.device)
    label = torch.randint(arch.classes, (batch, 1, *size), device=fabric.device)
    noise = torch.randn(batch, *arch.latent_shape(size), device=fabric.device)
    times = torch.full((batch,), 500, device=fabric.device)
    one_hot = torch.nn.functional.one_hot(label[:, 0], arch.classes).movedim(-1, 1).float()

    def part(call) -> float:
        wait()
        started = time.perf_counter()
        result = call()
        fabric.backward(result.float().mean())
        wait()
        optimiser.zero_grad()
        return time.perf_counter() - started

    def wait() -> None:
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    def update() -> None:
        terms = wrapped(image, label, times, noise)
        fabric.backward(terms.total)
        fabric.clip_gradients(wrapped, optimiser, max_norm=1.0)
        optimiser.step()
        optimiser.zero_grad()

    update()
    wait()
    started = time.perf_counter()
    for _ in range(arguments.updates):
        update()
    wait()
    seconds = (time.perf_counter() - started) / arguments.updates
    peak = peak_mib() / 1024
    if fabric.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    with fabric.autocast():
        z_i = model.encode_image(image).detach()
        parts = [
            part(lambda: model.encode_label(one_hot)),
            part(lambda: model.encode_image(image)),
            part(lambda: model.denoiser(noise, z_i, times)),
            part(lambda: sum(segmentation_loss(model.decode(noise, size), one_hot))),
        ]
    totals = [f"{batch / seconds:.3f}", f"{peak:.2f}", f"{seconds:.2f}"]
    print(*totals, *(f"{p:.2f}" for p in parts))


def main() -> None:
    """Print one table over the presets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--here", action="store_true", help="measure one preset in this process")
    arguments = parser.parse_args()
    if arguments.here:
        measure(arguments.presets[0], arguments)
        return
    settings = {"batch": arguments.batch, "precision": arguments.precision}
    print(describe(device=arguments.device, **settings), flush=True)
    rows = []
    for name in arguments.presets:
        command = [sys.executable, __file__, name, "--here"]
        for option in ("updates", "batch", "device", "precision"):
            command += [f"--{option}", str(getattr(arguments, option))]
        answer = subprocess.run(command, capture_output=True, text=True)
        values = answer.stdout.split()[-7:] if answer.returncode == 0 else ["failed"] + [""] * 6
        size = " x ".join(map(str, PRESETS[name].size))
        rows.append([name, size, *values])
    heads = ["preset", "size", "images/s", "peak GiB", "update s"]
    parts = ["label encoder s", "image encoder s", "denoiser s", "decoder and loss s"]
    print(table([*heads, *parts], rows))


if __name__ == "__main__":
    main()
