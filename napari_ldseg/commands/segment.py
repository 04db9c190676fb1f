"""``napari-ldseg segment``."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LDSegError
from ..utils.atomic import make_writable
from .console import INTERRUPTED, plain_errors, stop_signals

if TYPE_CHECKING:
    from ..batch.run import BatchReport

NOTHING_DONE = 2


def segment(
    files: Annotated[
        list[str],
        typer.Argument(help="Images, folders of images, or quoted patterns: 'scans/**/*.nii.gz'."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the results; made if need be.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A bundled model's name or a .safetensors file.")
    ],
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="Per image.")] = 10,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; by default the model's own number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")] = 0,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, cuda or mps.")] = "auto",
    devices: Annotated[
        str | None,
        typer.Option(help="Per node: a number (of processes, on a CPU), auto, or GPUs as in 0,2."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="How many computers take part.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done as JSON on standard output.")
    ] = False,
) -> None:
    """Segment a cohort of NIfTI files and 2D pictures.

    The folder gets labels/, sample_sd/ and predictive_sd/, each with one NIfTI file per image on the
    image's own grid, records/ with how each was made, and volumes.csv: every case's volumes with
    intervals and its expected error, the highest first. It is one minus the Dice that the model itself
    expects of its label map, 0 to 1.

    Run the same command again after any interruption: finished cases are not made again. A label that
    you have corrected in the folder is never written over; the table then has its volumes. An image that
    cannot be segmented is listed at the end; the others go on.

    Exit codes: 0 all segmented, 1 some failed, 2 nothing could be segmented, 130 stopped (Ctrl-C, SIGTERM).

    Example: napari-ldseg segment scans/ -o results --model hippocampus
    """
    with plain_errors(NOTHING_DONE):
        from ..batch.inputs import find_images
        from ..checkpoint.bundled import find_checkpoint

        left_out: list[str] = []
        images = find_images(files, output, left_out.append)
        path = find_checkpoint(model)
        if os.path.isfile(output):
            raise LDSegError(f"{output} is a file; give a folder after -o.")

        from ..batch.run import Stopped, segment_batch
        from ..checkpoint.file import load_checkpoint
        from ..inference.distributed import make_fabric

        checkpoint = load_checkpoint(path)
        try:
            make_writable(output)
        except OSError as error:
            raise LDSegError(
                f"The results cannot be written to {output}: {error.strerror or error}; give another "
                "folder after -o."
            ) from error
        fabric = make_fabric(accelerator, devices, nodes, patience=datetime.timedelta(days=30))
        process = f"process {fabric.global_rank}: " if fabric.world_size > 1 else ""
        if fabric.is_global_zero:
            for line in left_out:
                typer.echo(line, err=True)
        try:
            report = segment_batch(
                checkpoint,
                images,
                output,
                fabric,
                samples=samples,
                steps=steps,
                seed=seed,
                stop=stop_signals(),
                say=lambda text: typer.echo(process + text, err=True),
            )
        except Stopped:
            typer.echo("Stopped; the same command goes on where this one ended.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        if report is not None:
            _tell(report, as_json)


def _tell(report: BatchReport, as_json: bool) -> None:
    done = report.segmented + report.skipped + report.corrected
    if as_json:
        told = {
            "segmented": report.segmented,
            "skipped": report.skipped,
            "corrected": report.corrected,
            "failed": [failure._asdict() for failure in report.failed],
            "table": str(report.table),
        }
        typer.echo(json.dumps(told, indent=1))
    else:
        kept = f"{report.corrected} corrected and kept, " if report.corrected else ""
        typer.echo(
            f"{report.segmented} segmented, {report.skipped} already there, {kept}"
            f"{len(report.failed)} failed; volumes and expected errors are in {report.table}."
        )
    for failure in report.failed:
        typer.echo(f"failed: {failure.image}: {failure.reason}", err=True)
    if report.failed:
        raise typer.Exit(1 if done else NOTHING_DONE)
