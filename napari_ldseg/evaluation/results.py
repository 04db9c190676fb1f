"""The results of a study as the content of report.json."""

from __future__ import annotations

import datetime
import math
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from .alternatives import (
    ALTERNATIVES,
    BETWEEN_READERS,
    BETWEEN_SAMPLES,
    DISTANCE,
    EMPTY,
    OF_READERS,
    OF_SAMPLES,
)
from .bootstrap import INTERVAL, RESAMPLES, Estimate
from .machine import describe_machine
from .observations import Key
from .predictions import Model
from .study import Study
from .uncertainty import BAND, BINS, Reliability, reliability

FORMAT = 1
NOT_SETTINGS = ("name", "description", "metrics", "software", "classes", "calibration", "domain")


def results(study: Study, source: str, available: int) -> dict[str, Any]:
    """Return all measurements, ready for JSON.

    ``source`` is the name of the data, ``available`` the number of cases that were drawn from.

    "figures" has one entry per metric (its key, value, 95 % interval, numbers of cases and patients),
    "cases" the values of every case with the same keys.
    """
    settings = study.settings
    metrics = [key._asdict() | asdict(estimate) for key, estimate in study.observations.estimates()]
    diagrams = reliabilities(study)
    for (model, detail), part in diagrams.items():
        entry = {"part": "uncertainty", "metric": "ECE", "model": model, "detail": detail or None}
        metrics.append(entry | asdict(part.error))
    metrics += [key._asdict() | asdict(e) for key, e in reader_correlations(study).items()]
    content = {
        "format_version": FORMAT,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "napari_ldseg": version("napari-ldseg"),
        "checkpoint": _described(study.model),
        "baseline": None if study.baseline is None else _described(study.baseline),
        "compared": [_described(model) for model in study.compared],
        "data": {
            "source": source,
            "available": available,
            "cases": len(study.cases),
            "patients": len({case.patient for case in study.cases}),
            "readers": min(len(case.read_labels) for case in study.cases),
            "classes": study.classes,
        },
        "settings": {
            "parts": list(settings.parts),
            "samples": study.main_sampling.samples,
            "steps": study.main_sampling.steps,
            "sampler": "ddim",
            "sweep_steps": list(settings.steps) if "steps" in settings.parts else [],
            "noise": list(settings.noise) if "noise" in settings.parts else [],
            "tolerance": study.tolerance,
            "unit": study.unit,
            "seed": settings.seed,
            "not_calibrated": study.not_calibrated,
            "unlike_training": study.unlike,
            "band_voxels": BAND,
            "ece_bins": BINS,
            "bootstrap_resamples": RESAMPLES,
            "interval_percentiles": list(INTERVAL),
        },
        "machine": describe_machine(settings.device),
        "figures": metrics,
        "reliability": [
            {
                "model": model,
                "detail": detail or None,
                "confidence_sums": part.sums[0].tolist(),
                "hit_sums": part.sums[1].tolist(),
                "voxels": part.sums[2].tolist(),
            }
            for (model, detail), part in diagrams.items()
        ],
        "ablation": ablation_settings(study.models) if study.compared else [],
        "examples": study.examples(),
        "cases": [
            {
                "case": case.name,
                "patient": case.patient,
                "figures": [
                    key._asdict() | {"value": values[case.name]}
                    for key, values in study.observations.values.items()
                    if case.name in values
                ],
            }
            for case in study.cases
        ],
    }
    return _without_nan(content)


def reliabilities(study: Study) -> dict[tuple[str, str], Reliability]:
    """Return the reliability by model and detail, if there are voxels near a boundary."""
    patients = {case.name: case.patient for case in study.cases}
    result = {}
    for source, sums in study.reliability.items():
        owners = [patients[name] for name in sums]
        part = reliability(np.stack(list(sums.values())), owners, study.settings.seed)
        if part is not None:
            result[source] = part
    return result


def reader_correlations(study: Study) -> dict[Key, Estimate]:
    """Return the rank correlations over the cases of samples and readers: their distances and empty labels."""
    between, empty = (
        study.reader_key(DISTANCE, BETWEEN_READERS),
        study.reader_key(EMPTY, OF_READERS),
    )
    if between not in study.observations.values:
        return {}
    correlations = {}
    for detail, of_samples, of_readers in (
        (
            "distance between samples with distance between readers",
            (DISTANCE, BETWEEN_SAMPLES),
            between,
        ),
        ("alternatives with distance between readers", (ALTERNATIVES, None), between),
        ("empty samples with empty readers", (EMPTY, OF_SAMPLES), empty),
    ):
        estimate = study.observations.rank_correlation(study.reader_key(*of_samples), of_readers)
        if estimate is not None:
            correlations[study.reader_key("rank correlation", f"of {detail}")] = estimate
    return correlations


def ablation_settings(models: list[Model]) -> list[dict[str, Any]]:
    """Return for each model its label and the settings that differ between the models."""
    flat = []
    for model in models:
        fields = model.checkpoint.metadata.model_dump(mode="json", exclude=set(NOT_SETTINGS))
        fields["training"] = {
            k: v for k, v in fields["training"].items() if k in ("updates", "settings")
        }
        flat.append(_flatten(fields))
    names = list(dict.fromkeys(name for fields in flat for name in fields))
    differing = [n for n in names if len({repr(fields.get(n)) for fields in flat}) > 1]
    return [
        {"model": model.label, "settings": {n: fields.get(n) for n in differing}}
        for model, fields in zip(models, flat, strict=True)
    ]


def _described(model: Model) -> dict[str, Any]:
    checkpoint, metadata = model.checkpoint, model.checkpoint.metadata
    return {
        "label": model.label,
        "name": metadata.name,
        "file": None if checkpoint.path is None else checkpoint.path.name,
        "sha256": checkpoint.sha256,
        "networks": metadata.networks,
        "label_steps": metadata.label_steps,
        "posterior_steps": metadata.posterior_steps,
        "training_data": metadata.training.data,
        "split": metadata.training.split,
    }


def _flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _without_nan(value: Any) -> Any:
    """Return ``value`` with None for NaN and infinity, which JSON cannot represent."""
    if isinstance(value, dict):
        return {str(k): _without_nan(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
