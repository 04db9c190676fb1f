"""What benchmarks/retina.py measures of a segmented photograph: F1, AUC-PR, HD95, and how well doubt finds errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from fundus_data import Fundus
from scipy import ndimage

from napari_ldseg.evaluation.uncertainty import error_auroc

THRESHOLDS = np.arange(1, 100) / 100

Predict = Callable[[Fundus], np.ndarray]  # class probabilities (classes, height, width)


def measure(predict: Predict, validation: list[Fundus], test: list[Fundus]) -> dict[str, Any]:
    """Return the chosen threshold and, per photograph, F1, AUC-PR and HD95."""
    probabilities, truths = [], []
    for case in validation:
        probabilities.append(predict(case)[1][case.inside])
        truths.append(case.label[case.inside] > 0)
    curve = f1_curve(np.concatenate(probabilities), np.concatenate(truths))
    threshold = float(THRESHOLDS[np.argmax(curve)])
    rows = {}
    for case in test:
        began = time.process_time()
        p = predict(case)[1]
        seconds = time.process_time() - began
        truth = (case.label > 0) & case.inside
        found = (p > threshold) & case.inside
        inside_p, inside_truth = p[case.inside], truth[case.inside]
        rows[case.name] = {
            "f1": dice(found, truth),
            "best_f1": float(f1_curve(inside_p, inside_truth).max()),
            "auc_pr": auc_pr(inside_p, inside_truth),
            "hd95": hd95(found, truth),
            "doubt_auroc": error_auroc(
                np.sqrt(inside_p * (1 - inside_p)), found[case.inside] != inside_truth
            ),
            "seconds": seconds,
        }
        print(case.name, {k: round(v, 4) for k, v in rows[case.name].items()}, flush=True)
    return {"threshold": threshold, "validation_f1": float(curve.max()), "cases": rows}


def measure_disc(predict: Predict, test: list[Fundus]) -> dict[str, Any]:
    """Return Dice and HD95 of disc (with cup) and cup per photograph."""
    rows = {}
    for case in test:
        found = np.where(case.inside, predict(case).argmax(0), 0)
        row = {}
        for name, first in (("disc", 1), ("cup", 2)):
            row[f"{name}_dice"] = dice(found >= first, case.label >= first)
            row[f"{name}_hd95"] = hd95(found >= first, case.label >= first)
        rows[case.name] = row
        print(case.name, {k: round(v, 4) for k, v in row.items()}, flush=True)
    return {"cases": rows}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Dice coefficient, which is F1, of two masks."""
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def f1_curve(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return F1 over all pixels at each of ``THRESHOLDS``."""
    bins = np.searchsorted(THRESHOLDS, p, side="left")  # how many thresholds lie below p
    counts = [np.bincount(bins[truth == v], minlength=len(THRESHOLDS) + 1) for v in (True, False)]
    true, false = (c[::-1].cumsum()[::-1][1:] for c in counts)
    return 2 * true / np.maximum(true + false + truth.sum(), 1)


def auc_pr(p: np.ndarray, truth: np.ndarray) -> float:
    """Return the average precision."""
    order = np.argsort(-p, kind="stable")
    hits = truth[order]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def hd95(a: np.ndarray, b: np.ndarray) -> float:
    """Return the larger 95th percentile of the two directed surface distances, in pixels."""
    edges = [m & ~ndimage.binary_erosion(m) for m in (a, b)]
    if not all(e.any() for e in edges):
        return float("nan")
    far = [ndimage.distance_transform_edt(~edges[1 - k])[edges[k]] for k in (0, 1)]
    return float(max(np.percentile(f, 95) for f in far))
