"""The plots of the report, as PNG: a colour for each class, a line style for each model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..checkpoint.metadata import ClassInfo
from .bootstrap import Estimate

WIDTH, NARROW, DPI = 11.0, 4.0, 120
FILL = 0.35
STYLES: Any = ("-", "--", ":", "-.")
MEAN_COLOUR = "#222222"
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}
Panels = dict[str, np.ndarray]
Classes = Sequence[ClassInfo]


@contextmanager
def png_figure(
    width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> Iterator[tuple[Figure, io.BytesIO]]:
    """Yield a figure (size in inches) in the report's style, and the buffer its PNG is written to at the end."""
    png = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure, png
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})


def predictions(cases: dict[str, tuple[Panels, str]], classes: Classes, models: list[str]) -> bytes:
    """Plot image, expert and each model's label per case, like Figure 5 of the paper.

    ``cases`` maps a row's title to its panels and the text below it; ``models`` has the name of the
    model, or of the model and the baseline.
    """
    columns = ["image", "expert", *models]
    with _grid(cases, columns, classes) as (axes, png):
        for row, (panels, _) in zip(axes, cases.values(), strict=True):
            labels = [None, panels["expert"], panels["label"], panels.get("baseline")]
            for ax, label in zip(row, labels, strict=False):
                _overlay(ax, panels["image"], label, classes, float(panels["aspect"]))
    return png.getvalue()


