"""``napari-ldseg train``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..utils.signals import INTERRUPTED, stop_signals
from .console import ProgressBar, plain_errors

if TYPE_CHECKING:
    from ..training.log import Progress


def train(
    config: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The run's folder; made if it is missing.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder, if there is one.")
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

    The run's folder holds the split (drawn once, by patient), the log, the status, the state to resume from, and
    at the end checkpoint.safetensors with the metrics measured on the held-out cases. Ctrl-C stops after the
    current update and keeps the state.

    A configuration, with what it needs at least:

    \b
        name: nuclei
        data:
          folder: nuclei        # with images/ and labels/, names matched
        classes: [background, nucleus]
        grid:
          size: [256, 256]

    docs/reference/configuration.md describes every setting; models/ holds the configurations of the bundled models.

    Exit codes: 0 done, 1 an error (one sentence says which), 130 stopped (Ctrl-C, SIGTERM).

    Example: napari-ldseg train nuclei.yaml -o runs/nuclei
    """  # noqa: D301
    with plain_errors():
        from ..training.config import read_config

        given = read_config(config)

        from ..inference.distributed import make_fabric
        from ..training.run import run_training
        from ..training.run_folder import TrainingStopped
        from ..training.stages import trains_parts

        settings = given.training
        parts = trains_parts(given.networks, settings)
        fabric = make_fabric(accelerator, devices, nodes, settings.precision, parts=parts)

        with ProgressBar(settings.updates, "updates", enabled=fabric.is_global_zero) as bar:
            try:
                path = run_training(
                    given,
                    output,
                    fabric=fabric,
                    start=start,
                    resume=resume,
                    stop=stop_signals(),
                    print_line=bar.print,
                    on_progress=shown_in(bar),
                )
            except TrainingStopped as stopped:
                if fabric.is_global_zero:
                    bar.print(str(stopped))
                raise typer.Exit(INTERRUPTED) from stopped
        if path is not None:
            typer.echo(f"Wrote {path}.")


def shown_in(bar: ProgressBar) -> Callable[[Progress], None]:
    """Return a function that shows an update in ``bar``; where lines are printed, also the first one."""
    started, measured = False, ""

    def show(progress: Progress) -> None:
        nonlocal started, measured
        now, dsc = not started, progress.validation_dsc
        if dsc is not None:
            now, measured = True, f", validation DSC {dsc:.3f}"
        started = True
        loss = progress.loss
        images_alone = loss.noise > 0 and loss.cross_entropy == 0 and loss.dice == 0
        kind = "noise loss" if images_alone else "loss"  # a stage of its own
        note = f"{kind} {float(loss.total):.3f}{measured}"
        bar.update(progress.update, progress.seconds_left, note, now)

    return show
