"""``napari-ldseg import-keras``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LDSegError
from ..utils.signals import interruptible
from .console import ProgressBar, plain_errors
from .info import describe


class Schedule(StrEnum):
    """The schedules of ``model.schedule``, which is not imported here because it imports torch."""

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
        typer.Option(help="2 or 3; only needed if the folder holds both kinds of files."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name; by default the folder's.")
    ] = None,
    class_name: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Name of a class, once per class in order, without the background.",
        ),
    ] = None,
    schedule: Annotated[
        Schedule,
        typer.Option(help="The noise schedule of the training, which the files do not contain."),
    ] = Schedule.cosine,
) -> None:
    """Convert the Keras weights of the LDSeg authors' code to a checkpoint.

    The folder must have labelEncoder.hdf5, labelDecoder.hdf5, imageEncoder.hdf5 and denoiser.hdf5, or
    for a 3D model labelEncoder3D.hdf5, labelDecoder3D.hdf5, imageEncoder3D.hdf5 and denoiser3D.hdf5.
    Image size, channels and the number of classes are read from the files; TensorFlow is not needed. The
    checkpoint segments like the authors' code, preprocessing and sampler included. If a file does not
    fit, nothing is written; an existing checkpoint is never overwritten.

    Example: napari-ldseg import-keras savedModels -o glas.safetensors --class gland
    """
    with plain_errors():
        if output.suffix != ".safetensors":
            raise LDSegError(f"{output.name} must end in .safetensors; change the name after -o.")
        from ..checkpoint.keras import NETWORKS, import_keras_file

        with interruptible(), ProgressBar(len(NETWORKS), "files", lines=False) as bar:
            path = import_keras_file(
                folder,
                output,
                dims,
                name=name,
                class_names=class_name or (),
                schedule=schedule.value,
                on_file=bar.advance,
            )
        typer.echo(f"Wrote {path}.")
        describe(path)
