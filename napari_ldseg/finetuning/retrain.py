"""One run from the copied cases to a measured checkpoint among the project's models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, RootModel

from ..checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Metadata
from ..datasets.case import Case
from ..datasets.slices import sample_slices, single_images
from ..errors import LDSegError
from ..evaluation.overlap import evaluate
from ..inference.devices import resolve_device, training_precision
from ..inference.distributed import device_name
from ..training.data import prepare_case
from ..training.domain import with_domain
from ..training.log import Progress, read_log
from ..training.loop import train
from ..training.measure import measure
from ..training.reporter import Reporter
from ..training.run_folder import LOG
from ..training.settings import TrainingSettings
from ..utils.inside import inside
from ..utils.records import read_record, write_record
from ..utils.text import free_name
from .case_snapshot import (
    SNAPSHOT,
    predict_unreviewed,
    read_snapshot,
    snapshot_cases,
    update_image_references,
)
from .comparison import COMPARISON, FEWEST_CASES, CaseChange, Comparison, read_comparison
from .config import FineTuningConfig, read_config
from .launch import MODELS
from .new_metadata import new_metadata
from .plan import (
    NOT_RETRAINED,
    WATCHED_IMAGES,
    Speed,
    remember_speed,
    settings_for,
    speed_key,
)
from .plots import LivePlots, save_comparison

GPU_SHARE = 0.6
BASE_SCORES, SAVED_MODEL = "base_scores.json", "saved_model.json"


def retrain(folder: Path, reporter: Reporter) -> Path:
    """Do the run in ``folder``, from where an earlier process stopped; return the new model's file.

    Raises
    ------
    LDSegError
        If a case or the base does not fit, the loss becomes NaN, or the disk is full.
    TrainingStopped
        If a stop was requested.
    """
    began = time.monotonic()
    config = read_config(folder)
    saved = _already_saved(folder, config.project / MODELS)
    if saved is not None:
        return saved
    names = [c.name for c in config.classes]
    base, training, validation = _load(config, folder / SNAPSHOT, reporter)
    metadata = new_metadata(config, base, training, validation)
    device = resolve_device(config.device)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(GPU_SHARE, device)
    checked = reporter.counter("preparing", "Checking the cases", len(training) + len(validation))
    for case in [*training, *validation]:
        for image in single_images(case):
            prepare_case(metadata, image, blank_allowed=case.slices is not None)
        checked()
    unseen = _unseen(training, names)
    if base is not None:
        predict_unreviewed(training, base, names, reporter.check, str(device))
    base_scores = _score_base(folder, base, validation, names, str(device), reporter)

    settings = _settings(config, metadata, base)
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=training_precision(settings.precision, device),  # type: ignore[arg-type]
    )
    watched = sample_slices(validation, WATCHED_IMAGES)
    shown = watched or sample_slices(training, 1)
    plots = LivePlots(folder, shown[0], base, names, device_name(fabric))
    plots.rows.extend(read_log(folder / LOG))
    reporter.report("training", "Training …", updates=settings.updates)

    def on_progress(progress: Progress) -> None:
        plots.on_progress(progress)
        reporter.on_progress(progress)

    training_began = time.monotonic()
    checkpoint = train(
        metadata,
        training,
        watched,
        settings,
        fabric=fabric,
        start=base,
        folder=folder,
        resume=True,
        stop=reporter.stop_requested,
        on_progress=on_progress,
        on_validation=plots.on_validation,
    )
    training_ended = time.monotonic()

    checkpoint = with_domain(checkpoint, training, validation, str(device), reporter)
    checkpoint, scores = measure(
        checkpoint,
        validation,
        "validation",
        str(device),
        reporter,
        samples=(1,),
        calibrate_on=_calibration_cases(validation),
    )
    comparison = Comparison(
        base=base and base.metadata.name,
        name=config.name,
        classes=tuple(names[1:]),
        unseen=unseen,
        changes=tuple(
            _change(case, base_scores, row, names, base)
            for case, row in zip(validation, scores[:, 0], strict=True)
        ),
    )
    save_comparison(folder, base, checkpoint, validation, comparison, str(device))
    path = _save_model(folder, config.project / MODELS, checkpoint, comparison)
    trained = training_ended - training_began
    fixed = round(time.monotonic() - began - trained, 1)
    speed = Speed(fixed=max(fixed, 0.0), update=round(trained / settings.updates, 4))
    remember_speed(config.project, speed_key(metadata, settings), speed)
    return path


def _load(
    config: FineTuningConfig, snapshot: Path, reporter: Reporter
) -> tuple[Checkpoint | None, list[Case], list[Case]]:
    """Return the base, the training cases and the validation cases; copy the cases first if need be."""
    reporter.report("preparing", "Reading the cases …")
    if not snapshot.is_dir():
        snapshot_cases(config.project, config.cases, snapshot)
    else:
        update_image_references(snapshot, config.project)
    base = load_checkpoint(config.base) if config.base else None
    if base is not None and base.metadata.baseline:
        raise LDSegError(NOT_RETRAINED.format(base.metadata.name))
    dims = base.metadata.architecture.dims if base else None
    training, validation = read_snapshot(snapshot, [c.name for c in config.classes], dims)
    if not training:
        raise LDSegError(
            "None of the chosen cases is a training case; review a case that is not held out."
        )
    return base, training, validation


def _settings(
    config: FineTuningConfig, metadata: Metadata, base: Checkpoint | None
) -> TrainingSettings:
    settings = settings_for(config.pace, metadata, base.metadata if base else None)
    changes: dict[str, object] = {"seed": config.seed}
    if config.updates is not None:
        changes["updates"] = config.updates
    return settings.model_copy(update=changes)


def _score_base(
    folder: Path,
    base: Checkpoint | None,
    validation: Sequence[Case],
    names: Sequence[str],
    device: str,
    reporter: Reporter,
) -> dict[str, list[float | None]]:
    """Return the base's DSC per case and class, measured only once."""
    if base is None:
        return {}
    path, wanted = inside(folder, BASE_SCORES), {case.name: len(names) - 1 for case in validation}
    with suppress(LDSegError):  # none yet, or a broken file
        known = read_record(path, _BaseScores).root
        if {name: len(row) for name, row in known.items()} == wanted:
            return known
    count = reporter.counter("measuring", "Measuring the model as it is", len(validation))
    rows = evaluate(base, validation, device=device, on_case=count, classes=names)[:, 0]
    scores = {
        case.name: [_rounded(value) for value in row]
        for case, row in zip(validation, rows, strict=True)
    }
    write_record(path, _BaseScores(scores))
    return scores


