"""The one training loop, on Lightning Fabric: Algorithm 1 of the paper with EMA weights."""

from __future__ import annotations

import importlib.metadata
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ..checkpoint.file import Checkpoint, build_model
from ..checkpoint.inherit import inherit
from ..checkpoint.metadata import Metadata, TrainingRecord
from ..datasets.case import Case
from ..errors import LDSegError
from ..evaluation.overlap import evaluate
from ..inference.devices import resolve_device, training_precision
from ..inference.distributed import device_name
from ..model.base import SegmentationModel
from ..model.blocks import CHANNELS_LAST
from ..model.diffdgss.losses import diffdgss_loss, stage_of
from ..model.diffdgss.model import DiffDGSS
from ..model.ldseg import LDSeg
from ..model.losses import (
    LossTerms,
    autoencoder_loss,
    deterministic_loss,
    diffusion_loss,
    training_loss,
)
from ..model.unet import UNet
from .data import CaseDataset, ErrorsAsItems, JointBatches, collate
from .log import Progress, RunLog
from .precision import correct_convolutions
from .run_folder import STATE, TrainingStopped
from .settings import TrainingSettings
from .stages import begin_stage, check_stages, end_first_stage, first_stage, rate
from .state import fingerprint, load_state, save_state

SECONDS_BETWEEN_STATES = 300


class Objective(nn.Module):
    """The loss as one module, so that Fabric sees every network's gradient."""

    def __init__(self, model: SegmentationModel, settings: TrainingSettings):
        super().__init__()
        self.model, self.settings = model, settings
        self.update = 1

    def forward(
        self,
        image: Tensor,
        label: Tensor,
        time: Tensor,
        noise: Tensor,
        reviewed: Tensor | None = None,
    ) -> LossTerms:
        """See ``training_loss``; ``label`` and ``reviewed`` are (batch, 1, *size), integer."""
        with correct_convolutions(image.device):
            return self._loss(image, label, time, noise, reviewed)

    def _loss(
        self, image: Tensor, label: Tensor, time: Tensor, noise: Tensor, reviewed: Tensor | None
    ) -> LossTerms:
        one_hot = F.one_hot(label[:, 0].long(), self.model.architecture.classes)
        one_hot = one_hot.movedim(-1, 1).float()
        counted = None if reviewed is None else reviewed.float()
        given = self.settings
        if isinstance(self.model, DiffDGSS):
            return diffdgss_loss(
                self.model,
                image,
                one_hot,
                time,
                noise,
                stage_of(self.update, given.updates, given.diffusion_updates),
                given.gamma,
                counted,
                frozen=not given.end_to_end,
            )
        if not isinstance(self.model, LDSeg):
            return deterministic_loss(self.model, image, one_hot, given.gamma, counted)
        if self.update <= given.autoencoder_updates:
            return autoencoder_loss(self.model, one_hot, given.gamma, counted)
        if given.autoencoder_updates:
            return diffusion_loss(self.model, image, one_hot, time, noise, given.lambda_, counted)
        weights = given.gamma, given.lambda_
        return training_loss(self.model, image, one_hot, time, noise, *weights, counted)


