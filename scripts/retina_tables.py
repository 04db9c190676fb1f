"""Tables of docs/retina.md from docs/data/retina.json, which benchmarks/retina.py writes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from accuracy_tables import markdown, read_data

CAMERAS = {"stare": "STARE", "chase": "CHASE_DB1", "drive": "DRIVE"}
METHODS = {
    "unet": "plain U-Net",
    "anchored": "frozen diffusion, anchored, 4 times",
    "chained": "the same, chained inversion",
    "noised": "the same, noised features",
    "single-time": "the same, 1 time",
    "no-frequency": "the same, without frequency-aware fusion",
    "fine-tuned": "diffusion as the start, then end to end, 1 time",
}
Row = dict[str, Any]


def retina_table() -> str:
    """Return the methods on each camera, means and ranges over the seeds, as Markdown."""
    head = ("tested on", "method", "seeds", "F1", "AUC-PR", "HD95 (pixels)", "F1 on the sources")
    groups: dict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in read_data("retina"):
        if row["method"] in METHODS and "f1" in row:
            groups[row["task"], row["camera"], row["method"], row["photographs"]].append(row)
    order = list(METHODS)
    lines = []
    for key in sorted(groups, key=lambda k: (k[0] == "in-camera", k[0], k[1], order.index(k[2]))):
        task, camera, method, photographs = key
        if task in CAMERAS:
            place = f"{CAMERAS[task]}, left out"
        elif (task, camera) == ("in-camera", "all"):
            place = "all three, trained on too"
        else:
            continue
        rows = groups[key]
        figures = (_over_seeds(rows, name) for name in ("f1", "auc_pr"))
        last = _over_seeds(rows, "hd95", 1), _over_seeds(rows, "validation_f1")
        lines.append((f"{place} ({photographs})", METHODS[method], str(len(rows)), *figures, *last))
    return markdown(head, lines)


def retina_disc_table() -> str:
    """Return the methods on optic disc and cup, means and ranges over the seeds, as Markdown."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in read_data("retina"):
        if "disc_dice" in row:
            groups[row["method"]].append(row)
    columns = {
        "disc_dice": "Dice, disc",
        "cup_dice": "Dice, cup",
        "disc_hd95": "HD95, disc",
        "cup_hd95": "HD95, cup",
    }
    lines = [
        (
            METHODS[method],
            str(len(groups[method])),
            *(_over_seeds(groups[method], name, 1 if "hd95" in name else 3) for name in columns),
        )
        for method in METHODS
        if method in groups
    ]
    return markdown(("method", "seeds", *columns.values()), lines)


def retina_models_table() -> str:
    """Return what checkpoints of ``napari-ldseg train`` reach on a camera that was left out, as Markdown."""
    head = (
        *("left out", "weights", "updates", "scales", "F1", "best F1", "AUC-PR", "HD95 (pixels)"),
        *("AUROC of the predictive SD", "seconds per photograph"),
    )
    lines = []
    for row in read_data("retina"):
        if "napari-ldseg train" in row["method"]:
            lines.append(
                (
                    f"{CAMERAS[row['task']]} ({row['photographs']})",
                    f"{row['weights'] / 1000:.0f} thousand",
                    str(row["updates"]),
                    ", ".join(f"{scale:g}" for scale in row.get("scales", [1.0])),
                    *(f"{row[name]:.3f}" for name in ("f1", "best_f1", "auc_pr")),
                    f"{row['hd95']:.1f}",
                    f"{row['doubt_auroc']:.3f}",
                    f"{row['seconds']:.1f}" if "seconds" in row else "-",
                )
            )
    return markdown(head, lines)


def retina_uncertainty_table() -> str:
    """Return how well each candidate finds the wrong pixels, as Markdown."""
    candidates = {
        "predictive SD": "predictive SD",
        "spread over dropout": "spread over dropout, 4 passes",
        "spread over times": "spread over times",
        "spread over members": "spread over three members",
        "predictive SD of members": "predictive SD of three members",
    }
    rows = [row for row in read_data("retina") if row.get("kind") == "uncertainty"]
    head = ("score", *(f"{CAMERAS[row['task']]} ({row['photographs']})" for row in rows))
    lines = [
        (title, *(f"{row[name]:.3f}" if name in row else "-" for row in rows))
        for name, title in candidates.items()
    ]
    return markdown(head, lines)


def _over_seeds(rows: list[Row], name: str, digits: int = 3) -> str:
    values = [row[name] for row in rows]
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"