def one_image(
    image: np.ndarray, aspect: float, labels: dict[str, np.ndarray | None], classes: Classes
) -> bytes:
    """Plot one image with each of ``labels`` (title to label, None for the image only), two per row."""
    rows = -(-len(labels) // 2)
    height = NARROW / 2 * min(2.0, image.shape[0] * aspect / image.shape[1])
    with png_figure(NARROW, rows * (height + 0.3), "compressed") as (figure, png):
        axes = list(figure.subplots(rows, 2, squeeze=False).flat)
        for ax, (title, label) in zip(axes, labels.items(), strict=False):
            _overlay(ax, image, label, classes, aspect)
            ax.set_title(title)
        for ax in axes:
            ax.set_axis_off()
    return png.getvalue()


def uncertainty_maps(cases: dict[str, tuple[Panels, str]], classes: Classes) -> bytes:
    """Plot image, expert, mean prediction, sample SD, predictive SD and errors, like Figure 10."""
    maps = {"sample_sd": "sample SD", "predictive_sd": "predictive SD"}
    first = next(iter(cases.values()))[0]
    maps = {key: title for key, title in maps.items() if key in first}
    columns = ["image", "expert", "mean prediction", *maps.values(), "errors"]
    with _grid(cases, columns, classes, bar="SD of the probability") as (axes, png):
        for row, (panels, _) in zip(axes, cases.values(), strict=True):
            aspect = float(panels["aspect"])
            _overlay(row[0], panels["image"], None, classes, aspect)
            _overlay(row[1], panels["image"], panels["expert"], classes, aspect)
            row[2].imshow(_blended_colours(panels["mean"], classes), aspect=aspect)
            for ax, key in zip(row[3:], maps, strict=False):
                ax.imshow(panels[key], cmap="inferno", vmin=0, vmax=0.5, aspect=aspect)
            wrong = panels["label"] != panels["expert"]
            row[-1].imshow(wrong, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    return png.getvalue()


def slices_with_map(slices: dict[str, Panels], title: str, bar: str, classes: Classes) -> bytes:
    """Plot slices side by side, by their titles: "label" on "image", and below it "map" (0 to 0.5)."""
    width = 2.6 * len(slices) + 1.2
    heights = [
        2.6 * min(1.4, p["image"].shape[0] * float(p["aspect"]) / p["image"].shape[1])
        for p in slices.values()
    ]
    with png_figure(width, 2 * max(heights) + 0.5, "compressed") as (figure, png):
        axes = figure.subplots(2, len(slices), squeeze=False)
        for column, (name, panels) in zip(axes.T, slices.items(), strict=True):
            aspect = float(panels["aspect"])
            _overlay(column[0], panels["image"], panels["label"], classes, aspect)
            column[0].set_title(name)
            shown = column[1].imshow(panels["map"], cmap="inferno", vmin=0, vmax=0.5, aspect=aspect)
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        axes[0, 0].set_ylabel("labels")
        axes[1, 0].set_ylabel(title)
        colour_bar = figure.colorbar(shown, ax=axes[1], fraction=0.03, pad=0.01, label=bar)
        colour_bar.ax.grid(False)
    return png.getvalue()


def noise_examples(
    panels: Panels, levels: Sequence[float], classes: Classes, models: list[str]
) -> bytes:
    """Plot each model's label on the image at each noise level, like Figure 8."""
    rows = dict.fromkeys(models, (panels, ""))
    columns = ["expert", *(f"noise SD {level:g}" for level in levels)]
    with _grid(rows, columns, classes) as (axes, png):
        aspect = float(panels["aspect"])
        for number, row in enumerate(axes):
            _overlay(row[0], panels["image"], panels["expert"], classes, aspect)
            noisy = zip(panels["noise_image"], panels[f"noise_label_{number}"], strict=True)
            for ax, (image, label) in zip(row[1:], noisy, strict=True):
                _overlay(ax, image, label, classes, aspect)
    return png.getvalue()


def alternatives(cases: dict[str, tuple[Panels, str]], classes: Classes) -> bytes:
    """Plot each case's readers, its alternatives with their counts, and the single samples."""
    rows = [panels for panels, _ in cases.values()]
    readers = len(rows[0]["readers"])
    most = max(len(panels["alternatives"]) for panels in rows)
    columns = [
        "image",
        *(f"reader {i + 1}" for i in range(readers)),
        *(f"alternative {i + 1}" for i in range(most)),
        *(["single samples"] if any(len(panels["single"]) for panels in rows) else []),
    ]
    with _grid(cases, columns, classes) as (axes, png):
        for row, panels in zip(axes, rows, strict=True):
            aspect, n = float(panels["aspect"]), int(panels["n"])
            for ax in row:  # also in empty panels, so that all titles are on one line
                ax.imshow(np.ones((*panels["image"].shape[:2], 3)), aspect=aspect)
            _overlay(row[0], panels["image"], None, classes, aspect)
            for ax, label in zip(row[1:], panels["readers"], strict=False):
                _overlay(ax, panels["image"], label, classes, aspect)
                _annotate(ax, "" if label.any() else "nothing")
            names = ("alternatives", "alternative_counts", "alternative_similar")
            found = zip(*(panels[name] for name in names), strict=True)
            for ax, (label, count, similar) in zip(row[1 + readers :], found, strict=False):
                _overlay(ax, panels["image"], label, classes, aspect)
                what = ("" if similar else "all differ\n") if label.any() else "nothing\n"
                _annotate(ax, f"{what}{count} of {n}")
            if count := len(panels["single"]):
                _outlines(row[-1], panels["image"], panels["single"], classes, aspect)
                _annotate(row[-1], f"{count} of {n}")
    return png.getvalue()


def alternatives_and_readers(
    alternative_counts: np.ndarray,
    reading_counts: np.ndarray,
    sample_distances: np.ndarray,
    reader_distances: np.ndarray,
    *,
    correlation: str,
) -> bytes:
    """Plot the alternatives of all cases against their readers.

    Parameters
    ----------
    alternative_counts, reading_counts
        Numbers of alternatives and of different readings, one per case.
    sample_distances, reader_distances
        Mean distances between the samples and between the readers, one per case.
    correlation
        Title with the rank correlation of the two distances.
    """
    counts = {"one": (1, 1), "two": (2, 2), "three or more": (3, np.inf)}
    colours = ("#c6d4ea", "#6d8fc7", "#1f4e9c")
    with png_figure(WIDTH, 4.2) as (figure, png):
        left, right = figure.subplots(1, 2)
        rows = {
            name: (low <= reading_counts) & (reading_counts <= high)
            for name, (low, high) in counts.items()
        }
        rows = {name: inside for name, inside in rows.items() if inside.any()}
        positions = np.arange(len(rows))
        base = np.zeros(len(rows))
        for (name, (low, high)), colour in zip(counts.items(), colours, strict=True):
            has = (low <= alternative_counts) & (alternative_counts <= high)
            share = np.array([has[inside].mean() for inside in rows.values()])
            left.bar(positions, share, 0.65, bottom=base, color=colour, label=name)
            base += share
        numbers = [int(inside.sum()) for inside in rows.values()]
        left.set_xticks(
            positions,
            [f"{name}\n{n} case{'s' * (n != 1)}" for name, n in zip(rows, numbers, strict=True)],
        )
        left.set_xlim(-0.5, len(counts) - 0.5)
        left.set(xlabel="different readings", ylabel="share of cases", ylim=(0, 1))
        left.grid(False)
        left.legend(
            title="alternatives",
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            reverse=True,
        )
        right.plot([0, 1], [0, 1], color="#888888", linestyle=":")
        right.scatter(
            reader_distances, sample_distances, s=22, color=colours[2], alpha=0.5, linewidths=0
        )
        right.set(xlabel="distance between readers", ylabel="distance between samples")
        right.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        right.set_title(correlation)
    return png.getvalue()


def curves(
    lines: dict[tuple[str, str], dict[float, Estimate]],
    classes: Classes,
    x_label: str,
    *,
    levels: dict[tuple[str, str], Estimate] | None = None,
    logarithmic: bool = False,
) -> bytes:
    """Plot DSC against K or noise, like Figures 6 and 8: (model, class) to x to estimate.

    ``levels`` are values without an x, drawn as horizontal lines. Bands are the 95 % intervals.
    """
    levels = levels or {}
    models = list(dict.fromkeys(model for model, _ in [*lines, *levels]))
    names = list(dict.fromkeys(name for _, name in [*lines, *levels]))
    with png_figure(WIDTH, 4.6) as (figure, png):
        ax = figure.subplots()
        for (model, name), points in lines.items():
            colour, style = _colour(name, classes), STYLES[models.index(model) % len(STYLES)]
            x = sorted(points)
            ax.plot(x, [points[v].value for v in x], style, marker="o", color=colour)
            if all(points[v].low is not None for v in x):
                lows, highs = ([getattr(points[v], side) for v in x] for side in ("low", "high"))
                ax.fill_between(x, lows, highs, color=colour, alpha=0.12, linewidth=0)
        for (model, name), estimate in levels.items():
            style = STYLES[models.index(model) % len(STYLES)]
            ax.axhline(estimate.value, color=_colour(name, classes), linestyle=style)
        ticks = sorted({x for points in lines.values() for x in points})
        if logarithmic:
            ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
        ax.set(xlabel=x_label, ylabel="DSC")
        handles = [Line2D([], [], color=_colour(n, classes), label=n, lw=3) for n in names]
        handles += [
            Line2D([], [], color=MEAN_COLOUR, linestyle=STYLES[i % len(STYLES)], label=m)
            for i, m in enumerate(models)
            if len(models) > 1
        ]
        ax.legend(handles=handles, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return png.getvalue()


def reliability_diagram(sources: dict[str, tuple[np.ndarray, float]]) -> bytes:
    """Plot accuracy against confidence per bin: name to (3, bins) sums and the ECE.

    Bins with less than 0.1 % of the voxels are omitted, because their accuracy is mostly noise.
    """
    with png_figure(min(4.6 * len(sources), WIDTH), 4.9) as (figure, png):
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
        for ax, (name, (sums, error)) in zip(panels, sources.items(), strict=True):
            bins = sums.shape[1]
            filled = sums[2] > 0.001 * sums[2].sum()
            edges = np.arange(bins) / bins
            accuracy = sums[1, filled] / sums[2, filled]
            confidence = sums[0, filled] / sums[2, filled]
            share = sums[2] / sums[2].sum()
            ax.bar(edges, share, 1 / bins, align="edge", color="#c8c8c8", label="share of voxels")
            ax.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="ideal")
            ax.plot(confidence, accuracy, "o-", color="#1f4e9c", label="accuracy")
            ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
            ax.set_title(f"{name}\nECE {error:.3f}")
        panels[0].set_ylabel("accuracy, share of voxels")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    return png.getvalue()


@contextmanager
def _grid(
    rows: dict[str, tuple[Panels, str]], columns: list[str], classes: Classes, bar: str = ""
) -> Iterator[tuple[np.ndarray, io.BytesIO]]:
    """Yield axes (rows, columns) without ticks, with column titles and a legend of the classes."""
    texts = [
        [*title.split(": ", 1), *(text.split("\n") if text else [])]
        for title, (_, text) in rows.items()
    ]
    margins = 0.15 * max(map(len, texts)) + 0.09 * len(columns) + (0.7 if bar else 0)
    panel = (WIDTH - margins) / len(columns)
    heights = [
        panel * min(2.0, p["image"].shape[0] * float(p["aspect"]) / p["image"].shape[1])
        for p, _ in rows.values()
    ]
    with png_figure(WIDTH, sum(heights) + 0.12 * len(rows) + 0.75, "compressed") as (figure, png):
        axes = figure.subplots(
            len(rows), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
            ax.spines[:].set_visible(False)
        size = 11 if len(columns) <= 7 else 9
        for ax, title in zip(axes[0], columns, strict=True):
            ax.set_title(title, fontsize=size)
        for row, lines, height in zip(axes, texts, heights, strict=True):
            # The longest line, at 0.7 em per letter, must fit into the height of its row.
            largest = 72 * height / (0.7 * max(map(len, lines)))
            row[0].set_ylabel("\n".join(lines), fontsize=max(6, min(size, largest)))
        yield axes, png
        if bar:
            image = next(
                ax.images[0] for ax in axes[0] if ax.images and ax.images[0].get_clim()[1] == 0.5
            )
            colour_bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01)
            colour_bar.set_label(bar)
            colour_bar.ax.grid(False)
        handles = [Patch(color=c.colour, label=c.name) for c in classes[1:]]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False
        )


def _overlay(
    ax: Axes, image: np.ndarray, label: np.ndarray | None, classes: Classes, aspect: float
) -> None:
    """Plot an image with a label's classes as a tint and an outline."""
    rgb = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image
    blend = rgb / 255.0
    for value, one in enumerate(classes) if label is not None else ():
        mask = np.asarray(label == value)
        if value == 0 or not mask.any():
            continue
        blend[mask] = (1 - FILL) * blend[mask] + FILL * np.asarray(to_rgb(one.colour))
        if not mask.all():
            ax.contour(mask, [0.5], colors=[one.colour], linewidths=1.2)
    ax.imshow(blend, aspect=aspect)


def _outlines(
    ax: Axes, image: np.ndarray, labels: np.ndarray, classes: Classes, aspect: float
) -> None:
    """Plot an image with the thin outlines of several labels."""
    _overlay(ax, image, None, classes, aspect)
    for label in labels:
        for value, one in enumerate(classes):
            mask = label == value
            if value and mask.any() and not mask.all():
                ax.contour(mask, [0.5], colors=[one.colour], linewidths=0.7)


def _annotate(ax: Axes, text: str) -> None:
    """Write a short text into the lower left corner of a panel."""
    if text:
        box = {"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0}
        ax.text(
            *(0.03, 0.04, text),
            transform=ax.transAxes,
            fontsize=8,
            color="white",
            ha="left",
            va="bottom",
            bbox=box,
        )


def _blended_colours(mean: np.ndarray, classes: Classes) -> np.ndarray:
    """Return the classes' colours weighted by their probability (y, x, 3), the background black."""
    colours = np.array([(0, 0, 0), *(to_rgb(c.colour) for c in classes[1:])])
    return np.clip(np.tensordot(mean.astype(np.float32), colours, (0, 0)), 0, 1)


def _colour(name: str, classes: Classes) -> str:
    return next((c.colour for c in classes if c.name == name), MEAN_COLOUR)
