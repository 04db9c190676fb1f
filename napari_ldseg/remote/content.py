"""What the messages say: a scan, the settings of a run, and its progress."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..inference.progress import Progress, RunSettings, View
from ..inference.region import Region
from ..scans.scan import Scan
from .wire import FOREIGN, Message

IMAGE = "image"
MAPS = {
    "sample_sd": np.dtype(np.float32),
    "predictive_sd": np.dtype(np.float32),
    "error_probability": np.dtype(np.float32),
    "runner_up": np.dtype(np.uint8),
}


def scan_message(scan: Scan) -> Message:
    """Return ``scan`` as a message: the array as it is, and the exact affine, but not the file it is from."""
    fields = {
        "affine": np.asarray(scan.affine, float).tolist(),
        "channels": scan.channels,
        "calibrated": scan.calibrated,
        "name": scan.name,
        "flat": scan.flat,
        "modality": scan.modality,
    }
    return Message(fields, {IMAGE: np.asarray(scan.array)})


def scan_from(message: Message) -> Scan:
    """Return the scan of a message. Raises LDSegError if it has none."""
    fields, array = message.fields, message.arrays.get(IMAGE)
    try:
        if array is None or not 2 <= array.ndim - bool(fields["channels"]) <= 8:
            raise LDSegError(FOREIGN)
        return Scan(
            array,
            np.array(fields["affine"], float),
            channels=bool(fields["channels"]),
            calibrated=bool(fields["calibrated"]),
            name=str(fields["name"])[:200],
            flat=bool(fields["flat"]),
            modality=str(fields["modality"])[:20],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LDSegError(FOREIGN) from error


def run_fields(
    session: str, region: Region, settings: RunSettings, focus: tuple[float, ...] | None
) -> dict[str, Any]:
    """Return what a run is asked for, as JSON."""
    return {
        "session": session,
        "region": [list(region.start), list(region.stop)],
        "samples": settings.samples,
        "steps": settings.steps,
        "seed": settings.seed,
        "focus": focus,
    }


def progress_message(progress: Progress) -> Message:
    """Return ``progress`` as a message, without the samples of its view."""
    fields: dict[str, Any] = {
        "message": progress.message,
        "fraction": progress.fraction,
        "notice": progress.notice,
        "last": progress.last,
    }
    view = progress.view
    if view is None:
        return Message(fields)
    fields |= {"summary": view.summary, "region": [list(view.region.start), list(view.region.stop)]}
    maps = {name: getattr(view, name) for name in MAPS}
    arrays = {name: array for name, array in maps.items() if array is not None}
    return Message(fields, {"labels": view.labels, "labelled": view.labelled, **arrays})


def progress_from(message: Message, shape: tuple[int, ...], classes: int) -> Progress:
    """Return the progress of a message about an image part of ``shape`` and a model with ``classes``.

    Raises
    ------
    LDSegError
        If its arrays are not of this shape, or it is no progress.
    """
    fields = message.fields
    try:
        return Progress(
            str(fields.get("message", ""))[:300],
            min(max(float(fields.get("fraction", 0)), 0.0), 1.0),
            _view(message, shape, classes) if message.arrays else None,
            str(fields.get("notice", ""))[:300],
            bool(fields.get("last", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LDSegError(FOREIGN) from error


def region_from(value: Any, shape: tuple[int, ...]) -> Region:
    """Return the box ``[start, stop]`` inside an image of ``shape``. Raises ValueError or TypeError if it is none."""
    start, stop = (tuple(int(i) for i in corner) for corner in value)
    if any(not 0 <= a < b <= n for a, b, n in zip(start, stop, shape, strict=True)):
        raise ValueError("the region is outside the image")
    return Region(start, stop)


def _view(message: Message, shape: tuple[int, ...], classes: int) -> View:
    fields, arrays = message.fields, message.arrays
    labels, labelled = arrays["labels"], arrays["labelled"]
    summary = fields["summary"]
    maps = {name: arrays[name] for name in MAPS if name in arrays}
    kinds = [labels.dtype == np.uint8, labelled.dtype == bool]
    kinds += [array.dtype == MAPS[name] for name, array in maps.items()]
    shapes = [labels.shape, *(array.shape for array in maps.values())]
    rows = labelled.shape == shape[: labelled.ndim] and math.prod(labelled.shape) > 0
    if not all(kinds) or any(s != shape for s in shapes) or not rows or labels.max() >= classes:
        raise LDSegError(FOREIGN)
    if summary is not None and not isinstance(summary.get("provenance"), dict):
        raise LDSegError(FOREIGN)
    region = region_from(fields["region"], shape)
    return View(labels, labelled, region, summary=summary, **maps)  # type: ignore[arg-type]
