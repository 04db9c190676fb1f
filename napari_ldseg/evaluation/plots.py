"""The figures of the report, as PNG. A colour is a class, a line style a model."""

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
}
Panels = dict[str, np.ndarray]
Classes = Sequence[ClassInfo]


@contextmanager
def drawn(
    width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> Iterator[tuple[Figure, io.BytesIO]]:
    """Yield a figure of the report's style in inches, and where its PNG goes on leaving."""
    png = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure, png
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})


def predictions(cases: dict[str, tuple[Panels, str]], classes: Classes, models: list[str]) -> bytes:
    """Draw image, expert and each model's label per case, like Figure 5 of the paper.

    ``cases`` maps a row's title to its pictures and the text under it; ``models`` has one name, or
    two with the baseline's.
    """
    columns = ["image", "expert", *models]
    with _grid(cases, columns, classes) as (axes, png):
        for row, (pictures, _) in zip(axes, cases.values(), strict=True):
            labels = [None, pictures["expert"], pictures["label"], pictures.get("baseline")]
            for ax, label in zip(row, labels, strict=False):
                _overlay(ax, pictures["image"], label, classes, float(pictures["aspect"]))
    return png.getvalue()


def one_image(
    image: np.ndarray, aspect: float, labels: dict[str, np.ndarray | None], classes: Classes
) -> bytes:
    """Draw one image with each of ``labels`` (title to label, None for none), two beside each other."""
    rows = -(-len(labels) // 2)
    height = NARROW / 2 * min(2.0, image.shape[0] * aspect / image.shape[1])
    with drawn(NARROW, rows * (height + 0.3), "compressed") as (figure, png):
        axes = list(figure.subplots(rows, 2, squeeze=False).flat)
        for ax, (title, label) in zip(axes, labels.items(), strict=False):
            _overlay(ax, image, label, classes, aspect)
            ax.set_title(title)
        for ax in axes:
            ax.set_axis_off()
    return png.getvalue()


def uncertainty_maps(cases: dict[str, tuple[Panels, str]], classes: Classes) -> bytes:
    """Draw image, expert, mean prediction, sample SD, predictive SD and errors, like Figure 10."""
    maps = {"sample_sd": "sample SD", "predictive_sd": "predictive SD"}
    first = next(iter(cases.values()))[0]
    maps = {key: title for key, title in maps.items() if key in first}
    columns = ["image", "expert", "mean prediction", *maps.values(), "errors"]
    with _grid(cases, columns, classes, bar="SD of the probability") as (axes, png):
        for row, (pictures, _) in zip(axes, cases.values(), strict=True):
            aspect = float(pictures["aspect"])
            _overlay(row[0], pictures["image"], None, classes, aspect)
            _overlay(row[1], pictures["image"], pictures["expert"], classes, aspect)
            row[2].imshow(_mixture(pictures["mean"], classes), aspect=aspect)
            for ax, key in zip(row[3:], maps, strict=False):
                ax.imshow(pictures[key], cmap="inferno", vmin=0, vmax=0.5, aspect=aspect)
            wrong = pictures["label"] != pictures["expert"]
            row[-1].imshow(wrong, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    return png.getvalue()


def noise_examples(
    pictures: Panels, levels: Sequence[float], classes: Classes, models: list[str]
) -> bytes:
    """Draw each model's label on the image at each noise level, like Figure 8."""
    rows = dict.fromkeys(models, (pictures, ""))
    columns = ["expert", *(f"noise SD {level:g}" for level in levels)]
    with _grid(rows, columns, classes) as (axes, png):
        aspect = float(pictures["aspect"])
        for number, row in enumerate(axes):
            _overlay(row[0], pictures["image"], pictures["expert"], classes, aspect)
            found = zip(pictures["noise_image"], pictures[f"noise_label_{number}"], strict=True)
            for ax, (image, label) in zip(row[1:], found, strict=True):
                _overlay(ax, image, label, classes, aspect)
    return png.getvalue()


def alternatives(cases: dict[str, tuple[Panels, str]], classes: Classes) -> bytes:
    """Draw each case's readers, its alternatives with their shares, and the single samples."""
    everything = [pictures for pictures, _ in cases.values()]
    readers = len(everything[0]["readers"])
    most = max(len(pictures["alternatives"]) for pictures in everything)
    columns = [
        "image",
        *(f"reader {i + 1}" for i in range(readers)),
        *(f"alternative {i + 1}" for i in range(most)),
        *(["single samples"] if any(len(p["alone"]) for p in everything) else []),
    ]
    with _grid(cases, columns, classes) as (axes, png):
        for row, pictures in zip(axes, everything, strict=True):
            aspect, n = float(pictures["aspect"]), int(pictures["n"])
            for ax in row:  # also where nothing is shown, so that the titles stand in one line
                ax.imshow(np.ones((*pictures["image"].shape[:2], 3)), aspect=aspect)
            _overlay(row[0], pictures["image"], None, classes, aspect)
            for ax, label in zip(row[1:], pictures["readers"], strict=False):
                _overlay(ax, pictures["image"], label, classes, aspect)
                _note(ax, "" if label.any() else "nothing")
            names = ("alternatives", "alternative_counts", "alternative_alike")
            found = zip(*(pictures[name] for name in names), strict=True)
            for ax, (label, count, alike) in zip(row[1 + readers :], found, strict=False):
                _overlay(ax, pictures["image"], label, classes, aspect)
                what = ("" if alike else "all differ\n") if label.any() else "nothing\n"
                _note(ax, f"{what}{count} of {n}")
            if alone := len(pictures["alone"]):
                _outlines(row[-1], pictures["image"], pictures["alone"], classes, aspect)
                _note(row[-1], f"{alone} of {n}")
    return png.getvalue()


def alternatives_and_readers(
    found: np.ndarray,
    readings: np.ndarray,
    spread: np.ndarray,
    disagreement: np.ndarray,
    *,
    correlation: str,
) -> bytes:
    """Draw how the alternatives of all cases go with their readers; one value per case each.

    ``found`` and ``readings`` count alternatives and different readings, ``spread`` and
    ``disagreement`` are the mean distances between samples and between readers; ``correlation`` says
    how these two go together.
    """
    counts = {"one": (1, 1), "two": (2, 2), "three or more": (3, np.inf)}
    colours = ("#c6d4ea", "#6d8fc7", "#1f4e9c")
    with drawn(WIDTH, 4.2) as (figure, png):
        left, right = figure.subplots(1, 2)
        rows = {
            name: (low <= readings) & (readings <= high) for name, (low, high) in counts.items()
        }
        rows = {name: inside for name, inside in rows.items() if inside.any()}
        places = np.arange(len(rows))
        base = np.zeros(len(rows))
        for (name, (low, high)), colour in zip(counts.items(), colours, strict=True):
            has = (low <= found) & (found <= high)
            share = np.array([has[inside].mean() for inside in rows.values()])
            left.bar(places, share, 0.65, bottom=base, color=colour, label=name)
            base += share
        numbers = [int(inside.sum()) for inside in rows.values()]
        left.set_xticks(
            places,
            [f"{name}\n{n} case{'s' * (n != 1)}" for name, n in zip(rows, numbers, strict=True)],
        )
        left.set_xlim(-0.5, len(counts) - 0.5)
        left.set(xlabel="different readings of the readers", ylabel="share of cases", ylim=(0, 1))
        left.grid(False)
        left.legend(
            title="alternatives",
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            reverse=True,
        )
        right.plot([0, 1], [0, 1], color="#888888", linestyle=":")
        right.scatter(disagreement, spread, s=22, color=colours[2], alpha=0.5, linewidths=0)
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
    """Draw DSC against K or noise, like Figures 6 and 8: (model, class) to x to estimate.

    ``levels`` are figures without an x, drawn as lines across. Shades are the 95 % intervals.
    """
    levels = levels or {}
    models = list(dict.fromkeys(model for model, _ in [*lines, *levels]))
    names = list(dict.fromkeys(name for _, name in [*lines, *levels]))
    with drawn(WIDTH, 4.6) as (figure, png):
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
    """Draw accuracy against confidence per bin: name to (3, bins) sums and the ECE.

    Bins with less than 0.1 % of the voxels are left out: chance decides where they lie.
    """
    with drawn(min(4.6 * len(sources), WIDTH), 4.9) as (figure, png):
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
    """Yield axes without ticks, a title over each column and a legend of the classes below."""
    texts = [
        [*title.split(": ", 1), *(text.split("\n") if text else [])]
        for title, (_, text) in rows.items()
    ]
    beside = 0.15 * max(map(len, texts)) + 0.09 * len(columns) + (0.7 if bar else 0)
    panel = (WIDTH - beside) / len(columns)
    heights = [
        panel * min(2.0, p["image"].shape[0] * float(p["aspect"]) / p["image"].shape[1])
        for p, _ in rows.values()
    ]
    with drawn(WIDTH, sum(heights) + 0.12 * len(rows) + 0.75, "compressed") as (figure, png):
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
            # So small that the longest line, at 0.7 em a letter, is no longer than its row.
            fitting = 72 * height / (0.7 * max(map(len, lines)))
            row[0].set_ylabel("\n".join(lines), fontsize=max(6, min(size, fitting)))
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
    """Show an image with a label's classes as a tint and an outline."""
    shown = np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image
    blend = shown / 255.0
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
    """Show an image with the thin outlines of several labels."""
    _overlay(ax, image, None, classes, aspect)
    for label in labels:
        for value, one in enumerate(classes):
            mask = label == value
            if value and mask.any() and not mask.all():
                ax.contour(mask, [0.5], colors=[one.colour], linewidths=0.7)


def _note(ax: Axes, text: str) -> None:
    """Write a few words into the lower left corner of a picture."""
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


def _mixture(mean: np.ndarray, classes: Classes) -> np.ndarray:
    """Return the classes' colours mixed by their mean probability, the background black."""
    colours = np.array([(0, 0, 0), *(to_rgb(c.colour) for c in classes[1:])])
    return np.clip(np.tensordot(mean.astype(np.float32), colours, (0, 0)), 0, 1)


def _colour(name: str, classes: Classes) -> str:
    return next((c.colour for c in classes if c.name == name), MEAN_COLOUR)
