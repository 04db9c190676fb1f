"""DSC and IoU on held-out cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_iou

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Metadata, Metric
from ..datasets.case import Case
from ..datasets.slices import read_counted
from ..inference.segment import segment


def overlap(label: np.ndarray, expert: np.ndarray, classes: int) -> np.ndarray:
    """Return DSC and IoU per foreground class, (2, classes - 1).

    NaN for a class that neither has, 0 for a class that only one of them has.
    """
    predicted, true = one_hot(label, classes), one_hot(expert, classes)
    values = torch.cat(
        [
            compute(predicted, true, include_background=True, ignore_empty=False)
            for compute in (compute_dice, compute_iou)
        ]
    ).numpy()
    values[:, ~present(label, expert, classes).any(0)] = np.nan
    return values


def mean_dsc(label: np.ndarray, expert: np.ndarray, classes: int) -> float:
    """Return the mean DSC over the foreground classes that either has; 1 if both have none."""
    values = overlap(label, expert, classes)[0]
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 1.0


def one_hot(label: np.ndarray, classes: int) -> torch.Tensor:
    """Return the foreground classes of a label (*space) for MONAI, float (1, classes - 1, *space)."""
    values = np.arange(1, classes).reshape(-1, *(1,) * label.ndim)
    return torch.from_numpy(values == label)[None].float()


def present(label: np.ndarray, expert: np.ndarray, classes: int) -> np.ndarray:
    """Return whether the label and the expert have each foreground class, bool (2, classes - 1)."""
    return np.array([[(a == c).any() for c in range(1, classes)] for a in (label, expert)])


def evaluate(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    n: int = 1,
    steps: int | None = None,
    device: str = "auto",
    on_case: Callable[[], None] = lambda: None,
    classes: Sequence[str] | None = None,
) -> np.ndarray:
    """Segment ``cases`` on their own grids; return (cases, 2, classes - 1): DSC and IoU per class.

    Of a partly annotated case only the reviewed voxels are compared, of a case ``by_slice`` only its
    slices. ``classes`` are the names of the label values, background first, if they differ from the
    checkpoint's. ``on_case`` is called after every case.
    """
    count = checkpoint.metadata.architecture.classes if classes is None else len(classes)
    results = []
    for case in cases:
        scan, expert, reviewed = read_counted(case)
        labels = segment(checkpoint, scan, n, steps=steps, device=device).labels
        if classes is not None:
            labels = renumbered(labels, checkpoint.metadata, classes)
        results.append(overlap(labels * reviewed, expert * reviewed, count))
        on_case()
    return np.array(results).reshape(len(cases), 2, count - 1)


def renumbered(labels: np.ndarray, metadata: Metadata, classes: Sequence[str]) -> np.ndarray:
    """Return a checkpoint's label map with the values of ``classes`` (names), and 0 for other classes."""
    values = {name: value for value, name in enumerate(classes) if value}
    known = [c.name for c in metadata.classes][1:]
    return np.array([0, *(values.get(name, 0) for name in known)], np.uint8)[labels]


def metrics(
    results: np.ndarray, checkpoint: Checkpoint, split: str, n: int, steps: int
) -> tuple[Metric, ...]:
    """Return the mean over cases of DSC and IoU per foreground class, from the results of ``evaluate``.

    The mean is over the cases in which the expert or the model has the class; there is none without.
    """
    names = [c.name for c in checkpoint.metadata.classes][1:]
    counts = np.isfinite(results).sum(axis=0)
    sums = np.nansum(results, axis=0)
    return tuple(
        Metric(
            name=metric,
            class_name=name,
            value=round(float(sums[row, column] / counts[row, column]), 4),
            split=split,
            cases=int(counts[row, column]),
            samples=n,
            steps=steps,
        )
        for row, metric in enumerate(("DSC", "IoU"))
        for column, name in enumerate(names)
        if counts[row, column]
    )