def _change(
    case: Case,
    base_scores: dict[str, list[float | None]],
    after: np.ndarray,
    names: Sequence[str],
    base: Checkpoint | None,
) -> CaseChange:
    """Return a case's scores; those of classes that the base does not have are separate."""
    known = {c.name for c in base.metadata.classes} if base else set()
    before = base_scores.get(case.name, [None] * (len(names) - 1))
    scores = [
        (n, _rounded(a), _rounded(b)) for n, a, b in zip(names[1:], before, after, strict=True)
    ]
    return CaseChange(
        case=case.name,
        patient=case.patient,
        before=tuple(a if n in known else None for n, a, _ in scores),
        after=tuple(b if n in known or not base else None for n, _, b in scores),
        new={n: b for n, _, b in scores if base and n not in known and b is not None},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 4)


def _calibration_cases(validation: Sequence[Case]) -> list[Case]:
    """Return the cases that are reviewed completely; none if they are of too few patients."""
    cases = [case for case in validation if case.read_reviewed is None and case.slices is None]
    return cases if len({case.patient for case in cases}) >= FEWEST_CASES else []


class _BaseScores(RootModel[dict[str, list[float | None]]]):
    """The base's DSC per case and class; None where a class is absent."""


class _SavedModel(BaseModel):
    """Which of the project's models a run writes: the file, and its time of completion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    trained: str | None


def _already_saved(folder: Path, models: Path) -> Path | None:
    """Return the model that an earlier process of the run saved before it was killed, or None."""
    with suppress(LDSegError):  # none, or it has been deleted
        saved = read_record(folder / SAVED_MODEL, _SavedModel)
        path = inside(models, saved.file)
        if read_metadata(path).training.trained == saved.trained:
            with suppress(OSError, LDSegError):  # runs of earlier versions did this last
                write_record(folder / COMPARISON, read_comparison(path.with_suffix(".json")))
            return path
    return None


def _save_model(folder: Path, models: Path, checkpoint: Checkpoint, comparison: Comparison) -> Path:
    """Write the model with its time of completion, and its comparison beside it, under a free name."""
    name = free_name(comparison.name, lambda n: (models / f"{n}.safetensors").exists(), "{} ({})")
    path = models / f"{name}.safetensors"
    trained = datetime.now().astimezone().isoformat(timespec="seconds")
    record = checkpoint.metadata.training.model_copy(update={"trained": trained})
    metadata = checkpoint.metadata.model_copy(update={"training": record})
    try:
        write_record(path.with_suffix(".json"), comparison)
        write_record(folder / COMPARISON, comparison)
        write_record(folder / SAVED_MODEL, _SavedModel(file=path.name, trained=trained))
        return save_checkpoint(Checkpoint(metadata, checkpoint.model), path)
    except OSError as error:
        raise LDSegError(
            f"The model could not be written to {path}: {error.strerror or error}; make room, then resume."
        ) from error


def _unseen(training: Sequence[Case], names: Sequence[str]) -> tuple[str, ...]:
    """Return the structures that no training case shows; raise LDSegError if there are none at all."""
    shown: set[int] = set()
    for case in training:
        shown.update(np.unique(case.read_labels[0]()).tolist())
    if not shown - {0}:
        raise LDSegError(
            f"The training cases show none of {', '.join(names[1:])}; correct one that does first."
        )
    return tuple(name for value, name in enumerate(names) if value and value not in shown)
