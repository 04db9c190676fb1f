"""``napari-ldseg train``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..utils.durations import clock
from .console import INTERRUPTED, plain_errors, stop_signals

if TYPE_CHECKING:
    from ..training.log import Progress


def train(
    config: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The run's folder; made if it is not there.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="A checkpoint of the same architecture to start from."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[
        str | None,
        typer.Option(help="Per node: a number (of processes, on a CPU), auto, or GPUs as in 0,2."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="How many computers take part.")] = None,
) -> None:
    """Train a checkpoint on a folder of images with labels.

    The run's folder holds the split (drawn once, by patient), the log, the state to resume from, and at
    the end checkpoint.safetensors with the figures measured on the cases kept aside. Ctrl-C stops after
    the current update and keeps the state.

    A configuration, with what it needs at least:

    \b
        name: nuclei
        data:
          folder: nuclei        # with images/ and labels/, names matched
        classes: [background, nucleus]
        grid:
          size: [256, 256]

    docs/train.md describes every setting; models/ holds the configurations of the bundled models.

    Exit codes: 0 done, 1 an error (one sentence says which), 130 stopped (Ctrl-C, SIGTERM).

    Example: napari-ldseg train nuclei.yaml -o runs/nuclei
    """  # noqa: D301
    with plain_errors():
        from ..training.config import read_config

        told = read_config(config)

        from ..inference.distributed import make_fabric
        from ..training.loop import TrainingStopped
        from ..training.run import run_training

        fabric = make_fabric(accelerator, devices, nodes, told.training.precision)
        speaker = _Speaker(quiet=not fabric.is_global_zero)
        try:
            path = run_training(
                told,
                output,
                fabric=fabric,
                start=start,
                resume=resume,
                stop=stop_signals(),
                on_progress=speaker.progress,
                say=speaker.say,
            )
        except TrainingStopped as stopped:
            speaker.say(str(stopped))
            raise typer.Exit(INTERRUPTED) from stopped
        if path is not None:
            typer.echo(f"Wrote {path}.")


class _Speaker:
    """Progress on standard error: a line at validations and at least every 30 s."""

    def __init__(self, quiet: bool):
        self._quiet, self._spoken = quiet, 0.0

    def say(self, text: str) -> None:
        if not self._quiet:
            typer.echo(text, err=True)

    def progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.validation_dsc is None and now - self._spoken < 30:
            return
        self._spoken = now
        measured = progress.validation_dsc
        dsc = "" if measured is None else f", validation DSC {measured:.3f}"
        left = clock(progress.seconds_left)
        total = float(progress.loss.total)
        self.say(f"{progress.update}/{progress.updates}  loss {total:.3f}{dsc}, {left} left")
