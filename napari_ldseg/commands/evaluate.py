"""``napari-ldseg evaluate``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..errors import LDSegError
from ..utils.signals import interruptible
from .console import ProgressBar, plain_errors

if TYPE_CHECKING:
    from ..datasets.case import Case
    from ..evaluation.predictions import Model

T = TypeVar("T", int, float, str)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A checkpoint (.safetensors), or the name of a bundled one.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with images/ and labels/ (or in the Decathlon or nnU-Net layout), the folder "
            "of a training run, or a training configuration (.yaml)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for the report; created if missing.")
    ],
    parts: Annotated[
        str | None,
        typer.Option(
            help="Any of overlap,steps,noise,uncertainty,readers, separated by commas. By default "
            "overlap,uncertainty and, if there are several readers, readers."
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A deterministic checkpoint (Res-UNet) to compare with.")
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="A checkpoint for one more row of the ablation table; may be repeated."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            "-n",
            min=1,
            help="Samples N per image; by default the number that the checkpoint is calibrated for, or 16.",
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
            help="Tolerance of the surface Dice in mm, or in pixels if an image has no voxel size; by "
            "default 1 mm or 2 pixels."
        ),
    ] = None,
    cases: Annotated[
        int | None,
        typer.Option(min=1, help="Number of cases to draw at random; by default all are used."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which cases of a run's split: training, validation, test or all. By default test, or "
            "validation if there are no test cases."
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="Subfolder of the images.")] = "images",
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Subfolder of the labels, once per reader; by default labels."),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="A regular expression whose first group is the patient in an image's name, such as "
            "'patient([0-9]+)'. By default every image is of another patient.",
        ),
    ] = None,
    instances: Annotated[
        bool,
        typer.Option("--instances", help="The labels number objects: all above 0 are class 1."),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the samples, the noise, the bootstrap and --cases.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the content of report.json to standard output.")
    ] = False,
) -> None:
    """Evaluate a checkpoint on labelled cases and write report.html and report.json.

    By default it measures the overlap (DSC, IoU, HD95, surface Dice) and the uncertainty (error
    detection, calibration); optionally sweeps over sampling steps and noise, an ablation table and the
    agreement with several readers. Means have 95 % intervals by patient. The same command gives the same
    results. docs/reference/metrics.md defines all metrics.

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
        found = _draw(found, cases, seed)
        from ..evaluation.plan import StudySettings
        from ..evaluation.report import make_folder, write_report
        from ..evaluation.study import Study

        models = _models([checkpoint, *([baseline] if baseline else []), *(compare or [])])
        several = min(len(case.read_labels) for case in found) > 1
        selected = _parse_list("--parts", parts, str) if parts else _default_parts(several)
        study = Study(
            models[0],
            found,
            StudySettings(
                parts=selected,
                samples=samples or _default_samples(models[0], "readers" in selected),
                steps=_parse_list("--steps", steps, int),
                noise=_parse_list("--noise", noise, float),
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
        total = len(found) * sum(sampling.samples for sampling in study.samplings())
        with interruptible():
            with ProgressBar(total, "samples") as bar:
                study.run(bar.advance)
            results = write_report(study, output, source, available)
            study.gallery.close()
        if as_json:
            typer.echo(json.dumps(results, allow_nan=False))
        else:
            _print_summary(results, output)


def _cases(
    data: Path,
    classes: list[str],
    part: str | None,
    images: str,
    labels: list[str] | None,
    patient: str | None,
    instances: bool,
) -> tuple[str, list[Case]]:
    """Return the name of the data, and the cases."""
    from ..datasets.settings import DataSettings
    from ..datasets.split import read_split
    from ..project.labelled_cases import find_labelled_cases

    if not data.exists():
        raise LDSegError(
            f"{data} does not exist; give a data folder, a run's folder or its configuration."
        )
    config = data / "config.yaml" if (data / "config.yaml").is_file() else data
    if config.is_dir():
        if part is not None:
            raise LDSegError(f"{data} is not a training run and has no split; omit --split.")
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
    split_file = settings.split or config.parent / "split.json"
    if part == "all" or (part is None and not split_file.is_file()):
        return f"{settings.folder.name}, all cases", found
    if not split_file.is_file():
        raise LDSegError(
            f"{data} has no split yet ({split_file.name}); omit --split to use all cases."
        )
    parts = read_split(split_file)
    part = part or ("test" if parts.test else "validation")
    if part not in ("training", "validation", "test"):
        raise LDSegError(f"--split must be training, validation, test or all, not {part}.")
    found = parts.cases(part, found)
    if not found:
        raise LDSegError(f"The split of {data} has no {part} cases; choose others with --split.")
    return f"{settings.folder.name}, {part} cases", found


def _draw(cases: list[Case], number: int | None, seed: int) -> list[Case]:
    """Return ``number`` cases drawn at random, in their original order."""
    if number is None or number >= len(cases):
        return cases
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(cases))[:number]
    return [cases[i] for i in sorted(order)]


def _models(paths: list[Path]) -> list[Model]:
    """Load the checkpoints and return them with unique labels."""
    from ..checkpoint.file import load_checkpoint
    from ..evaluation.predictions import Model

    loaded = [load_checkpoint(path) for path in paths]
    labels = _labels([one.metadata.name for one in loaded], paths)
    return [Model(label, one) for label, one in zip(labels, loaded, strict=True)]


def _labels(names: list[str], paths: list[Path]) -> list[str]:
    """Return the models' names; equal names are followed by as much of the file's path as needed."""
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


def _default_parts(several_readers: bool) -> tuple[str, ...]:
    return ("overlap", "uncertainty", *(["readers"] if several_readers else []))


def _default_samples(model: Model, readers: bool) -> int:
    """Return N of the checkpoint's calibration, or 16 as in the LIDC protocol."""
    from ..evaluation.readers import READER_SAMPLES

    calibration = model.checkpoint.metadata.calibration
    return READER_SAMPLES if readers or calibration is None else calibration.samples


def _parse_list(option: str, text: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Return the different values of an option, separated by commas in ``text``."""
    try:
        values = tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise LDSegError(f"{option} must be numbers separated by commas, not {text!r}.") from error
    if not values:
        raise LDSegError(f"{option} needs at least one value.")
    return tuple(dict.fromkeys(values))


def _print_summary(results: dict, folder: Path) -> None:
    """Print the DSC with the expert, and the path of the report."""
    for row in results["figures"]:
        if row["part"] == "overlap" and row["metric"] == "DSC":
            interval = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
            typer.echo(f"DSC {row['value']:.3f}{interval}  {row['class_name']}  {row['model']}")
    typer.echo(f"Wrote {folder / 'report.html'} and report.json.")
