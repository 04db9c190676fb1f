"""One run from the frozen cases to a measured checkpoint among the project's models."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict

from ..checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Metric
from ..datasets.case import Case
from ..datasets.slices import sample_slices, single_images
from ..errors import LDSegError
from ..evaluation.calibration import measure_calibration
from ..evaluation.overlap import evaluate, metrics
from ..inference.devices import has_fast_bfloat16, resolve_device
from ..inference.distributed import device_name
from ..project.schema import read_record, write_record
from ..training.data import prepare_case
from ..training.log import Progress, read_log
from ..training.loop import train
from ..utils.atomic import atomic_write
from .comparison import COMPARISON, FEWEST_CASES, CaseChange, Comparison, read_comparison
from .config import read_config
from .describe import describe
from .frozen import fill_in, find_images, freeze, frozen_cases
from .launch import MODELS, RUNS
from .plan import NOT_RETRAINED, SPEED, WATCHED_IMAGES, settings_for, speed_key
from .plots import LivePlots, save_comparison
from .reporter import Reporter

SAMPLES = 10
GPU_SHARE = 0.6
BEFORE, KEPT = "before.json", "kept.json"


def retrain(folder: Path, reporter: Reporter) -> Path:
    """Do what the request in ``folder`` says, from where an earlier process stopped; return the model.

    Raises
    ------
    LDSegError
        If a case or the base does not fit, the loss stops being a number, or the disk is full.
    TrainingStopped
        If the window asked for it.
    """
    began = time.monotonic()
    config = read_config(folder)
    made = _made_before(folder, config.project / MODELS)
    if made is not None:
        return made
    names = [c.name for c in config.classes]
    reporter.say("preparing", "Reading the cases …")
    frozen = folder / "frozen"
    if not frozen.is_dir():
        freeze(config.project, config.cases, frozen)
    else:
        find_images(frozen, config.project)
    base = load_checkpoint(config.base) if config.base else None
    if base is not None and base.metadata.networks == "res-unet":
        raise LDSegError(NOT_RETRAINED.format(base.metadata.name))
    training, validation = frozen_cases(
        frozen, names, base.metadata.architecture.dims if base else None
    )
    if not training:
        raise LDSegError(
            "None of the chosen cases is one to learn from; review a case that is not kept aside."
        )
    metadata = describe(config, base, training, validation)
    device = resolve_device(config.device)
    if device.type == "cuda":
        import torch

        torch.cuda.set_per_process_memory_fraction(GPU_SHARE, device)
    ready = reporter.counted("preparing", "Checking the cases", len(training) + len(validation))
    for case in [*training, *validation]:
        for image in single_images(case):
            prepare_case(metadata, image, blank_allowed=case.slices is not None)
        ready()
    unseen = _unseen(training, names)
    if base is not None:
        fill_in(training, base, names, reporter.check, str(device))
    before = _before(folder, base, validation, names, str(device), reporter)

    settings = settings_for(config.pace, metadata, base.metadata if base else None)
    if config.updates is not None:
        settings = settings.model_copy(update={"updates": config.updates})
    settings = settings.model_copy(update={"seed": config.seed})
    if not has_fast_bfloat16(device):
        settings = settings.model_copy(update={"precision": "32-true"})
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=settings.precision,
    )
    watched = sample_slices(validation, WATCHED_IMAGES)
    shown = watched or sample_slices(training, 1)
    pictures = LivePlots(folder, shown[0], base, names, device_name(fabric))
    pictures.rows.extend(read_log(folder / "log.csv"))
    reporter.say("training", "Learning …", updates=settings.updates)
    prepared = time.monotonic() - began

    def on_progress(progress: Progress) -> None:
        pictures.on_progress(progress)
        reporter.on_progress(progress)

    learning = time.monotonic()
    checkpoint = train(
        metadata,
        training,
        watched,
        settings,
        fabric=fabric,
        start=base,
        folder=folder,
        resume=True,
        stop=reporter.stop_asked,
        on_progress=on_progress,
        on_candidate=pictures.on_candidate,
    )
    taken = time.monotonic() - learning
    learned = time.monotonic()

    scored = reporter.counted("after", "Comparing on the cases kept aside", len(validation))
    after = evaluate(checkpoint, validation, device=str(device), on_case=scored, classes=names)
    checkpoint = _measured(checkpoint, validation, after, str(device), reporter)
    comparison = Comparison(
        base=base and base.metadata.name,
        name=config.name,
        classes=tuple(names[1:]),
        unseen=unseen,
        changes=tuple(
            _change(case, before, row, names, base)
            for case, row in zip(validation, after, strict=True)
        ),
    )
    save_comparison(folder, base, checkpoint, validation, comparison, str(device))
    path = _keep(folder, config.project / MODELS, checkpoint, comparison)
    write_record(folder / COMPARISON, comparison)
    fixed = prepared + time.monotonic() - learned
    _remember_speed(config.project, speed_key(metadata, settings), fixed, taken / settings.updates)
    return path


def _before(
    folder: Path,
    base: Checkpoint | None,
    validation: Sequence[Case],
    names: Sequence[str],
    device: str,
    reporter: Reporter,
) -> dict[str, list[float]]:
    """Return the base's DSC per case, measured once."""
    if base is None:
        return {}
    path = folder / BEFORE
    if path.exists():
        return json.loads(path.read_text())
    scored = reporter.counted("before", "Measuring the model as it is", len(validation))
    figures = evaluate(base, validation, device=device, on_case=scored, classes=names)[:, 0]
    found = {case.name: row.tolist() for case, row in zip(validation, figures, strict=True)}
    with atomic_write(path, ".part") as temporary:
        temporary.write_text(json.dumps(found))
    return found


