"""``napari-ldseg info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..checkpoint.bundled import find_checkpoint
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Calibration
from .console import plain_errors


def info(
    file: Annotated[
        str, typer.Argument(help="A checkpoint (.safetensors), or the name of a bundled one.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole description as JSON.")
    ] = False,
) -> None:
    """Say what a checkpoint is: images it takes, classes, grid, steps, training data, licence.

    Reads the file's description only, not its weights.

    Example: napari-ldseg info camus
    """
    with plain_errors():
        path = find_checkpoint(file)
        if as_json:
            typer.echo(read_metadata(path).model_dump_json(indent=1))
        else:
            describe(path)


def describe(path: Path) -> None:
    metadata = read_metadata(path)
    arch, grid = metadata.architecture, metadata.grid
    if grid.size is not None:
        shown_grid = f"{_times(grid.size)} voxels, resampling {grid.resampling}"
    else:
        shown_grid = f"{_times(grid.spacing or ())} mm per voxel"
    rows = {
        "name": metadata.name,
        "description": metadata.description,
        "images": f"{arch.dims}D, channels: {', '.join(metadata.channels)}",
        "classes": ", ".join(f"{i} {c.name}" for i, c in enumerate(metadata.classes)),
        "orientation": metadata.orientation or "-",
        "grid": shown_grid,
        "intensities": metadata.intensity.method,
        "networks": f"{metadata.networks}, {metadata.parametrisation}",
        "schedule": f"{metadata.schedule}, {metadata.schedule_length} times",
        "steps": f"{metadata.label_steps} for labels, {metadata.posterior_steps} for uncertainty",
        "calibration": describe_calibration(metadata.calibration),
        "training": metadata.training.data,
        "licence": metadata.training.licence,
    }
    if metadata.parent is not None:
        known = metadata.training.parent_name or "a checkpoint"
        rows["trained from"] = f"{known} ({metadata.parent[:12]})"
    if metadata.training.trained is not None:
        rows["trained"] = metadata.training.trained
    for metric in metadata.metrics:
        key = f"{metric.name} {metric.class_name}"
        rows[key] = f"{metric.value:.3f} ({metric.split}, {metric.cases} cases)"
    width = max(map(len, rows))
    for key, value in rows.items():
        typer.echo(f"{key:{width}}  {' '.join(value.split())}")


def describe_calibration(found: Calibration | None) -> str:
    """Return a checkpoint's calibration in words."""
    if found is None:
        return "none: probabilities and volume intervals are not calibrated"
    text = (
        f"for {found.samples} samples with {found.steps} steps, on {found.cases} case{'s' * (found.cases != 1)}: "
        f"temperature {found.temperature:.2f}, "
    )
    if found.volume_factors is None:
        return f"{text}no volume intervals (too few cases)"
    few = "" if found.claims_coverage else " (too few cases to promise their coverage)"
    return f"{text}{found.level:.0%} volume intervals{few}"


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
