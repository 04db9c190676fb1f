"""The trainings of benchmarks/retina.py: image diffusion, interpreter, plain U-Net; all resumable."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fundus_data import Fundus, Patches
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from napari_ldseg.model.diffdgss.image_unet import ImageUNet
from napari_ldseg.model.diffdgss.model import DiffDGSS
from napari_ldseg.model.losses import segmentation_loss

GAMMA = 1.0
SECONDS_BETWEEN_STATES = 60


def fit(
    trained: nn.Module,
    loss_of: Callable[[int], Tensor],
    updates: int,
    rate: float,
    seed: int,
    state_file: Path,
    decay: float = 0.99,
) -> float:
    """Train ``trained`` in place (EMA weights at the end) and return the CPU seconds it took in all.

    ``loss_of`` returns the loss of an update. The state is kept in ``state_file``; a finished run is
    loaded instead of repeated.
    """
    optimiser = torch.optim.AdamW(trained.parameters(), rate, weight_decay=1e-4)
    average = AveragedModel(trained, avg_fn=lambda a, b, n: _ema(a, b, n, decay))
    done, seconds = 0, 0.0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        done, seconds = state["done"], state["seconds"]
        trained.load_state_dict(state["trained"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    began, written = time.process_time(), time.monotonic()
    mean = 0.0
    for update in range(done + 1, updates + 1):
        torch.manual_seed(1_000_003 * seed + update)
        for group in optimiser.param_groups:
            group["lr"] = rate * _schedule(update, updates)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(update)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update_parameters(trained)
        mean = 0.98 * mean + 0.02 * loss.item() if update > done + 1 else loss.item()
        last = update == updates
        if last or time.monotonic() - written > SECONDS_BETWEEN_STATES:
            written = time.monotonic()
            state = {
                "done": update,
                "seconds": seconds + time.process_time() - began,
                "trained": trained.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
            }
            torch.save(state, state_file.with_suffix(".part"))
            state_file.with_suffix(".part").replace(state_file)
            print(
                f"{state_file.stem} {update}/{updates} loss {mean:.4f} {state['seconds']:.0f} s",
                flush=True,
            )
    trained.load_state_dict(average.module.state_dict())
    return seconds + time.process_time() - began


def train_diffusion(
    model: DiffDGSS,
    cases: list[Fundus],
    updates: int,
    seed: int,
    state: Path,
    patch: int,
    batch: int,
) -> float:
    """Train the image diffusion network on images alone."""
    patches = Patches(cases, patch, batch, seed)

    def loss(update: int) -> Tensor:
        image, _, _ = patches.batch_of(update)
        t = torch.randint(0, model.sizes.schedule_length, (len(image),))
        return model.diffusion_loss(image, t, torch.randn_like(image))

    return fit(model.diffusion, loss, updates, 1e-3, seed, state, 0.995)


def train_interpreter(
    model: DiffDGSS,
    cases: list[Fundus],
    updates: int,
    seed: int,
    state: Path,
    patch: int,
    batch: int,
    frozen: bool = True,
) -> float:
    """Train the expert, each update at one random time, then the weights over times.

    Where the diffusion network is not ``frozen`` it is trained with the expert.
    """
    patches = Patches(cases, patch, batch, seed + 100)
    model.diffusion.requires_grad_(not frozen)
    model.interpreter.train()

    def expert_loss(update: int) -> Tensor:
        image, label, inside = patches.batch_of(update)
        k = int(torch.randint(len(model.sizes.times), (1,)))
        logits = model.logits_at(image, k, _noise(image), frozen)
        return _loss(logits, label, inside, model.sizes.classes)

    trained = model.interpreter.expert if frozen else model
    seconds = fit(trained, expert_loss, updates, 3e-3, seed, state)
    if len(model.sizes.times) > 1:
        model.interpreter.expert.requires_grad_(False).eval()

        def weighting_loss(update: int) -> Tensor:
            image, label, inside = patches.batch_of(updates + update)
            return _loss(model(image, _noise(image)), label, inside, model.sizes.classes)

        weighting = state.with_stem(state.stem + "-weighting")
        seconds += fit(
            model.interpreter.weighting,
            weighting_loss,
            max(updates // 40, 1),
            3e-2,
            seed,
            weighting,
            0.9,
        )
    return seconds


def train_unet(
    network: ImageUNet,
    cases: list[Fundus],
    classes: int,
    updates: int,
    seed: int,
    state: Path,
    patch: int,
    batch: int,
) -> float:
    """Train a plain U-Net on the same patches as the interpreter."""
    patches = Patches(cases, patch, batch, seed + 100)

    def loss(update: int) -> Tensor:
        image, label, inside = patches.batch_of(update)
        return _loss(network(image, torch.zeros(len(image))), label, inside, classes)

    return fit(network, loss, updates, 3e-3, seed, state)


def _loss(logits: Tensor, label: Tensor, inside: Tensor, classes: int) -> Tensor:
    one_hot = F.one_hot(label[:, 0], classes).movedim(-1, 1).float()
    cross_entropy, dice = segmentation_loss(logits, one_hot, inside)
    return classes * cross_entropy + GAMMA * dice


def _noise(image: Tensor) -> Callable[[int], Tensor]:
    return lambda t: torch.randn_like(image)


def _schedule(update: int, updates: int) -> float:
    warm = min(1.0, update / 50)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * update / updates)))


def _ema(averaged: Tensor, current: Tensor, count: Tensor | int, decay: float) -> Tensor:
    now = min(decay, (1 + int(count)) / (10 + int(count)))
    return averaged + (1 - now) * (current - averaged)
