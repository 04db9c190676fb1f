"""Plot a model card's metrics from an evaluation of the held-out cases, without any of their images.

python scripts/model_picture.py REPORT/report.json docs/images/models/NAME.png
python scripts/model_picture.py --alternatives REPORT/report.json docs/images/models/NAME-alternatives.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.evaluation.alternatives import (
    ALTERNATIVES,
    BETWEEN_READERS,
    BETWEEN_SAMPLES,
    DISTANCE,
    READINGS,
)
from napari_ldseg.evaluation.plots import alternatives_and_readers, png_figure

GREY = "#222222"
MIN_VOXELS = 100  # of a plotted bin


def values(
    report: dict,
    metric: str,
    part: str,
    class_name: str | None = None,
    detail: str | None = None,
) -> np.ndarray:
    """Return the values of a metric of the evaluated model, one for every case that has it."""
    key = (metric, part, class_name, detail, report["checkpoint"]["label"])
    found = [
        row["value"]
        for case in report["cases"]
        for row in case["figures"]
        if tuple(row[k] for k in ("metric", "part", "class_name", "detail", "model")) == key
    ]
    return np.array([value for value in found if value is not None])


def plot_overlap(axes: Axes, report: dict, colours: dict[str, str]) -> None:
    """Plot a box and the points of all cases for each class."""
    jitter = np.random.default_rng(0)
    names = report["data"]["classes"][1:]
    for position, name in enumerate(names):
        dsc = values(report, "DSC", "overlap", name)
        x = position + jitter.uniform(-0.18, 0.18, dsc.size)
        axes.scatter(x, dsc, s=9, color=colours[name], alpha=0.45, linewidths=0)
        axes.boxplot(
            [dsc], positions=[position], widths=0.5, showfliers=False, medianprops={"color": GREY}
        )
    axes.set_xticks(range(len(names)), names)
    settings, data = report["settings"], report["data"]
    axes.set(ylabel="DSC", ylim=(min(0.5, axes.get_ylim()[0]), 1))
    axes.set_title(
        f"{data['cases']} cases of {data['patients']} patients, N = {settings['samples']}, "
        f"K = {settings['steps']}"
    )


def plot_reliability(axes: Axes, report: dict) -> None:
    """Plot accuracy against confidence near the predicted boundary."""
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for entry in report["reliability"]:
        if entry["model"] != report["checkpoint"]["label"]:
            continue
        voxels = np.array(entry["voxels"])
        filled = voxels >= MIN_VOXELS
        means = (
            np.array(entry[key])[filled] / voxels[filled] for key in ("confidence_sums", "hit_sums")
        )
        axes.plot(*means, "o-", ms=3, label=entry["detail"] or "not calibrated")
    axes.set(
        xlabel="confidence",
        ylabel="accuracy",
        xlim=(0.3, 1),
        ylim=(0.3, 1),
    )
    axes.set_title("near the predicted boundary")
    axes.legend(frameon=False)


def plot_readers(axes: Axes, report: dict) -> None:
    """Plot the distribution of GED over the cases."""
    ged = values(report, "GED^2", "readers")
    axes.hist(ged, bins=25, color="#4363d8", alpha=0.7)
    axes.axvline(ged.mean(), color=GREY, label=f"mean {ged.mean():.3f}")
    axes.set(xlabel="GED² against all readers", ylabel="cases")
    axes.set_title(f"{report['data']['readers']} readers")
    axes.legend(frameon=False)


def card(report: dict) -> bytes:
    """Return the plot of a model card as PNG."""
    metadata = read_metadata(bundled_checkpoints()[report["checkpoint"]["name"]])
    colours = {one.name: one.colour for one in metadata.classes}
    several = report["data"]["readers"] > 1
    with png_figure(11, 3.6) as (figure, png):
        panels = figure.subplots(1, 3 if several else 2)
        plot_overlap(panels[0], report, colours)
        plot_reliability(panels[1], report)
        if several:
            plot_readers(panels[2], report)
    return png.getvalue()


def alternatives(report: dict) -> bytes:
    """Return the report's plot of the alternatives against the readers for all cases, as PNG."""
    counts_and_distances = [
        values(report, metric, "readers", detail=detail)
        for metric, detail in (
            (ALTERNATIVES, None),
            (READINGS, None),
            (DISTANCE, BETWEEN_SAMPLES),
            (DISTANCE, BETWEEN_READERS),
        )
    ]
    titles = [
        f"rank correlation {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        for row in report["figures"]
        if row["metric"] == "rank correlation" and row["low"] is not None
    ]
    return alternatives_and_readers(*counts_and_distances, correlation="".join(titles[:1]))


def main() -> None:
    """Plot the report given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("output", type=Path, metavar="PNG")
    parser.add_argument(
        "--alternatives", action="store_true", help="plot the alternatives of several readers"
    )
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    png = alternatives(report) if arguments.alternatives else card(report)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(png)


if __name__ == "__main__":
    main()
