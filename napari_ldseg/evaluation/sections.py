"""The report's chapters: what is said, tabled and drawn of each part of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checkpoint.metadata import MIN_CASES_FOR_COVERAGE
from . import plots as figures
from .bootstrap import Estimate
from .observations import ALL_CLASSES, Key
from .readers_section import readers_section
from .results import reliabilities
from .section import (
    Plot,
    Section,
    Table,
    classes_of,
    counted,
    examples,
    sampling_text,
    shown,
)
from .study import CALIBRATED, Study
from .uncertainty import BAND, BINS


def sections(study: Study, found: dict[str, Any]) -> list[Section]:
    """Return the chapters of the parts that were measured."""
    parts = study.settings.parts
    chapters = [_overlap(study)] if "overlap" in parts else []
    chapters += [_steps(study)] if "steps" in parts else []
    chapters += [_noise(study)] if "noise" in parts else []
    chapters += [_ablation(study, found)] if study.compared else []
    chapters += [_uncertainty(study)] if "uncertainty" in parts else []
    chapters += [readers_section(study)] if "readers" in parts else []
    return [*chapters, _time(study, found)]


def _rows(study: Study) -> list[str]:
    """The foreground classes and, if there are several, their mean."""
    names = study.classes[1:]
    return [*names, ALL_CLASSES] if len(names) > 1 else names


def _overlap(study: Study) -> Section:
    tables, unit = [], study.unit
    for model in dict.fromkeys(k.model for k in study.observations.keys(part="overlap")):
        rows: list[tuple[str, ...]] = []
        sampling = None
        for name in _rows(study):
            wanted = {"part": "overlap", "model": model, "class_name": name}
            found = {key.metric: (key, e) for key, e in study.observations.estimates(**wanted)}
            if not found:
                rows.append((name, "-", "-", "-", "-", "0"))
                continue
            sampling, first = found["DSC"]
            digits = {"DSC": 3, "IoU": 3, "HD95": 2, "NSD": 3}
            texts = [shown(found[metric][1], digits[metric]) for metric in digits]
            rows.append((name, *texts, str(first.cases)))
        header = ("class", "DSC", "IoU", f"HD95 in {unit}", f"NSD, {study.tolerance:g} {unit}")
        caption = (
            model
            if sampling is None
            else f"{model}, {sampling_text(sampling.samples, sampling.steps)}"
        )
        tables.append(Table(caption, (*header, "cases"), rows))
    models = [study.model.label, *([study.baseline.label] if study.baseline else [])]
    drawing = figures.predictions(examples(study), classes_of(study), models)
    text = (
        "Mean over the cases, with its 95 % interval. Every label was compared on the image's own "
        "grid with the expert's. A case counts for a class if the expert or the model has the class."
    )
    caption = (
        "The cases with the best, the median and the worst DSC (mean over classes). Of a volume, the "
        "slice with most of the expert's structures."
    )
    return Section(
        "overlap", "Overlap with the expert", (text,), tuple(tables), (Plot(drawing, caption),)
    )


def _curve(study: Study, part: str, x: str) -> dict[tuple[str, str], dict[float, Estimate]]:
    """Return (model, class) to x to DSC of one part's sweep."""
    lines: dict[tuple[str, str], dict[float, Estimate]] = {}
    for key, estimate in study.observations.estimates(part=part, metric="DSC"):
        line = lines.setdefault((key.model, str(key.class_name)), {})
        line[getattr(key, x)] = estimate
    return lines


def _seconds(study: Study, key: Key) -> str:
    wanted = {"part": "time", "model": key.model, "samples": key.samples, "steps": key.steps}
    found = [e for _, e in study.observations.estimates(**wanted)]
    return f"{found[0].value:.3g}" if found else "-"


def _summary_rows(study: Study) -> str:
    """The row that stands for all classes."""
    return _rows(study)[-1]


def _pairs(study: Study, **wanted: object) -> Iterator[tuple[Key, Estimate, Estimate | None]]:
    """Yield key, DSC and IoU of the row that stands for all classes."""
    for key, dsc in study.observations.estimates(
        metric="DSC", class_name=_summary_rows(study), **wanted
    ):
        yield key, dsc, study.observations.estimate(key._replace(metric="IoU"))


def _steps(study: Study) -> Section:
    rows = [
        (key.model, str(key.steps), shown(dsc), shown(iou), _seconds(study, key))
        for key, dsc, iou in _pairs(study, part="steps")
    ]
    lines = _curve(study, "steps", "steps")
    levels = {}
    if study.baseline:
        own = {k: v for k, v in lines.items() if k[0] == study.baseline.label}
        levels = {k: next(iter(v.values())) for k, v in own.items()}
        lines = {k: v for k, v in lines.items() if k not in own}
    drawing = figures.curves(
        lines, classes_of(study), "sampling steps K", levels=levels, logarithmic=True
    )
    text = (
        "One sample per image with K sampling times, the same initial noise throughout. Few steps "
        "suffice for a label map; they cannot show an uncertainty."
    )
    header = ("model", "K", "DSC", "IoU", "seconds per image")
    table = Table(f"{_summary_rows(study)}, N = 1", header, rows)
    picture = Plot(
        drawing, "DSC against the number of sampling steps; the shade is the 95 % interval."
    )
    return Section("steps", "Sampling steps", (text,), (table,), (picture,))


