"""``napari-ldseg info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..checkpoint.bundled import find_checkpoint
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Calibration, Domain, Metadata
from ..utils.text import count_text, one_line
from .console import plain_errors

MANY_NUMBERS = {"domain": {"mean", "factor"}}


def info(
    file: Annotated[
        str, typer.Argument(help="A checkpoint (.safetensors), or the name of a bundled one.")
    ],
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the metadata as JSON, without the long lists of numbers."
        ),
    ] = False,
) -> None:
    """Print a checkpoint's metadata: images, classes, grid, steps, training data, licence.

    Reads only the metadata of the file, not its weights.

    Example: napari-ldseg info camus
    """
    with plain_errors():
        path = find_checkpoint(file)
        if as_json:
            typer.echo(read_metadata(path).model_dump_json(indent=1, exclude=MANY_NUMBERS))
        else:
            describe(path)


def describe(path: Path) -> None:
    """Print the metadata of the checkpoint at ``path``. Raises LDSegError."""
    metadata = read_metadata(path)
    arch, grid = metadata.architecture, metadata.grid
    if grid.size is not None:
        grid_text = f"{_size_text(grid.size)} voxels, resampling {grid.resampling}"
    else:
        grid_text = f"{_size_text(grid.spacing or ())} mm per voxel"
    rows = {
        "name": metadata.name,
        "description": metadata.description,
        "images": f"{arch.dims}D, channels: {', '.join(metadata.channels)}",
        "classes": ", ".join(f"{i} {c.name}" for i, c in enumerate(metadata.classes)),
        "orientation": metadata.orientation or "-",
        "grid": grid_text,
        "intensities": metadata.intensity.method,
        **describe_networks(metadata),
        "calibration": describe_calibration(metadata.calibration),
        "usual images": describe_domain(metadata.domain),
        "training": metadata.training.data,
        "licence": metadata.training.licence,
    }
    if metadata.parent is not None:
        parent = metadata.training.parent_name or "a checkpoint"
        rows["trained from"] = f"{parent} ({metadata.parent[:12]})"
    if metadata.training.trained is not None:
        rows["trained"] = metadata.training.trained
    for metric in metadata.metrics:
        key = f"{metric.name} {metric.class_name}"
        rows[key] = f"{metric.value:.3f} ({metric.split}, {metric.cases} cases)"
    rows = {one_line(key, 100): one_line(value, 4000) for key, value in rows.items()}
    width = max(map(len, rows))
    for key, value in rows.items():
        typer.echo(f"{key:{width}}  {value}")


def describe_networks(metadata: Metadata) -> dict[str, str]:
    """Return what the networks are and how they are sampled, as texts by name."""
    if metadata.deterministic:
        return {"networks": f"{metadata.networks}, deterministic"}
    schedule = f"{metadata.schedule}, {metadata.schedule_length} times"
    if metadata.diffdgss is not None:
        times = ", ".join(map(str, metadata.diffdgss.times))
        how = f"{metadata.networks}, {metadata.diffdgss.inversion} inversion, times {times}"
        return {"networks": how, "schedule": schedule}
    return {
        "networks": f"{metadata.networks}, {metadata.parametrisation}",
        "schedule": schedule,
        "steps": f"{metadata.label_steps} for labels, {metadata.posterior_steps} for uncertainty",
    }


def describe_calibration(calibration: Calibration | None) -> str:
    """Return a short description of a checkpoint's calibration."""
    if calibration is None:
        return "none: probabilities and volume intervals are not calibrated"
    text = (
        f"for {count_text(calibration.samples, 'sample')} with {count_text(calibration.steps, 'step')}, "
        f"on {count_text(calibration.cases, 'patient')}: "
        f"temperature {calibration.temperature:.2f}, "
    )
    if calibration.volume_factors is None:
        return f"{text}no volume intervals (too few patients)"
    few = "" if calibration.claims_coverage else " (too few patients to promise their coverage)"
    return f"{text}{calibration.level:.0%} volume intervals{few}"


def describe_domain(domain: Domain | None) -> str:
    """Return a short description of a checkpoint's check of images."""
    if domain is None:
        return "not stored: an image unlike the training images is not noticed"
    return f"distance from the {domain.images} training images up to {domain.limit:g}"


def _size_text(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)
