"""The report's sections: text, tables and plots for each part of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..checkpoint.metadata import MIN_CASES_FOR_COVERAGE
from ..utils.text import count_text
from . import plots
from .bootstrap import Estimate
from .observations import ALL_CLASSES, Key
from .readers_section import readers_section
from .results import reliabilities
from .section import (
    Plot,
    Section,
    Table,
    classes_of,
    estimate_text,
    example_panels,
    sampling_text,
)
from .study import CALIBRATED, Study
from .uncertainty import BAND, BINS


def sections(study: Study, content: dict[str, Any]) -> list[Section]:
    """Return the sections of all measured parts; ``content`` is that of report.json."""
    parts = study.settings.parts
    found = [_overlap(study)] if "overlap" in parts else []
    found += [_steps(study)] if "steps" in parts else []
    found += [_noise(study)] if "noise" in parts else []
    found += [_ablation(study, content)] if study.compared else []
    found += [_uncertainty(study)] if "uncertainty" in parts else []
    found += [readers_section(study)] if "readers" in parts else []
    return [*found, _time(study, content)]


def _rows(study: Study) -> list[str]:
    """Return the foreground classes and, if there are several, their mean."""
    names = study.classes[1:]
    return [*names, ALL_CLASSES] if len(names) > 1 else names


def _overlap(study: Study) -> Section:
    tables, unit = [], study.unit
    for model in dict.fromkeys(k.model for k in study.observations.keys(part="overlap")):
        rows: list[tuple[str, ...]] = []
        sampling = None
        for name in _rows(study):
            fields = {"part": "overlap", "model": model, "class_name": name}
            found = {key.metric: (key, e) for key, e in study.observations.estimates(**fields)}
            if not found:
                rows.append((name, "-", "-", "-", "-", "0"))
                continue
            sampling, first = found["DSC"]
            digits = {"DSC": 3, "IoU": 3, "HD95": 2, "NSD": 3}
            texts = [estimate_text(found[metric][1], digits[metric]) for metric in digits]
            rows.append((name, *texts, str(first.cases)))
        header = ("class", "DSC", "IoU", f"HD95 in {unit}", f"NSD, {study.tolerance:g} {unit}")
        caption = (
            model
            if sampling is None
            else f"{model}, {sampling_text(sampling.samples, sampling.steps)}"
        )
        tables.append(Table(caption, (*header, "cases"), rows))
    models = [study.model.label, *([study.baseline.label] if study.baseline else [])]
    png = plots.predictions(example_panels(study), classes_of(study), models)
    text = (
        "Mean over the cases with its 95 % interval. Every label map is compared with the expert's on "
        "the image's own grid. A case counts for a class if the expert or the model has the class."
    )
    caption = (
        "The cases with the best, the median and the worst DSC (mean over classes). Of a volume, the "
        "slice with most of the expert's structures."
    )
    return Section(
        "overlap", "Overlap with the expert", (text,), tuple(tables), (Plot(png, caption),)
    )


def _curve(study: Study, part: str, x: str) -> dict[tuple[str, str], dict[float, Estimate]]:
    """Return the DSC of a sweep: (model, class) to x to estimate."""
    lines: dict[tuple[str, str], dict[float, Estimate]] = {}
    for key, estimate in study.observations.estimates(part=part, metric="DSC"):
        line = lines.setdefault((key.model, str(key.class_name)), {})
        line[getattr(key, x)] = estimate
    return lines


def _seconds(study: Study, key: Key) -> str:
    """Return the seconds per image with the model, samples and steps of ``key`` as text."""
    fields = {"part": "time", "model": key.model, "samples": key.samples, "steps": key.steps}
    found = [e for _, e in study.observations.estimates(**fields)]
    return f"{found[0].value:.3g}" if found else "-"


def _summary_class(study: Study) -> str:
    """Return the name of the row for all classes."""
    return _rows(study)[-1]


def _dsc_and_iou(study: Study, part: str) -> Iterator[tuple[Key, Estimate, Estimate | None]]:
    """Yield key, DSC and IoU of the row for all classes."""
    for key, dsc in study.observations.estimates(
        metric="DSC", class_name=_summary_class(study), part=part
    ):
        yield key, dsc, study.observations.estimate(key._replace(metric="IoU"))


def _steps(study: Study) -> Section:
    rows = [
        (key.model, str(key.steps), estimate_text(dsc), estimate_text(iou), _seconds(study, key))
        for key, dsc, iou in _dsc_and_iou(study, "steps")
    ]
    lines = _curve(study, "steps", "steps")
    levels = {}
    if study.baseline:
        baseline = {k: v for k, v in lines.items() if k[0] == study.baseline.label}
        levels = {k: next(iter(v.values())) for k, v in baseline.items()}
        lines = {k: v for k, v in lines.items() if k not in baseline}
    png = plots.curves(
        lines, classes_of(study), "sampling steps K", levels=levels, logarithmic=True
    )
    text = (
        "One sample per image with K sampling times, always from the same initial noise. Few steps are "
        "enough for a label map, but not for its uncertainty."
    )
    header = ("model", "K", "DSC", "IoU", "seconds per image")
    table = Table(f"{_summary_class(study)}, N = 1", header, rows)
    plot = Plot(png, "DSC against the number of sampling steps; the band is the 95 % interval.")
    return Section("steps", "Sampling steps", (text,), (table,), (plot,))


def _noise(study: Study) -> Section:
    rows = [
        (key.model, f"{key.noise:g}", estimate_text(dsc), estimate_text(iou))
        for key, dsc, iou in _dsc_and_iou(study, "noise")
    ]
    models = [study.model.label, *([study.baseline.label] if study.baseline else [])]
    ranked = study.examples()
    name = ranked.get("median", ranked["best"])
    section_plots = (
        Plot(
            plots.noise_examples(
                study.gallery[name], study.settings.noise, classes_of(study), models
            ),
            f"{name} at each noise level.",
        ),
        Plot(
            plots.curves(
                _curve(study, "noise", "noise"), classes_of(study), "SD of the added noise"
            ),
            "DSC against the noise; the band is the 95 % interval.",
        ),
    )
    steps = study.model.checkpoint.metadata.label_steps
    text = (
        "The image is mapped to [0, 1], Gaussian noise of the given SD is added, and the result is "
        f"mapped to [0, 1] again. One sample per image; {study.model.label} with K = {steps}. SD 0 is "
        "the image without noise."
    )
    table = Table(f"{_summary_class(study)}, N = 1", ("model", "noise SD", "DSC", "IoU"), rows)
    return Section("noise", "Noise", (text,), (table,), section_plots)


def _ablation(study: Study, content: dict[str, Any]) -> Section:
    settings = {row["model"]: row["settings"] for row in content["ablation"]}
    names = list(next(iter(settings.values())))
    rows = [
        (
            key.model,
            *(_setting(settings[key.model][n]) for n in names),
            str(key.steps),
            estimate_text(dsc),
            estimate_text(iou),
        )
        for key, dsc, iou in _dsc_and_iou(study, "ablation")
    ]
    text = "The same cases with each checkpoint: one sample per image, with the checkpoint's label steps."
    header = ("model", *names, "K", "DSC", "IoU")
    caption = f"{_summary_class(study)}, N = 1; only the settings that differ"
    return Section("ablation", "Ablation", (text,), (Table(caption, header, rows),))


def _setting(value: object) -> str:
    if isinstance(value, list):
        return " ".join(str(v) for v in value)
    if value is None:
        return "-"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _uncertainty(study: Study) -> Section:
    detection = Table(
        f"AUROC of detecting wrong voxels within {BAND} voxels of the predicted boundary",
        ("errors of", "score", "AUROC", "cases (patients)"),
        [
            (key.model, str(key.detail), estimate_text(e), f"{e.cases} ({e.patients})")
            for key, e in study.observations.estimates(part="uncertainty", metric="AUROC")
        ],
    )
    diagrams = reliabilities(study)
    errors = Table(
        f"Expected calibration error of the probability, {BINS} bins, same band",
        ("model", "", "ECE", "cases (patients)"),
        [
            (model, detail, estimate_text(c.error), f"{c.error.cases} ({c.error.patients})")
            for (model, detail), c in diagrams.items()
        ],
    )
    section_plots = [
        Plot(
            plots.uncertainty_maps(example_panels(study), classes_of(study)),
            "The cases with the best, the median and the worst DSC. Mean prediction: the classes' "
            "colours weighted by their probability. Errors: white where the label differs from "
            "the expert's.",
        )
    ]
    if diagrams:
        sources = {
            f"{model} {detail}".strip(): (c.sums, c.error.value)
            for (model, detail), c in diagrams.items()
        }
        section_plots.append(
            Plot(
                plots.reliability_diagram(sources),
                "Reliability: how often the most probable class is correct, by its probability. "
                "Bins with less than 0.1 % of the voxels are omitted.",
            )
        )
    tables = [detection, errors]
    text = [
        "AUROC is the probability that a wrong voxel near the boundary has a higher score than a correct "
        "one: 1 is perfect, 0.5 is chance. It is computed per case and averaged over the cases that have "
        "a boundary and an error near it.",
    ]
    calibration = study.model.checkpoint.metadata.calibration
    if calibration is not None and study.not_calibrated is None:
        text.append(
            "The checkpoint's calibration was measured on "
            f"{count_text(calibration.cases, f'{calibration.split} patient')}. On their cases the calibrated "
            "results are too optimistic."
        )
    elif calibration is not None:
        text.append(f"Not calibrated: {study.not_calibrated}.")
    if study.unlike:
        text.append(
            f"{len(study.unlike)} of {count_text(len(study.cases), 'case')} are unlike the images that the model "
            "was trained on, and nothing is calibrated on them; the results list them as unlike_training. The "
            "calibration errors of the samples alone are without them."
        )
    coverage = list(study.observations.estimates(part="uncertainty", metric="coverage"))
    if coverage:
        names = {CALIBRATED: f"calibrated, {100 * calibration.level:g} %"} if calibration else {}
        tables.append(
            Table(
                "Share of cases whose expert volume is in the volume interval",
                ("class", "interval", "share", "cases (patients)"),
                [
                    (
                        str(k.class_name),
                        names.get(str(k.detail), str(k.detail)),
                        estimate_text(e, 2),
                        f"{e.cases} ({e.patients})",
                    )
                    for k, e in coverage
                ],
            )
        )
        patients = len({case.patient for case in study.cases})
        if patients < MIN_CASES_FOR_COVERAGE:
            text.append(
                f"The coverage of the volume intervals was measured on {count_text(patients, 'patient')}: "
                f"fewer than {MIN_CASES_FOR_COVERAGE}, so no claim about it is made."
            )
    return Section("uncertainty", "Uncertainty", tuple(text), tuple(tables), tuple(section_plots))


def _time(study: Study, content: dict[str, Any]) -> Section:
    machine = content["machine"]
    rows = [
        (key.model, str(key.samples), str(key.steps), f"{e.value:.3g}")
        for key, e in study.observations.estimates(part="time")
    ]
    text = (
        "Median over the cases of the time from the image in memory to the label map on the image's "
        f"grid. Device: {machine['device']} ({machine['device_name']}); threads: {machine['threads']}, "
        f"cores: {machine['cores']}."
    )
    return Section(
        "time",
        "Seconds per image",
        (text,),
        (Table("", ("model", "samples N", "steps K", "seconds"), rows),),
    )
