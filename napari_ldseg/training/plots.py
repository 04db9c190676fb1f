"""Plots of a run: its curves, and a contact sheet of validation cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator

from ..checkpoint.file import Checkpoint
from ..datasets.case import Case
from ..errors import LDSegError
from ..evaluation.gallery import display_slice, pixel_aspect, representative_slice
from ..evaluation.overlap import overlap
from ..evaluation.plots import NARROW, WIDTH, Panels, png_figure, uncertainty_maps
from ..inference.segment import segment
from ..utils.atomic import atomic_write
from .log import read_log
from .run_folder import CURVES, LOG

TERMS = {"cross_entropy": "cross entropy", "dice": "Dice loss", "noise": "noise loss"}


def save_curves(folder: Path) -> Path:
    """Draw the loss terms and the validation DSC of ``folder``'s log into curves.png."""
    return write_plot(folder / CURVES, curves(read_log(folder / LOG)))


def curves(rows: Sequence[Mapping[str, float]], narrow: bool = False) -> bytes:
    """Draw the loss terms and the validation DSC of a log's rows; if ``narrow``, one above the other."""
    updates = np.array([row["update"] for row in rows])
    with png_figure(*((NARROW, 4.6) if narrow else (WIDTH, 4.2))) as (figure, png):
        losses, scores = figure.subplots(*((2, 1) if narrow else (1, 2)))
        for name, label in TERMS.items():
            values = np.array([row[name] for row in rows])
            used = values > 0  # a stage may have other terms than the next
            if not used.any():
                continue
            at, values = updates[used], values[used]
            (line,) = losses.plot(at, values, lw=0.5, alpha=0.25)
            style = {"marker": "o"} if len(values) == 1 else {}
            losses.plot(at, _smooth(values), lw=1.8, color=line.get_color(), label=label, **style)
        losses.set(xlabel="update", ylabel="loss", yscale="log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        losses.yaxis.set_major_formatter("{x:g}")
        losses.yaxis.set_minor_formatter("")
        losses.legend(frameon=False)
        measured = [row for row in rows if not np.isnan(row["validation_dsc"])]
        scores.plot([r["update"] for r in measured], [r["validation_dsc"] for r in measured], "o-")
        lowest = min((r["validation_dsc"] for r in measured), default=0.0) if narrow else 0.0
        scores.set(xlabel="update", ylim=(np.floor(max(0.0, lowest - 0.05) * 10) / 10, 1))
        scores.set_ylabel("validation DSC" if narrow else "mean DSC of validation cases")
        scores.set_xlim(losses.get_xlim())
    return png.getvalue()


def save_contact_sheet(
    folder: Path, checkpoint: Checkpoint, cases: Sequence[Case], samples: int, device: str
) -> Path:
    """Draw image, expert, mean prediction, both SDs and errors of ``cases`` into cases.png."""
    metadata = checkpoint.metadata
    rows: dict[str, tuple[Panels, str]] = {}
    for case in cases:
        scan, expert = case.read()
        posterior = segment(checkpoint, scan, samples, device=device)
        labels = posterior.labels
        index = representative_slice(expert, labels)
        at = slice(None) if index is None else index
        shown: Panels = {
            "image": display_slice(scan, index),
            "aspect": np.array(pixel_aspect(scan)),
            "expert": expert[at],
            "label": labels[at],
            "mean": posterior.probability[:, at],
            "predictive_sd": posterior.predictive_sd[at],
        }
        if posterior.sample_sd is not None:
            shown["sample_sd"] = posterior.sample_sd[at]
        scores = overlap(labels, expert, metadata.architecture.classes)[0]
        counted = scores[np.isfinite(scores)]
        dsc = f"DSC {counted.mean():.3f}" if counted.size else "no structure"
        rows[case.name] = (
            shown,
            dsc + ("" if index is None else f", slice {index + 1}"),
        )
    return write_plot(folder / "cases.png", uncertainty_maps(rows, metadata.classes))


def write_plot(path: Path, png: bytes) -> Path:
    """Write a PNG atomically. Raises LDSegError."""
    try:
        with atomic_write(path, ".png") as temporary:
            temporary.write_bytes(png)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror}.") from error
    return path


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a running mean over a fiftieth of the run, the ends included."""
    width = max(1, len(values) // 50)
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
