"""Draw a model card's picture from an evaluation: figures of the held-out cases, never an image of them.

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
from napari_ldseg.evaluation.plots import alternatives_and_readers, drawn

GREY = "#222222"
FEWEST_VOXELS = 100  # of a bin that is drawn


def values(
    report: dict,
    metric: str,
    part: str,
    class_name: str | None = None,
    detail: str | None = None,
) -> np.ndarray:
    """Return the judged model's figure of every case that has one."""
    wanted = (metric, part, class_name, detail, report["checkpoint"]["label"])
    found = [
        figure["value"]
        for case in report["cases"]
        for figure in case["figures"]
        if tuple(figure[k] for k in ("metric", "part", "class_name", "detail", "model")) == wanted
    ]
    return np.array([value for value in found if value is not None])


def draw_overlap(axes: Axes, report: dict, colours: dict[str, str]) -> None:
    """A box and every case's own point per class."""
    jitter = np.random.default_rng(0)
    names = report["data"]["classes"][1:]
    for place, name in enumerate(names):
        dsc = values(report, "DSC", "overlap", name)
        across = place + jitter.uniform(-0.18, 0.18, dsc.size)
        axes.scatter(across, dsc, s=9, color=colours[name], alpha=0.45, linewidths=0)
        axes.boxplot(
            [dsc], positions=[place], widths=0.5, showfliers=False, medianprops={"color": GREY}
        )
    axes.set_xticks(range(len(names)), names)
    settings, data = report["settings"], report["data"]
    axes.set(ylabel="DSC", ylim=(min(0.5, axes.get_ylim()[0]), 1))
    axes.set_title(
        f"{data['cases']} cases of {data['patients']} patients, N = {settings['samples']}, "
        f"K = {settings['steps']}"
    )


def draw_reliability(axes: Axes, report: dict) -> None:
    """Accuracy against confidence near the predicted boundary."""
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    for entry in report["reliability"]:
        if entry["model"] != report["checkpoint"]["label"]:
            continue
        voxels = np.array(entry["voxels"])
        told = voxels >= FEWEST_VOXELS
        sums = (
            np.array(entry[key])[told] / voxels[told] for key in ("confidence_sums", "hit_sums")
        )
        axes.plot(*sums, "o-", ms=3, label=entry["detail"] or "not calibrated")
    axes.set(
        xlabel="probability of the label",
        ylabel="share of right voxels",
        xlim=(0.3, 1),
        ylim=(0.3, 1),
    )
    axes.set_title("near the predicted boundary")
    axes.legend(frameon=False)


def draw_readers(axes: Axes, report: dict) -> None:
    """How GED is spread over the cases."""
    ged = values(report, "GED^2", "readers")
    axes.hist(ged, bins=25, color="#4363d8", alpha=0.7)
    axes.axvline(ged.mean(), color=GREY, label=f"mean {ged.mean():.3f}")
    axes.set(xlabel="GED² against all readers", ylabel="cases")
    axes.set_title(f"{report['data']['readers']} readers")
    axes.legend(frameon=False)


def card(report: dict) -> bytes:
    """Return the picture of a model card."""
    metadata = read_metadata(bundled_checkpoints()[report["checkpoint"]["name"]])
    colours = {one.name: one.colour for one in metadata.classes}
    several = report["data"]["readers"] > 1
    with drawn(11, 3.6) as (figure, png):
        panels = figure.subplots(1, 3 if several else 2)
        draw_overlap(panels[0], report, colours)
        draw_reliability(panels[1], report)
        if several:
            draw_readers(panels[2], report)
    return png.getvalue()


def alternatives(report: dict) -> bytes:
    """Return the report's own figure of the alternatives against the readers, all cases."""
    found = [
        values(report, metric, "readers", detail=detail)
        for metric, detail in (
            (ALTERNATIVES, None),
            (READINGS, None),
            (DISTANCE, BETWEEN_SAMPLES),
            (DISTANCE, BETWEEN_READERS),
        )
    ]
    told = [
        f for f in report["figures"] if f["metric"] == "rank correlation" and f["low"] is not None
    ]
    title = [f"rank correlation {f['value']:.2f} ({f['low']:.2f} to {f['high']:.2f})" for f in told]
    return alternatives_and_readers(*found, correlation="".join(title[:1]))


def main() -> None:
    """Draw the report that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--alternatives", action="store_true", help="of several readers")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    picture = alternatives(report) if arguments.alternatives else card(report)
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    arguments.picture.write_bytes(picture)


if __name__ == "__main__":
    main()
