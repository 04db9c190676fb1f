"""``napari-ldseg evaluate``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import LDSegError
from .console import Countdown, plain_errors

if TYPE_CHECKING:
    from ..datasets.case import Case
    from ..evaluation.predictions import Model

T = TypeVar("T", int, float, str)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="The checkpoint (.safetensors) to judge, or a bundled one's name.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with images/ and labels/ (or in the Decathlon or nnU-Net layout), the folder "
            "of a training run, or a training configuration (.yaml)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The report's folder; made if it is not there.")
    ],
    parts: Annotated[
        str | None,
        typer.Option(
            help="Any of overlap,steps,noise,uncertainty,readers, separated by commas. By default "
            "overlap,uncertainty and, if there are several readers, readers."
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A deterministic checkpoint (Res-UNet) to set beside it.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint for one more row of the ablation table; may be repeated."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples N per image; by default what the checkpoint is calibrated for, or 16.",
        ),
    ] = None,
    steps: Annotated[
        str, typer.Option(help="Numbers of sampling steps K for the part steps.")
    ] = "2,3,5,10,20,50",
    noise: Annotated[
        str, typer.Option(help="SDs of the noise on the [0, 1] image for the part noise.")
    ] = "0,0.05,0.1,0.15,0.2",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Tolerance of the surface Dice in mm, or in pixels where an image has no mm; by "
            "default 1 mm or 2 pixels."
        ),
    ] = None,
    cases: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many cases, drawn by the seed; by default all."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which part of a run's split: training, validation, test or all. By default test, or "
            "validation if nothing was kept for a test."
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="Subfolder of the images.")] = "images",
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Subfolder of the labels; once per reader. By default labels."),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Its first group, found in an image's name, is the patient: 'patient([0-9]+)'. By "
            "default every image is a patient of its own.",
        ),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Labels number objects: all above 0 are class 1.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of samples, noise, bootstrap and draw.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what report.json holds to standard output.")
    ] = False,
) -> None:
    """Measure a checkpoint on labelled cases and write report.html and report.json.

    Overlap (DSC, IoU, HD95, surface Dice) and uncertainty (does it find the errors, are the
    probabilities true) by default; sweeps over sampling steps and noise, an ablation table and the
    agreement with several readers on demand. Means come with 95 % intervals by patient. The same
    command gives the same figures. docs/evaluate.md defines each of them.

    \b
    Examples:
        napari-ldseg evaluate glas GlaS -o report --labels annotations --instances
        napari-ldseg evaluate runs/echo/checkpoint.safetensors runs/echo -o report \\
            --baseline res-unet.safetensors --parts overlap,steps,noise,uncertainty
        napari-ldseg evaluate lidc.safetensors lidc -o report \\
            --labels reader1 --labels reader2 --labels reader3 --labels reader4
    """  # noqa: D301
    with plain_errors():
        from ..checkpoint.bundled import find_checkpoint
        from ..checkpoint.header import read_metadata

        checkpoint = find_checkpoint(model)
        classes = [c.name for c in read_metadata(checkpoint).classes]
        source, found = _cases(data, classes, split, images, labels, patient, instances)
        available = len(found)
        found = _drawn(found, cases, seed)
        from ..evaluation.plan import StudySettings
        from ..evaluation.report import make_folder, write_report
        from ..evaluation.study import Study

        models = _models([checkpoint, *([baseline] if baseline else []), *(compare or [])])
        several = min(len(case.read_labels) for case in found) > 1
        wanted = _listed("--parts", parts, str) if parts else _usual_parts(several)
        study = Study(
            models[0],
            found,
            StudySettings(
                parts=wanted,
                samples=samples or _usual_samples(models[0], "readers" in wanted),
                steps=_listed("--steps", steps, int),
                noise=_listed("--noise", noise, float),
                tolerance=tolerance,
                seed=seed,
                device=device,
            ),
            models[1] if baseline else None,
            tuple(models[2:] if baseline else models[1:]),
        )
        typer.echo(f"checking {len(found)} cases of {source}", err=True)
        study.check()
        make_folder(output)
        total = len(found) * sum(run.samples for run in study.runs())
        study.run(Countdown(total, "samples").advance)
        results = write_report(study, output, source, available)
        study.gallery.close()
        if as_json:
            typer.echo(json.dumps(results, allow_nan=False))
        else:
            _summarise(results, output)


def _cases(
    data: Path,
    classes: list[str],
    part: str | None,
    images: str,
    labels: list[str] | None,
    patient: str | None,
    instances: bool,
) -> tuple[str, list[Case]]:
    """Return what the cases are called, and the cases."""
    from ..datasets.settings import DataSettings
    from ..datasets.split import read_split
    from ..project.labelled_cases import find_labelled_cases

    if not data.exists():
        raise LDSegError(
            f"{data} does not exist; give a data folder, a run's folder or its config."
        )
    config = data / "config.yaml" if (data / "config.yaml").is_file() else data
    if config.is_dir():
        if part is not None:
            raise LDSegError(f"{data} is no run, so it has no split; leave --split out.")
        from pydantic import ValidationError

        try:
            settings = DataSettings(
                folder=data,
                images=images,
                labels=tuple(labels or ("labels",)),
                patient=patient,
                instances=instances,
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise LDSegError(f"--patient: {reason}.") from error
        return data.name, find_labelled_cases(settings, classes)[0]
    from ..training.config import read_config

    settings = read_config(config).data
    found, _ = find_labelled_cases(settings, classes)
    beside = settings.split or config.parent / "split.json"
    if part == "all" or (part is None and not beside.is_file()):
        return f"{settings.folder.name}, all cases", found
    if not beside.is_file():
        raise LDSegError(
            f"{data} has no split yet ({beside.name}); leave --split out for all cases."
        )
    parts = read_split(beside)
    part = part or ("test" if parts.test else "validation")
    if part not in ("training", "validation", "test"):
        raise LDSegError(f"--split must be training, validation, test or all, not {part}.")
    found = parts.cases(part, found)
    if not found:
        raise LDSegError(f"The split of {data} has no {part} cases; choose another part.")
    return f"{settings.folder.name}, {part} cases", found


def _drawn(cases: list[Case], number: int | None, seed: int) -> list[Case]:
    """Return the first ``number`` of the seeded shuffle, in the order of their names."""
    if number is None or number >= len(cases):
        return cases
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(cases))[:number]
    return [cases[i] for i in sorted(order)]


def _models(paths: list[Path]) -> list[Model]:
    """Return the checkpoints with labels that tell them apart."""
    from ..checkpoint.file import load_checkpoint
    from ..evaluation.predictions import Model

    loaded = [load_checkpoint(path) for path in paths]
    labels = _labels([one.metadata.name for one in loaded], paths)
    return [Model(label, one) for label, one in zip(labels, loaded, strict=True)]


def _labels(names: list[str], paths: list[Path]) -> list[str]:
    """Return the models' names; after a shared one as much of the file's path as tells it apart."""
    files = [Path(os.path.abspath(path)).with_suffix("").parts for path in paths]
    labels = []
    for i, (name, file) in enumerate(zip(names, files, strict=True)):
        others = [f for n, f in zip(names, files, strict=True) if n == name and f != file]
        depth = 1
        while any(other[-depth:] == file[-depth:] for other in others):
            depth += 1
        label = f"{name} ({'/'.join(file[-depth:])})" if names.count(name) > 1 else name
        again = files[:i].count(file)
        labels.append(f"{label}, {again + 1}" if again else label)
    return labels


def _usual_parts(several: bool) -> tuple[str, ...]:
    return ("overlap", "uncertainty", "readers") if several else ("overlap", "uncertainty")


def _usual_samples(model: Model, readers: bool) -> int:
    """16 as in the LIDC protocol, or the N that the checkpoint's calibration holds for."""
    from ..evaluation.readers import READER_SAMPLES

    calibration = model.checkpoint.metadata.calibration
    return READER_SAMPLES if readers or calibration is None else calibration.samples


def _listed(option: str, text: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Return the values of an option separated by commas."""
    try:
        values = tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise LDSegError(f"{option} takes numbers separated by commas, not {text!r}.") from error
    if not values:
        raise LDSegError(f"{option} needs at least one value.")
    return tuple(dict.fromkeys(values))


def _summarise(results: dict, folder: Path) -> None:
    """Print the overlap with the expert, and where the report is."""
    for row in results["figures"]:
        if row["part"] == "overlap" and row["metric"] == "DSC":
            interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
            typer.echo(f"DSC {row['value']:.3f}{interval}  {row['class_name']}  {row['model']}")
    typer.echo(f"Wrote {folder / 'report.html'} and report.json.")
