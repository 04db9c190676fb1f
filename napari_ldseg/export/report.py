"""The report of one case on one page: where the model is unsure, sizes with intervals, and how it was made."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..evaluation.gallery import display_slice, pixel_aspect
from ..evaluation.plots import slices_with_map
from ..review.maps import MAP_TITLES, shown_sd
from ..utils.atomic import atomic_write
from ..utils.colours import class_colour
from ..utils.text import one_line
from .result import Result

SLICES = 3
# The settings of a run that a reader of the report can use, and their names.
SETTINGS = {
    "checkpoint": "Model",
    "checkpoint_sha256": "SHA-256 of the model",
    "samples": "Samples",
    "steps": "Steps per sample",
    "label_map": "Label map",
    "sampler": "Sampler",
    "seed": "Seed",
    "precision": "Precision",
    "device": "Device",
    "image_sha256": "SHA-256 of the image's voxels",
    "napari_ldseg": "napari-ldseg",
}


def write_report(
    path: Path,
    result: Result,
    name: str,
    predictive_sd: np.ndarray | None = None,
    sample_sd: np.ndarray | None = None,
) -> Path:
    """Write a self-contained HTML page about ``result``, atomically.

    Parameters
    ----------
    path
        Of the page.
    result
        With the voxels of its scan. Of a DICOM series nothing that names the patient is in the page.
    name
        The title of the page.
    predictive_sd, sample_sd
        Maps shaped like the scan, 0 to 0.5. The slices are those with the largest expected error by
        ``predictive_sd``, which is shown; without it ``sample_sd`` is.

    Raises
    ------
    LDSegError
        If the file cannot be written.
    """
    maps = {"predictive_sd": predictive_sd, "sample_sd": sample_sd}
    shown = shown_sd(maps)
    sd = None if shown is None else maps[shown]
    title = "no uncertainty" if shown is None else MAP_TITLES[shown]
    if sd is None:
        sd = np.zeros(result.scan.shape, np.float32)
    chosen = unsure_slices(_expected_errors(result, predictive_sd))
    plot = _plot(result, chosen, sd, title)
    page = (
        _environment()
        .get_template("case.html")
        .render(
            name=one_line(name),
            date=datetime.date.today().isoformat(),
            classes=_rows(result),
            interval=result.summary.get("calibrated", {}).get("meaning", ""),
            calibrated=result.summary.get("calibrated", {}).get("intervals", False),
            unlike=result.summary.get("warning"),
            edited=result.edited,
            expected_error=result.summary.get("expected_error"),
            ranking=result.summary.get("expected_error_ranking"),
            samples=result.summary.get("samples"),
            plot=base64.b64encode(plot).decode("ascii"),
            settings=_settings(result),
            shape=" × ".join(map(str, result.scan.shape)),
            element=_element(result),
            slices=len(chosen),
            unsure=shown is not None,
            spacing=_spacing(result),
        )
    )
    try:
        with atomic_write(path, ".html") as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
    return path


def unsure_slices(errors: np.ndarray) -> list[int]:
    """Return up to three slices with the largest ``errors``, in order, at least a tenth of all slices apart."""
    apart = max(1, len(errors) // 10)
    chosen: list[int] = []
    for index in np.argsort(-errors, kind="stable"):
        if len(chosen) < SLICES and all(abs(index - other) >= apart for other in chosen):
            chosen.append(int(index))
    return sorted(chosen)


def _expected_errors(result: Result, predictive_sd: np.ndarray | None) -> np.ndarray:
    """Return the expected number of wrong voxels of each slice; without an SD the number of labelled ones.

    Of two classes, SD = sqrt(p (1 - p)) gives the smaller of p and 1 - p, which is the error's probability.
    """
    if predictive_sd is None:
        weight = (np.asarray(result.labels) > 0).astype(np.float32)
    else:
        weight = (1 - np.sqrt(np.clip(1 - 4 * np.square(predictive_sd), 0, 1))) / 2
    return _as_slices(weight).sum((1, 2), dtype=np.float64)


def _as_slices(array: Any) -> np.ndarray:
    """Return (*leading, y, x) as (slices, y, x)."""
    array = np.asarray(array)
    return array.reshape(-1, *array.shape[-2:])


def _plot(result: Result, chosen: Sequence[int], sd: np.ndarray, title: str) -> bytes:
    """Return the PNG of the chosen slices."""
    scan, labels = result.scan, result.labels
    leading = scan.shape[:-2]
    count = max([*result.classes, int(np.max(labels))], default=0) + 1
    classes = [
        result.classes.get(value, ClassInfo(name=f"label {value}", colour=class_colour(value)))
        for value in range(count)
    ]
    rows = {}
    for index in chosen:
        at = tuple(int(i) for i in np.unravel_index(index, leading)) if leading else ()
        rows[_slice_title(result, at)] = {
            "image": display_slice(scan, at or None),
            "label": np.asarray(labels)[at],
            "map": np.asarray(sd)[at],
            "aspect": np.asarray(pixel_aspect(scan)),
        }
    return slices_with_map(rows, title, "SD", classes)


def _slice_title(result: Result, at: Sequence[Any]) -> str:
    """Return what the leading indices of a slice are, counted from 1."""
    if not len(at):
        return "image"
    what = ["frame"] * (len(result.scan.shape) - result.scan.space) + ["slice"]
    numbers = [f"{kind} {int(i) + 1}" for kind, i in zip(what, at, strict=False)]
    return ", ".join(numbers)


def _rows(result: Result) -> list[dict[str, str]]:
    """Return colour, name, size and interval of each class."""
    scan, summary = result.scan, result.summary
    labels = np.asarray(result.labels)
    time_points = max(1, int(np.prod(scan.shape[: len(scan.shape) - scan.space], dtype=int)))
    unit = ("mm3" if scan.space == 3 else "mm2") if scan.calibrated else f"{_element(result)}s"
    rows = []
    for value, info in sorted(result.classes.items()):
        size = float(np.count_nonzero(labels == value)) * scan.voxel_size / time_points
        model = summary.get("classes", {}).get(info.name, {})
        interval = model.get("interval")
        rows.append(
            {
                "colour": info.colour,
                "name": info.name,
                "size": size_text(size, unit),
                "interval": "–"
                if interval is None
                else " to ".join(size_text(end, unit) for end in interval),
            }
        )
    return rows


def size_text(size: float, unit: str) -> str:
    """Return a size in mm3, mm2, voxels or pixels for people: 12.3 mL, 4.56 cm², 789 voxels."""
    if unit in ("voxels", "pixels"):
        return f"{size:,.0f} {unit}"
    per, large, small = (1000, "mL", "mm³") if unit == "mm3" else (100, "cm²", "mm²")
    value, name = (size / per, large) if size >= per else (size, small)
    return f"{value:,.0f} {name}" if value >= 99.95 else f"{value:.3g} {name}"


def _settings(result: Result) -> dict[str, str]:
    provenance = result.provenance
    return {title: str(provenance[key]) for key, title in SETTINGS.items() if key in provenance}


def _element(result: Result) -> str:
    """Return what an element of the image is called."""
    return "voxel" if result.scan.space == 3 else "pixel"


def _spacing(result: Result) -> str:
    scan = result.scan
    if not scan.calibrated:
        return f"{_element(result)} size unknown"
    return " × ".join(f"{size:.3g}" for size in scan.spacing[-scan.space :]) + " mm"


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("napari_ldseg.export", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