def train(
    metadata: Metadata,
    training: Sequence[Case],
    validation: Sequence[Case],
    settings: TrainingSettings,
    *,
    fabric: Fabric | None = None,
    start: Checkpoint | None = None,
    unlabelled: Sequence[Case] = (),
    folder: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_validation: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> Checkpoint:
    """Train the networks that ``metadata`` describes and return them with their EMA weights.

    The result depends on the seed, not on the number of processes, except of a U-Net, whose batch norms see each
    process's share alone: each update's joint batch, its
    noise, times and augmentation are keyed by (seed, epoch, case), and the loss is a mean over samples.

    Parameters
    ----------
    metadata
        The checkpoint to make: networks, classes, grid, intensities.
    settings
        Length, optimiser, loss weights, augmentation.
    training, validation
        The cases to train on and those to measure on; measuring uses the EMA weights.
    fabric
        Devices and precision, launched; by default one device with ``settings.precision``.
    start
        A checkpoint to start from, of the same architecture except for the number of classes: a class
        takes over the weights of the one with its name, a new class starts from random ones.
    unlabelled
        Images without labels that the diffusion network of a ``diffdgss`` model is trained on too, in the first stage.
    folder
        Where the log and, at every validation and every five minutes, the state are written.
    resume
        Continue from the state in ``folder``, if there is one; on a CPU the result is bit for bit that of
        an uninterrupted run.
    stop
        Asked after every update; if true, the state is written and TrainingStopped raised.
    on_progress
        Called after every update.
    on_validation
        Called with the EMA weights after every validation.

    Raises
    ------
    TrainingStopped
        If ``stop`` says so.
    LDSegError
        If the loss becomes NaN, a case does not fit, or the folder cannot be written.
    """
    identity = fingerprint(metadata, settings, training, unlabelled)
    if fabric is None:
        precision = training_precision(settings.precision, resolve_device())
        fabric = Fabric(devices=1, precision=precision)  # type: ignore[arg-type]
    precision = training_precision(settings.precision, fabric.device)
    settings = settings.model_copy(update={"precision": precision})
    _check(metadata, training, settings, fabric, start)
    fabric.seed_everything(settings.seed, verbose=False)
    model = build_model(metadata)
    if start is not None:
        inherit(model, metadata, start)
    model.requires_grad_(True)
    for network in settings.fixed:
        getattr(model, network).requires_grad_(False)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    origin = {n: w.detach().clone() for n, w in model.state_dict().items() if settings.blend < 1}
    if isinstance(model, LDSeg | UNet):
        layout = CHANNELS_LAST[metadata.architecture.dims]
        model.to(memory_format=layout)  # type: ignore[call-overload]
    objective = Objective(model, settings)
    bare_optimiser = torch.optim.AdamW(
        trained, settings.learning_rate, weight_decay=settings.weight_decay
    )
    rates = torch.optim.lr_scheduler.LambdaLR(bare_optimiser, lambda u: rate(u, settings))
    wrapped, optimiser = fabric.setup(objective, bare_optimiser)
    average = AveragedModel(model, avg_fn=_ema(settings.ema_decay))
    parts: dict[str, Any] = {
        "model": model,
        "optimiser": bare_optimiser,
        "rates": rates,
        "average": average,
    }
    parts["precision"] = fabric.strategy.precision
    start_hash = (start.sha256 or "") if start else ""
    done = 0
    if folder is not None and resume and (folder / STATE).is_file():
        state = load_state(folder / STATE, identity, start_hash)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["update"]
    log = None
    if folder is not None and fabric.is_global_zero:
        log = RunLog(folder, done)

    def write_state(update: int) -> None:
        if folder is not None and log is not None:
            log.flush()
            state = {name: part.state_dict() for name, part in parts.items()}
            origins = {"update": update, "fingerprint": identity, "start": start_hash}
            save_state(folder / STATE, state | origins)

    first = first_stage(settings)
    seen = [*training, *unlabelled] if done < first else training
    batches = _loader(metadata, seen, settings, fabric, done)
    began = written = time.monotonic()
    wrapped.train()
    begin_stage(model, metadata, settings, done + 1)
    for update in range(done + 1, settings.updates + 1):
        torch.manual_seed(_seed(settings.seed, update, fabric.global_rank))
        batch = next(batches)
        if isinstance(batch, LDSegError):
            raise batch
        batch = {name: fabric.to_device(value) for name, value in batch.items()}
        objective.update = update
        terms = wrapped(**batch)
        fabric.backward(terms.total)
        shared = torch.stack([*(t.detach().float() for t in terms), _flag(stop(), terms.total)])
        *values, stopping = fabric.all_reduce(shared, reduce_op="mean").tolist()  # type: ignore[union-attr]
        # A scaler of 16-bit gradients skips an update that overflows.
        scaled = settings.precision == "16-mixed"
        length = fabric.clip_gradients(
            wrapped, optimiser, max_norm=settings.clip_norm, error_if_nonfinite=False
        )
        finite = scaled or (length is None or bool(length.isfinite()))
        if not finite or not all(math.isfinite(value) for value in values):
            raise LDSegError(
                f"The loss became NaN after {update} updates; lower the learning rate."
            )
        learning_rate = rates.get_last_lr()[0]
        optimiser.step()
        optimiser.zero_grad()
        rates.step()
        average.update_parameters(model)
        if update == first:
            end_first_stage(model, average)
            begin_stage(model, metadata, settings, update + 1)
            if unlabelled:
                batches = _loader(metadata, training, settings, fabric, update)
        left = (time.monotonic() - began) / (update - done) * (settings.updates - update)
        progress = Progress(update, settings.updates, LossTerms(*values), learning_rate, left)  # type: ignore[arg-type]
        last = update == settings.updates
        measured = last or update % settings.validate_every == 0
        if validation and measured and update > first:
            validated = _checkpoint(metadata, average.module, origin, settings, update, start)
            dsc = _validation_dsc(validated, validation, fabric)
            progress = progress._replace(validation_dsc=dsc)
            on_validation(validated)
        if log is not None:
            log.add(progress)
        if measured or stopping or time.monotonic() - written > SECONDS_BETWEEN_STATES:
            write_state(update)
            written = time.monotonic()
        on_progress(progress)
        if stopping and not last:
            raise TrainingStopped(f"Training stopped after {update} of {settings.updates} updates.")
    return _checkpoint(metadata, average.module, origin, settings, settings.updates, start)


def _check(
    metadata: Metadata,
    training: Sequence[Case],
    settings: TrainingSettings,
    fabric: Fabric,
    start: Checkpoint | None,
) -> None:
    if not training:
        raise LDSegError("There are no training cases; add some images with labels.")
    check_stages(metadata, settings)
    if settings.batch_size % fabric.world_size:
        raise LDSegError(
            f"A batch of {settings.batch_size} cannot be divided among {fabric.world_size} devices; make "
            "training.batch_size a multiple of their number."
        )
    if start is not None and _sizes(start.metadata, metadata) != _sizes(metadata, metadata):
        raise LDSegError(
            f"{start.metadata.name} has other networks than this configuration describes; start from "
            "a checkpoint of the same architecture."
        )


def _sizes(metadata: Metadata, wanted: Metadata) -> tuple[object, ...]:
    """Return the sizes of the networks of ``metadata`` with the number of classes of ``wanted``."""
    classes, own = wanted.architecture.classes, metadata.diffdgss
    return replace(metadata.architecture, classes=classes), own and replace(own, classes=classes)


def _loader(
    metadata: Metadata,
    cases: Sequence[Case],
    settings: TrainingSettings,
    fabric: Fabric,
    done: int,
) -> Iterator[dict[str, Tensor] | LDSegError]:
    """Return the batches of ``cases`` after ``done`` updates, without end."""
    readers = max(1, settings.workers) * max(1, fabric.world_size // _nodes(fabric))
    cache = settings.cache_gib * 2**30 / readers
    dataset = CaseDataset(
        metadata, cases, settings.augmentation, settings.seed, cache, settings.patch
    )
    batches = JointBatches(
        len(dataset),
        settings.batch_size,
        settings.seed,
        fabric.global_rank,
        fabric.world_size,
        done,
    )
    return iter(
        DataLoader(
            ErrorsAsItems(dataset),
            batch_sampler=batches,
            num_workers=settings.workers,
            collate_fn=collate,
        )
    )


def _nodes(fabric: Fabric) -> int:
    return int(getattr(fabric.strategy, "num_nodes", 1))


def _seed(seed: int, update: int, rank: int) -> int:
    """Return the seed of an update's dropout."""
    return int(np.random.SeedSequence([seed, update, rank]).generate_state(1)[0])


def _flag(value: bool, like: Tensor) -> Tensor:
    return torch.tensor(float(value), device=like.device)


def _ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Exponential moving average whose memory grows with the run, up to ``decay``."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return averaged + (1 - now) * (current - averaged)

    return average


def _validation_dsc(checkpoint: Checkpoint, cases: Sequence[Case], fabric: Fabric) -> float:
    """Return the mean DSC over cases and classes, each process measuring its share of the cases."""
    share = cases[fabric.global_rank :: fabric.world_size]
    device = device_name(fabric)
    results = evaluate(checkpoint, share, 1, 2, device)[:, 0]
    sums = torch.tensor([np.nansum(results), np.isfinite(results).sum()], dtype=torch.float32)
    total, count = fabric.all_reduce(fabric.to_device(sums), reduce_op="sum").tolist()  # type: ignore[union-attr]
    return total / max(count, 1)


def _checkpoint(
    metadata: Metadata,
    model: nn.Module,
    origin: dict[str, Tensor],
    settings: TrainingSettings,
    updates: int,
    start: Checkpoint | None,
) -> Checkpoint:
    copy = build_model(metadata)
    weights = model.state_dict()
    for name, weight in weights.items() if settings.blend < 1 else ():
        if weight.is_floating_point():
            weights[name] = torch.lerp(origin[name].to(weight.device), weight, settings.blend)
    copy.load_state_dict(weights)
    flat = settings.model_dump(mode="json")
    augmentation = flat.pop("augmentation")
    flat["fixed"] = ", ".join(settings.fixed)
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
