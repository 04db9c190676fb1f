"""The figure of docs/ablation.md: LDSeg and its rivals against steps, image size and noise, as in the paper's Figures 6 and 8.

python scripts/rivals_figure.py [rivals.json rivals.png]

By default it draws docs/data/rivals.json, which benchmarks/rivals.py writes, as docs/images/rivals.png.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLOURS = (
    "#0072b2",
    "#56b4e9",
    "#d55e00",
    "#e69f00",
    "#009e73",
    "#000000",
    "#cc79a7",
)  # Okabe, Ito


@matplotlib.style.context("default")  # nnU-Net changes the style of its whole process
def draw(content: dict[str, Any], file: Path) -> None:
    """Write the figure of the rows in ``content`` to ``file``."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    steps, size, noise = figure.subplots(1, 3)
    for (name, row), colour in zip(content["rows"].items(), COLOURS, strict=False):
        _lines(row["figures"], colour, name, steps, size, noise)
    _axes(steps, "Sampling steps K", "DSC of one sample")
    _axes(size, "Image size (pixels per side)", "Seconds of one core for one sample")
    _axes(noise, "SD of the noise on the image", "DSC of one sample")
    steps.set_xscale("log")
    steps.set_xticks([1, 2, 5, 10, 50], ["1", "2", "5", "10", "50"])
    size.set_xscale("log", base=2)
    size.set_yscale("log")
    size.set_xticks([128, 256, 512], ["128", "256", "512"])
    size.set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    noise.set_xticks([0, 0.1, 0.2])
    for axes in (steps, size):
        axes.minorticks_off()
    handles, names = steps.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.savefig(file, dpi=110)


def _lines(
    figures: dict[str, Any], colour: str, name: str, steps: Axes, size: Axes, noise: Axes
) -> None:
    dsc = {int(k): value for k, value in figures["dsc"].items()}
    style: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 4, "label": name}
    if figures["steps_needed"] is None:  # deterministic: one answer, without steps
        style |= {"linestyle": "--"}
        steps.axhline(dsc[1], color=colour, linestyle="--", label=name)
    else:
        steps.plot(list(dsc), list(dsc.values()), **style)
    costs = figures["cost"]
    size.plot([int(n) for n in costs], [one["seconds"] for one in costs.values()], **style)
    clean = dsc[figures["steps_needed"] or 1]
    lost = figures["noise_loss"]
    noise.plot(
        [0, *map(float, lost)], [clean, *(clean - value for value in lost.values())], **style
    )


def _axes(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw the figure."""
    source, file = sys.argv[1:] or (DOCS / "data" / "rivals.json", DOCS / "images" / "rivals.png")
    draw(json.loads(Path(source).read_text(encoding="utf-8")), Path(file))


if __name__ == "__main__":
    main()
