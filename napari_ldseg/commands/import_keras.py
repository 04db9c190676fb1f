"""``napari-ldseg import-keras``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LDSegError
from .console import plain_errors
from .info import describe


class Schedule(StrEnum):
    """The names of ``model.schedule``, which this file must not import: it takes torch."""

    cosine = "cosine"
    linear = "linear"
    quadratic = "quadratic"


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
    nothing is written; a checkpoint that already exists is never replaced.

    Example: napari-ldseg import-keras savedModels -o glas.safetensors --class gland
    """
    with plain_errors():
        if output.suffix != ".safetensors":
            raise LDSegError(f"{output.name} must end in .safetensors; change the name after -o.")
        from ..checkpoint.keras import import_keras_file

        path = import_keras_file(
            folder,
            output,
            dims,
            name=name,
            class_names=class_name or (),
            schedule=schedule.value,
        )
        typer.echo(f"Wrote {path}.")
        describe(path)
