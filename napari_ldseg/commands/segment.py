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
from ..utils.signals import INTERRUPTED, stop_signals
from ..utils.text import one_line
from .console import ProgressBar, plain_errors

if TYPE_CHECKING:
    from ..batch.run import BatchReport

NOTHING_DONE = 2


def segment(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders of images or DICOM series, or quoted patterns such as 'scans/**/*.nii.gz'."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the results; created if missing.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A bundled model's name or a .safetensors file.")
    ],
    samples: Annotated[
        int, typer.Option("--samples", "-n", min=1, help="Number of samples per image.")
    ] = 10,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; by default those of the model.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same results.")] = 0,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            help="Also write the results as nifti, nrrd, mha, png, tiff, zarr, dicom-seg, or same (the form "
            "each image came in); can be given several times.",
        ),
    ] = None,
    reports: Annotated[
        bool, typer.Option("--report", help="Also write a one-page HTML report of each image.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, gpu, cuda or mps.")] = "auto",
    devices: Annotated[
        str | None,
        typer.Option(
            help="Devices per node: a number (on a CPU, of processes), auto, or GPUs such as 0,2."
        ),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of computers.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as JSON to standard output.")
    ] = False,
) -> None:
    """Segment many images: NIfTI, DICOM, NRRD, MetaImage, OME-Zarr and 2D image files.

    Each series of a folder of DICOM files, sub-folders included, is one image, called as its folder, number
    and description; names and numbers of patients are left out. Those of a ZIP archive are too.

    The output folder gets labels/, sample_sd/ and predictive_sd/, each with one NIfTI file per image on
    the image's own grid, records/ with the settings and results of each, and volumes.csv: the volumes of
    every case with intervals, and its expected error, the highest first. The expected error is one minus
    the Dice of the label map that the model's probabilities predict, 0 to 1.

    With --format the same folders get the results in other formats as well, on the image's own grid, and
    with --report the folder reports/ gets a page per image. Both are made from what is there already,
    without a new segmentation, if the same command was run before without them.

    For a model of several channels, the files CASE_0000, CASE_0001, ... of a folder are the channels of one
    image called CASE, and the last axis of a 4D NIfTI file holds its channels.

    After an interruption run the same command again: finished cases are skipped. A label that you
    have corrected in the output folder is never overwritten; the table then has its volumes. Images that
    cannot be segmented are listed at the end; the others are not affected.

    Exit codes: 0 all segmented, 1 some failed or could not be saved in a format, 2 nothing could be segmented, 130 stopped (Ctrl-C, SIGTERM).

    Example: napari-ldseg segment scans/ -o results --model hippocampus
    """
    with plain_errors(NOTHING_DONE):
        from ..batch.exports import check_formats
        from ..batch.inputs import find_images
        from ..checkpoint.bundled import find_checkpoint
        from ..checkpoint.header import read_metadata

        wanted = check_formats(formats or [])
        path = find_checkpoint(model)
        channels = read_metadata(path).architecture.image_channels
        skipped: list[str] = []
        images = find_images(files, output, skipped.append, channels)
        if os.path.isfile(output):
            raise LDSegError(f"{output} is a file; give a folder after -o.")

        from ..batch.run import Stopped, segment_batch
        from ..checkpoint.file import load_checkpoint
        from ..inference.distributed import join_processes

        checkpoint = load_checkpoint(path)
        try:
            make_writable(output)
        except OSError as error:
            raise LDSegError(
                f"The results cannot be written to {output}: {error.strerror or error}; give another "
                "folder after -o."
            ) from error
        fabric = join_processes(accelerator, devices, nodes, datetime.timedelta(days=30))
        one_process = fabric.world_size == 1
        prefix = "" if one_process else f"process {fabric.global_rank}: "
        if fabric.is_global_zero:
            for line in skipped:
                typer.echo(line, err=True)
        try:
            # The lines of several processes would break a bar.
            with ProgressBar(len(images), "images", lines=False, enabled=one_process) as bar:
                report = segment_batch(
                    checkpoint,
                    images,
                    output,
                    fabric,
                    samples=samples,
                    steps=steps,
                    seed=seed,
                    formats=wanted,
                    report=reports,
                    stop=stop_signals(),
                    log=lambda text: bar.print(prefix + text),
                    on_progress=bar.update if bar.on_terminal else None,
                )
        except Stopped:
            typer.echo("Stopped; run the same command again to continue.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        if report is not None:
            _print_report(report, as_json)


def _print_report(report: BatchReport, as_json: bool) -> None:
    """Print the outcome; exit with 1 if some images failed, with 2 if all did."""
    done = report.segmented + report.skipped + report.corrected
    if as_json:
        outcome = {
            "segmented": report.segmented,
            "skipped": report.skipped,
            "corrected": report.corrected,
            "failed": [failure._asdict() for failure in report.failed],
            "incomplete": [failure._asdict() for failure in report.incomplete],
            "table": str(report.table),
        }
        typer.echo(json.dumps(outcome, indent=1))
    else:
        kept = f"{report.corrected} corrected and kept, " if report.corrected else ""
        partly = f", {len(report.incomplete)} not in every format" if report.incomplete else ""
        typer.echo(
            f"{report.segmented} segmented, {report.skipped} already there, {kept}"
            f"{len(report.failed)} failed{partly}; volumes and expected errors are in {report.table}."
        )
    for word, failures in (("failed", report.failed), ("not in every format", report.incomplete)):
        for failure in failures:
            image, reason = one_line(failure.image, 1000), one_line(failure.reason, 1000)
            typer.echo(f"{word}: {image}: {reason}", err=True)
    if report.failed or report.incomplete:
        raise typer.Exit(1 if done else NOTHING_DONE)