def _noise(study: Study) -> Section:
    rows = [
        (key.model, f"{key.noise:g}", shown(dsc), shown(iou))
        for key, dsc, iou in _pairs(study, part="noise")
    ]
    models = [study.model.label, *([study.baseline.label] if study.baseline else [])]
    ranked = study.examples()
    name = ranked.get("median", ranked["best"])
    drawings = (
        Plot(
            figures.noise_examples(
                study.gallery[name], study.settings.noise, classes_of(study), models
            ),
            f"{name} at each strength of noise.",
        ),
        Plot(
            figures.curves(
                _curve(study, "noise", "noise"), classes_of(study), "SD of the added noise"
            ),
            "DSC against the noise; the shade is the 95 % interval.",
        ),
    )
    steps = study.model.checkpoint.metadata.label_steps
    text = (
        "The image is mapped to [0, 1], Gaussian noise of the given SD is added, and the sum is mapped "
        f"to [0, 1] again. One sample per image; {study.model.label} with K = {steps}. SD 0 is the image "
        "itself."
    )
    table = Table(f"{_summary_rows(study)}, N = 1", ("model", "noise SD", "DSC", "IoU"), rows)
    return Section("noise", "Noise", (text,), (table,), drawings)


def _ablation(study: Study, found: dict[str, Any]) -> Section:
    settings = {row["model"]: row["settings"] for row in found["ablation"]}
    names = list(next(iter(settings.values())))
    rows = [
        (
            key.model,
            *(_setting(settings[key.model][n]) for n in names),
            str(key.steps),
            shown(dsc),
            shown(iou),
        )
        for key, dsc, iou in _pairs(study, part="ablation")
    ]
    text = "The same cases with each checkpoint, one sample per image with its own number of steps."
    header = ("model", *names, "K", "DSC", "IoU")
    caption = f"{_summary_rows(study)}, N = 1; of the settings only those that differ"
    return Section("ablation", "Ablation", (text,), (Table(caption, header, rows),))


def _setting(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(v) for v in value)
    if value is None:
        return "-"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _uncertainty(study: Study) -> Section:
    detection = Table(
        f"AUROC of finding the wrong voxels within {BAND} voxels of the predicted boundary",
        ("errors of", "score", "AUROC", "cases (patients)"),
        [
            (key.model, str(key.detail), shown(e), f"{e.cases} ({e.patients})")
            for key, e in study.observations.estimates(part="uncertainty", metric="AUROC")
        ],
    )
    found = reliabilities(study)
    errors = Table(
        f"Expected calibration error of the mean probability, {BINS} bins, same band",
        ("model", "", "ECE", "cases (patients)"),
        [
            (model, detail, shown(c.error), f"{c.error.cases} ({c.error.patients})")
            for (model, detail), c in found.items()
        ],
    )
    pictures = [
        Plot(
            figures.uncertainty_maps(examples(study), classes_of(study)),
            "The cases with the best, the median and the worst DSC. Mean prediction: the classes' "
            "colours mixed by their mean probability. Errors: white where the label is not the "
            "expert's.",
        )
    ]
    if found:
        sources = {
            f"{model} {detail}".strip(): (c.sums, c.error.value)
            for (model, detail), c in found.items()
        }
        pictures.append(
            Plot(
                figures.reliability_diagram(sources),
                "Reliability: how often the most probable class is right, by its probability. "
                "Bins with less than 0.1 % of the voxels are left out.",
            )
        )
    tables = [detection, errors]
    text = [
        "AUROC is the chance that a wrong voxel near the boundary has a higher score than a right one: "
        "1 is perfect, 0.5 is guessing. It is computed per case and averaged; cases without an error, or "
        "without a boundary, have none.",
    ]
    calibration = study.model.checkpoint.metadata.calibration
    if calibration is not None and study.not_calibrated is None:
        text.append(
            "The checkpoint's calibration was measured on "
            f"{counted(calibration.cases, f'{calibration.split} case')}. On the same cases its figures "
            "flatter."
        )
    elif calibration is not None:
        text.append(f"Not calibrated: {study.not_calibrated}.")
    coverage = list(study.observations.estimates(part="uncertainty", metric="coverage"))
    if coverage:
        names = {CALIBRATED: f"calibrated, {100 * calibration.level:g} %"} if calibration else {}
        tables.append(
            Table(
                "Share of cases whose expert volume lies in the volume interval",
                ("class", "interval", "share", "cases (patients)"),
                [
                    (
                        str(k.class_name),
                        names.get(str(k.detail), str(k.detail)),
                        shown(e, 2),
                        f"{e.cases} ({e.patients})",
                    )
                    for k, e in coverage
                ],
            )
        )
        patients = len({case.patient for case in study.cases})
        if patients < MIN_CASES_FOR_COVERAGE:
            text.append(
                f"The shares of the volume intervals rest on {counted(patients, 'patient')}: fewer than "
                f"{MIN_CASES_FOR_COVERAGE}, so no claim is made about how often the intervals hold."
            )
    return Section("uncertainty", "Uncertainty", tuple(text), tuple(tables), tuple(pictures))


def _time(study: Study, found: dict[str, Any]) -> Section:
    machine = found["machine"]
    rows = [
        (key.model, str(key.samples), str(key.steps), f"{e.value:.3g}")
        for key, e in study.observations.estimates(part="time")
    ]
    text = (
        "Median over the cases of the seconds from the image in memory to the label map on its own "
        f"grid. Device: {machine['device']} ({machine['device_name']}); threads used: "
        f"{machine['threads']}, cores: {machine['cores']}."
    )
    return Section(
        "time",
        "Seconds per image",
        (text,),
        (Table("", ("model", "samples N", "steps K", "seconds"), rows),),
    )
