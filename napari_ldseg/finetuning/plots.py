"""The plots of a run: its curves and one case during training, all cases at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..checkpoint.file import Checkpoint
from ..datasets.case import Case
from ..datasets.slices import read_counted
from ..evaluation.gallery import display_slice, pixel_aspect, representative_slice
from ..evaluation.plots import Panels, one_image, predictions
from ..training.log import COLUMNS, Progress
from ..training.plots import curves, write_plot
from ..training.run_folder import CURVES
from .case_snapshot import label_map
from .comparison import Comparison

SECONDS_BETWEEN_CURVES = 5
SHOWN_CASES = 12


class LivePlots:
    """Keeps ``curves.png`` and ``preview.png`` of a run's folder up to date."""

    def __init__(
        self, folder: Path, case: Case, base: Checkpoint | None, names: Sequence[str], device: str
    ):
        self.rows: list[Mapping[str, float]] = []
        self._folder, self._case, self._names, self._device = folder, case, names, device
        self._drawn = 0.0
        self._before = None if base is None else label_map(base, case, names, device)

    def on_progress(self, progress: Progress) -> None:
        """Add one update."""
        known = progress.validation_dsc
        losses = {name: float(value) for name, value in progress.loss._asdict().items()}
        row = dict.fromkeys(COLUMNS, float("nan")) | losses | {"update": float(progress.update)}
        self.rows.append(row | {"validation_dsc": float("nan") if known is None else known})
        now = time.monotonic()
        last = progress.update == progress.updates
        if last or known is not None or now - self._drawn > SECONDS_BETWEEN_CURVES:
            write_plot(self._folder / CURVES, curves(self.rows, narrow=True))
            self._drawn = now

    def on_validation(self, checkpoint: Checkpoint) -> None:
        """Show how the model segments the case now."""
        now = label_map(checkpoint, self._case, self._names, self._device)
        shown, columns = case_panels(self._case, self._before, now)
        found = [shown[key] for key in ("label", "baseline") if key in shown]
        labels = {"image": None, "yours": shown["expert"], **dict(zip(columns, found, strict=True))}
        classes, aspect = checkpoint.metadata.classes, float(shown["aspect"])
        png = one_image(shown["image"], aspect, labels, classes)
        write_plot(self._folder / "preview.png", png)


def save_comparison(
    folder: Path,
    base: Checkpoint | None,
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    comparison: Comparison,
    device: str = "auto",
) -> None:
    """Draw up to 12 cases into comparison.png, those that became worst first."""
    names = ["background", *comparison.classes]
    order = np.argsort([c.gain if c.gain is not None else 0.0 for c in comparison.changes])
    rows: dict[str, tuple[Panels, str]] = {}
    columns: list[str] = []
    for index in order[:SHOWN_CASES]:
        case, change = cases[index], comparison.changes[index]
        old = None if base is None else label_map(base, case, names, device)
        shown, columns = case_panels(case, old, label_map(checkpoint, case, names, device))
        before, after = change.means
        text = " → ".join(f"{value:.3f}" for value in (before, after) if value is not None)
        rows[case.name] = (shown, f"DSC {text}" if text else "")
    if rows:
        png = predictions(rows, checkpoint.metadata.classes, columns)
        write_plot(folder / "comparison.png", png)


def case_panels(case: Case, before: np.ndarray | None, now: np.ndarray) -> tuple[Panels, list[str]]:
    """Return the panels of a case's representative slice and the titles of the models' columns."""
    scan, expert, reviewed = read_counted(case)
    index = representative_slice(expert * reviewed, now)
    at = slice(None) if index is None else index
    shown: Panels = {
        "image": display_slice(scan, index),
        "aspect": np.array(pixel_aspect(scan)),
        "expert": (expert * reviewed)[at],
    }
    if before is None:
        return shown | {"label": now[at]}, ["now"]
    return shown | {"label": before[at], "baseline": now[at]}, ["before", "now"]
