"""Pictures of a run: its curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..atomic import written_whole
from ..errors import LDSegError
from .log import read_log

TERMS = {"cross_entropy": "cross entropy", "dice": "Dice loss", "noise": "noise loss"}


def save_curves(folder: Path) -> Path:
    """Draw the loss terms and the validation DSC of ``folder``'s log into curves.png."""
    from matplotlib.figure import Figure

    rows = read_log(folder / "log.csv")
    updates = np.array([row["update"] for row in rows])
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    losses, overlap = figure.subplots(1, 2)
    for name, label in TERMS.items():
        values = np.array([row[name] for row in rows])
        (line,) = losses.plot(updates, values, lw=0.5, alpha=0.25)
        losses.plot(updates, _smooth(values), lw=1.8, color=line.get_color(), label=label)
    losses.set(xlabel="update", ylabel="loss", yscale="log")
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("{x:g}")
    losses.legend(frameon=False)
    measured = [row for row in rows if not np.isnan(row["validation_dsc"])]
    overlap.plot([r["update"] for r in measured], [r["validation_dsc"] for r in measured], "o-")
    overlap.set(xlabel="update", ylabel="mean DSC on validation cases", ylim=(0, 1))
    for axes in (losses, overlap):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    path = folder / "curves.png"
    try:
        with written_whole(path, ".png") as temporary:
            figure.savefig(temporary)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror}.") from error
    return path


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a running mean over a fiftieth of the run, the ends included."""
    width = max(1, len(values) // 50)
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
