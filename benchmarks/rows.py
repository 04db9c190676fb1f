"""Trainings that differ in one setting, measured on the same held-out cases, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.overlap import evaluate, metrics
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.training.config import TrainingConfig, read_config
from napari_ldseg.training.loop import train
from napari_ldseg.training.run import CHECKPOINT, describe_split

MODELS = Path(__file__).parents[1] / "models"
STEPS = 2, 10


def changed(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``config`` with the values of ``changes`` by dotted name."""
    config = yaml.safe_load(yaml.safe_dump(config))
    for name, value in changes.items():
        *path, last = name.split(".")
        section = config
        for key in path:
            section = section.setdefault(key, {})
        section[last] = value
    return config


def validation_cases(model: str, most: int) -> tuple[dict[int, Case], int]:
    """Return ``most`` validation cases of a bundled model by their place, evenly spread, and how many there are."""
    config = read_config(MODELS / f"{model}.yaml")
    cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
    held_out = read_split(MODELS / "splits" / f"{model}.json").cases("validation", cases)
    chosen = np.linspace(0, len(held_out) - 1, min(most, len(held_out))).round().astype(int)
    return {int(i): held_out[i] for i in chosen}, len(held_out)


class Prepared(NamedTuple):
    """What a configuration trains, and the cases to measure on: those of ``part`` of the split."""

    settings: TrainingConfig
    metadata: Metadata
    training: list[Case]
    held_out: list[Case]
    part: str


def prepare(config: dict[str, Any], folder: Path) -> Prepared:
    """Write ``config`` into ``folder`` and read it with its cases."""
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / "config.yaml"
    config_file.write_text(yaml.safe_dump(config))
    settings = read_config(config_file)
    cases, _ = find_labelled_cases(settings.data, [c.name for c in settings.classes])
    split = read_split(settings.data.split)
    part = "test" if split.test else "validation"
    training, held_out = split.cases("training", cases), split.cases(part, cases)
    metadata = settings.metadata(training, describe_split(split, settings))
    return Prepared(settings, metadata, training, held_out, part)


def train_row(
    config: dict[str, Any], folder: Path, measured_steps: tuple[int, ...] = STEPS
) -> Checkpoint:
    """Return the trained checkpoint with its metrics on the held-out cases; from ``folder`` if it exists."""
    path = folder / CHECKPOINT
    if path.is_file():
        return load_checkpoint(path)
    settings, metadata, training, held_out, part = prepare(config, folder)
    checkpoint = train(metadata, training, (), settings.training, folder=folder, resume=True)
    measured = [
        m
        for k in measured_steps
        for m in metrics(evaluate(checkpoint, held_out, 1, k), checkpoint, part, 1, k)
    ]
    metadata = checkpoint.metadata.model_copy(update={"metrics": tuple(measured)})
    save_checkpoint(Checkpoint(metadata, checkpoint.model), path)
    return load_checkpoint(path)


def mean_dsc(checkpoint: Checkpoint, steps: int) -> float:
    """Return the mean over the classes of the DSC of one sample."""
    values = [m.value for m in checkpoint.metadata.metrics if (m.name, m.steps) == ("DSC", steps)]
    return sum(values) / len(values)


def table(rows: Mapping[str, Checkpoint]) -> str:
    """Return the rows as Markdown; differences are against the first one."""
    columns = [f"DSC, K = {k}" for k in STEPS]
    lines = [
        f"| changed | {' | '.join(columns)} | against the first | million weights |",
        "| --- " * (len(STEPS) + 3) + "|",
    ]
    first = mean_dsc(next(iter(rows.values())), STEPS[0])
    for name, checkpoint in rows.items():
        dsc = [mean_dsc(checkpoint, k) for k in STEPS]
        millions = sum(weight.numel() for weight in checkpoint.model.parameters()) / 1e6
        cells = " | ".join(f"{value:.3f}" for value in dsc)
        lines.append(f"| {name} | {cells} | {dsc[0] - first:+.3f} | {millions:.2f} |")
    return "\n".join(lines)