def _change(
    case: Case,
    before: dict[str, list[float]],
    after: np.ndarray,
    names: Sequence[str],
    base: Checkpoint | None,
) -> CaseChange:
    """Return a case's figures; those of classes new to the model stand apart."""
    known = {c.name for c in base.metadata.classes} if base else set()
    old = before.get(case.name, [float("nan")] * (len(names) - 1))
    figures = [
        (n, _figure(a), _figure(b)) for n, a, b in zip(names[1:], old, after[0], strict=True)
    ]
    return CaseChange(
        case=case.name,
        patient=case.patient,
        before=tuple(a if n in known else None for n, a, _ in figures),
        after=tuple(b if n in known or not base else None for n, _, b in figures),
        new={n: b for n, _, b in figures if base and n not in known and b is not None},
    )


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _measured(
    checkpoint: Checkpoint,
    validation: Sequence[Case],
    after: np.ndarray,
    device: str,
    reporter: Reporter,
) -> Checkpoint:
    """Return the checkpoint with its figures and, where there are cases enough, calibrated anew."""
    figures: tuple[Metric, ...] = ()
    if validation:
        figures = metrics(after, checkpoint, "validation", 1, checkpoint.metadata.label_steps)
    whole = [case for case in validation if case.read_reviewed is None and case.slices is None]
    patients = len({case.patient for case in whole})
    calibration = None
    if patients >= FEWEST_CASES:
        counted = reporter.counted("after", "Calibrating", patients)
        calibration = measure_calibration(
            checkpoint, whole, SAMPLES, device=device, on_case=counted
        )
    record = checkpoint.metadata.training.model_copy(
        update={"trained": datetime.now().astimezone().isoformat(timespec="seconds")}
    )
    described = {"metrics": figures, "calibration": calibration, "training": record}
    return Checkpoint(checkpoint.metadata.model_copy(update=described), checkpoint.model)


class _Kept(BaseModel):
    """Which of the project's models a run writes: the file, and the time of completion in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    trained: str | None


def _made_before(folder: Path, models: Path) -> Path | None:
    """Return the model that the run's process had written when it was ended, or None."""
    with suppress(LDSegError):  # none was, or it is not there any more
        kept = read_record(folder / KEPT, _Kept)
        path = models / Path(kept.file).name
        if read_metadata(path).training.trained == kept.trained:
            write_record(folder / COMPARISON, read_comparison(path.with_suffix(".json")))
            return path
    return None


def _keep(folder: Path, models: Path, checkpoint: Checkpoint, comparison: Comparison) -> Path:
    """Write the model and its comparison beside each other under a name that is free."""
    path, number = models / f"{comparison.name}.safetensors", 2
    while path.exists():
        path, number = models / f"{comparison.name} ({number}).safetensors", number + 1
    try:
        write_record(path.with_suffix(".json"), comparison)
        trained = checkpoint.metadata.training.trained
        write_record(folder / KEPT, _Kept(file=path.name, trained=trained))
        return save_checkpoint(checkpoint, path)
    except OSError as error:
        raise LDSegError(
            f"The model could not be written to {path}: {error.strerror or error}; make room, then resume."
        ) from error


def _unseen(training: Sequence[Case], names: Sequence[str]) -> tuple[str, ...]:
    """Return the structures that no case shows; raise LDSegError if there is none at all."""
    shown: set[int] = set()
    for case in training:
        shown.update(np.unique(case.read_labels[0]()).tolist())
    if not shown - {0}:
        raise LDSegError(
            f"The cases to learn from show none of {', '.join(names[1:])}; correct one that does first."
        )
    return tuple(name for value, name in enumerate(names) if value and value not in shown)


def _remember_speed(project: Path, key: str, fixed: float, update: float) -> None:
    path = project / RUNS / SPEED
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        known = {}
    known[key] = {"fixed": round(fixed, 1), "update": round(update, 4)}
    # The model is there already; a full disk does not spoil it.
    with suppress(OSError), atomic_write(path, ".part") as temporary:
        temporary.write_text(json.dumps(known))
