"""The one training loop, on Lightning Fabric: Algorithm 1 of the paper with EMA weights."""

from __future__ import annotations

import csv
import importlib.metadata
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ..checkpoint.file import Checkpoint, build_model
from ..checkpoint.metadata import Metadata, TrainingRecord
from ..datasets.case import Case
from ..errors import LDSegError
from ..evaluation.overlap import evaluate
from ..model.blocks import CHANNELS_LAST
from ..model.ldseg import LDSeg
from ..model.losses import LossTerms, training_loss
from .data import CaseDataset, EndlessShuffle
from .settings import TrainingSettings


class Progress(NamedTuple):
    """Where a run stands; ``validation_dsc`` is None between validations."""

    update: int
    updates: int
    loss: LossTerms
    seconds_left: float
    validation_dsc: float | None = None


class Objective(nn.Module):
    """The loss as one module, so that Fabric sees every network's gradient."""

    def __init__(self, model: LDSeg, settings: TrainingSettings):
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, image: Tensor, label: Tensor, time: Tensor, noise: Tensor) -> LossTerms:
        """See ``training_loss``; ``label`` is (batch, 1, *size), integer."""
        one_hot = F.one_hot(label[:, 0].long(), self.model.architecture.classes)
        one_hot = one_hot.movedim(-1, 1).float()
        weights = self.settings.gamma, self.settings.lambda_
        return training_loss(self.model, image, one_hot, time, noise, *weights)


def train(
    metadata: Metadata,
    training: Sequence[Case],
    validation: Sequence[Case],
    settings: TrainingSettings,
    *,
    fabric: Fabric | None = None,
    start: Checkpoint | None = None,
    log: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Train the networks that ``metadata`` describes and return them with their EMA weights.

    Parameters
    ----------
    metadata
        The checkpoint to make: networks, classes, grid, intensities.
    settings
        Length, optimiser, loss weights, augmentation.
    training, validation
        Cases to learn from and cases to measure on; measuring uses the EMA weights.
    fabric
        Devices and precision; by default one device with ``settings.precision``.
    start
        A checkpoint of the same architecture to start from.
    log
        A CSV file for the loss terms and the validation DSC.
    on_progress
        Called after every update.

    Raises
    ------
    LDSegError
        If the loss stops being a number, or a case does not fit.
    """
    fabric = fabric or Fabric(devices=1, precision=settings.precision)
    fabric.seed_everything(settings.seed, verbose=False)
    model = build_model(metadata)
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    model.requires_grad_(True)
    model.to(memory_format=CHANNELS_LAST[metadata.architecture.dims])  # type: ignore[call-overload]
    objective = Objective(model, settings)
    optimiser = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: _rate(update, settings))
    wrapped, optimiser = fabric.setup(objective, optimiser)
    average = AveragedModel(model, avg_fn=_ema(settings.ema_decay))
    loader = fabric.setup_dataloaders(_loader(metadata, training, settings))
    history: list[dict[str, float | int]] = []
    started = time.monotonic()
    wrapped.train()
    for update, batch in enumerate(loader, start=1):
        terms = wrapped(**batch)
        fabric.backward(terms.total)
        terms = LossTerms(*(term.detach() for term in terms))
        if not math.isfinite(float(terms.total)):
            raise LDSegError(
                f"The loss stopped being a number after {update} updates; lower the learning rate."
            )
        fabric.clip_gradients(wrapped, optimiser, max_norm=settings.clip_norm)
        optimiser.step()
        optimiser.zero_grad()
        rates.step()
        average.update_parameters(model)
        left = (time.monotonic() - started) / update * (settings.updates - update)
        progress = Progress(update, settings.updates, terms, left)
        last = update >= settings.updates
        if validation and (last or update % settings.validate_every == 0):
            candidate = _checkpoint(metadata, average.module, settings, update)
            dsc = float(np.nanmean(evaluate(candidate, validation, 1, 2, _name(fabric))[:, 0]))
            progress = progress._replace(validation_dsc=dsc)
        history.append(_row(progress))
        if log is not None and fabric.is_global_zero and (last or update % 50 == 0):
            _write_log(log, history)
        on_progress(progress)
        if last:
            break
    return _checkpoint(metadata, average.module, settings, settings.updates, start)


def _loader(metadata: Metadata, cases: Sequence[Case], settings: TrainingSettings) -> DataLoader:
    if not cases:
        raise LDSegError("There are no training cases; add some images with labels.")
    dataset = CaseDataset(metadata, cases, settings.augmentation, settings.seed)
    return DataLoader(
        dataset,
        settings.batch_size,
        sampler=EndlessShuffle(len(cases), settings.seed),
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )


def _rate(update: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to 1 % of the rate."""
    warm = min(1.0, (update + 1) / settings.warmup)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, update / settings.updates))))


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average whose memory grows with the run, up to ``decay``."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return averaged + (1 - now) * (current - averaged)

    return average


def _checkpoint(
    metadata: Metadata,
    model: nn.Module,
    settings: TrainingSettings,
    updates: int,
    start: Checkpoint | None = None,
) -> Checkpoint:
    copy = build_model(metadata)
    copy.load_state_dict(model.state_dict())
    flat = settings.model_dump(mode="json")
    augmentation = flat.pop("augmentation")
    flat |= {f"augmentation.{k}": str(v) for k, v in augmentation.items()}
    record = TrainingRecord(
        **metadata.training.model_dump(exclude={"updates", "settings"}),
        updates=updates + (start.metadata.training.updates if start else 0),
        settings=flat,
    )
    software = {"python": sys.version.split()[0]} | {
        name: importlib.metadata.version(name) for name in ("napari-ldseg", "torch", "monai")
    }
    described = metadata.model_copy(
        update={"training": record, "software": software, "parent": start and start.sha256}
    )
    return Checkpoint(described, copy.eval().requires_grad_(False))


def _name(fabric: Fabric) -> str:
    device = fabric.device
    return device.type if device.index is None else f"{device.type}:{device.index}"


def _row(progress: Progress) -> dict[str, float | int]:
    row: dict[str, float | int] = {"update": progress.update}
    row |= {name: round(float(value), 5) for name, value in progress.loss._asdict().items()}
    if progress.validation_dsc is not None:
        row["validation_dsc"] = round(progress.validation_dsc, 4)
    return row


def _write_log(path: Path, history: list[dict[str, float | int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["update", *LossTerms._fields, "validation_dsc"])
        writer.writeheader()
        writer.writerows(history)
