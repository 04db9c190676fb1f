"""The command line: ``napari-ldseg``. Works without Qt, napari or a display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .errors import LDSegError

app = typer.Typer(
    name="napari-ldseg",
    help="Latent diffusion segmentation (LDSeg) of medical scans, with its uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Schedule(StrEnum):
    """The names of ``model.schedule``, which this file must not import: it takes torch."""

    cosine = "cosine"
    linear = "linear"
    quadratic = "quadratic"


@app.callback()
def _commands() -> None:
    """Keep every command a subcommand."""


@app.command("import-keras")
def import_keras(
    folder: Annotated[Path, typer.Argument(help="Folder with the four .hdf5 files of one model.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The checkpoint to write (.safetensors).")
    ],
    dims: Annotated[
        int | None,
        typer.Option(help="2 or 3; needed only if the folder holds both kinds of files."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name; by default the folder's.")
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Name of a class but the background; once per class, in order.",
        ),
    ] = None,
    schedule: Annotated[
        Schedule, typer.Option(help="The noise schedule of the training; the files do not tell.")
    ] = Schedule.cosine,
) -> None:
    """Turn the Keras weights of the LDSeg authors' code into one checkpoint.

    The folder holds labelEncoder.hdf5, labelDecoder.hdf5, imageEncoder.hdf5 and denoiser.hdf5, or for a
    3D model labelEncoder3D.hdf5, labelDecoder3D.hdf5, imageEncoder3D.hdf5 and denoiser3D.hdf5. Image
    size, channels and the number of classes come from the files; TensorFlow is not needed. The result
    segments as the authors' code does, preprocessing and sampler included. If a file does not fit,
    nothing is written.

    Example: napari-ldseg import-keras savedModels -o glas.safetensors --class gland
    """
    with _errors():
        if output.suffix != ".safetensors":
            raise LDSegError(f"{output.name} must end in .safetensors; change the name after -o.")
        from .checkpoint.keras import import_keras_file

        path = import_keras_file(
            folder,
            output,
            dims,
            name=name,
            class_names=class_name or (),
            schedule=schedule.value,
        )
        typer.echo(f"Wrote {path}.")
        _describe(path)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A checkpoint (.safetensors) of this program.")],
) -> None:
    """Say what a checkpoint is: images it takes, classes, grid, steps, training data, licence.

    Reads the file's description only, not its weights.

    Example: napari-ldseg info glas.safetensors
    """
    with _errors():
        _describe(file)


def _describe(path: Path) -> None:
    from .checkpoint.header import read_metadata

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
        "training": metadata.training.data,
        "licence": metadata.training.licence,
    }
    for metric in metadata.metrics:
        key = f"{metric.name} {metric.class_name}"
        rows[key] = f"{metric.value:.3f} ({metric.split}, {metric.cases} cases)"
    width = max(map(len, rows))
    for key, value in rows.items():
        typer.echo(f"{key:{width}}  {' '.join(value.split())}")


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:g}" for v in values)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except LDSegError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
