"""Numbers of a label map per class: size with an interval, diameters, areas over a loop.

The interval is over the samples of the result. Known voxels (reviewed or edited) have the label map's
class in every sample, so that only the rest varies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from ..correction.change import bounding_box
from ..correction.pieces import label_pieces
from ..inference.calibration import volume_interval
from ..utils.text import csv_cell

QUANTILES = 0.025, 0.975
CALIBRATED = "95 % interval, calibrated"
OF_SAMPLES = "95 % interval of the samples, not calibrated"


@dataclass(frozen=True)
class Interval:
    """The low and high end of an interval, and what kind of interval it is."""

    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Diameters:
    """The longest diameter of a structure in one slice, and the longest one perpendicular to it.

    Attributes
    ----------
    at
        The indices of the slice: all axes but the last two.
    longest, perpendicular
        In the unit of the spacing.
    ends, perpendicular_ends
        Both ends of each, ((y, x), (y, x)) in pixels; pixel centres have whole numbers.
    """

    at: tuple[int, ...]
    longest: float
    perpendicular: float
    ends: tuple[tuple[float, float], tuple[float, float]]
    perpendicular_ends: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class ClassSize:
    """The measurements of one class of a label map.

    Attributes
    ----------
    value, name
        The class.
    size
        Volume or area in the label map, of a loop the mean over its frames; in the spacing's unit.
    interval
        Its interval over the samples, widened to ``size``; None below two samples.
    sample_sizes
        The size in each sample, with the known voxels as in the label map.
    diameters
        None if the label map does not have the class.
    mean_sd
        Mean of the sample SD inside the class, 0 to 0.5; None without one.
    """

    value: int
    name: str
    size: float
    interval: Interval | None
    sample_sizes: tuple[float, ...]
    diameters: Diameters | None
    mean_sd: float | None


@dataclass(frozen=True)
class LoopArea:
    """The area of one class in each frame of a loop, and how much of it is lost.

    Attributes
    ----------
    areas
        In the label map, one per frame, in the spacing's unit.
    bands
        Low and high end per frame, of the samples; None below two samples.
    largest, smallest
        The frames of the largest and smallest area in the label map: end diastole and end systole.
    change
        Fractional area change (EDA - ESA) / EDA, 0 to 1; None if the class is in no frame.
    change_interval
        Of the change between the same two frames over the samples.
    """

    value: int
    name: str
    areas: tuple[float, ...]
    bands: tuple[tuple[float, float], ...] | None
    largest: int
    smallest: int
    change: float | None
    change_interval: Interval | None


def count_voxels(
    labels: np.ndarray,
    samples: Iterable[np.ndarray],
    classes: int,
    known: np.ndarray | None = None,
    frames: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels per class of the label map and of each sample.

    Parameters
    ----------
    labels
        Label map, integer, (*frames, *space).
    samples
        Label maps of the same shape, one per sample; one at a time is in memory.
    classes
        Number of classes with the background; larger values are not counted.
    known
        Voxels whose class is that of ``labels``, bool of the same shape. They are taken from
        ``labels`` in every sample.
    frames
        The number of leading axes, each frame of which is counted separately.

    Returns
    -------
    own, by_sample
        int (*frames, classes) and (N, *frames, classes).
    """
    own = _counts(labels, classes, frames)
    if known is None:
        counted = [_counts(np.asarray(sample), classes, frames) for sample in samples]
    else:
        counted = [
            _counts(np.where(known, labels, np.asarray(sample)), classes, frames)
            for sample in samples
        ]
    return own, np.array(counted, np.int64).reshape(-1, *own.shape)


def measure_classes(
    labels: np.ndarray,
    names: Sequence[str],
    spacing: Sequence[float],
    samples: Iterable[np.ndarray] = (),
    known: np.ndarray | None = None,
    sample_sd: np.ndarray | None = None,
    volume_factors: Sequence[float] | None = None,
    voxel_size: float | None = None,
) -> list[ClassSize]:
    """Return the measurements of each foreground class.

    Parameters
    ----------
    labels
        The label map as it is now, integer, (*frames, *space).
    names
        The classes' names, background first.
    spacing
        Voxel size of each spatial axis, the last ``len(spacing)`` axes; 1 where it is not known.
    samples, known
        As in ``count_voxels``.
    sample_sd
        Standard deviation over the samples, of the shape of ``labels``.
    volume_factors
        The checkpoint's factors, one per foreground class, if its calibration applies to the result.
        They are used if no voxel is known; else the interval is the samples' 2.5 % to 97.5 % quantile.
    voxel_size
        Volume (area) of a voxel, by default the product of ``spacing``; it is less in a sheared scan.
    """
    own, counts = count_voxels(labels, samples, len(names), known)
    space = labels.shape[labels.ndim - len(spacing) :]
    frames = labels.size // math.prod(space) if labels.size else 1
    unit = (math.prod(spacing) if voxel_size is None else voxel_size) / frames
    if volume_factors is not None and len(counts) and (known is None or not known.any()):
        ends, meaning = volume_interval(counts[:, 1:], np.asarray(volume_factors)), CALIBRATED
    else:
        ends, meaning = _quantiles(counts[:, 1:]), OF_SAMPLES
    measured = []
    for value, name in enumerate(names[1:], start=1):
        mask = labels == value
        size = float(own[value]) * unit
        interval = None
        if len(counts) > 1:
            low, high = (float(end) * unit for end in ends[value - 1])
            interval = Interval(min(low, size), max(high, size), meaning)
        sd = None
        if sample_sd is not None and own[value]:
            sd = float(sample_sd[mask].mean(dtype=np.float64))
        sizes = tuple(float(count) * unit for count in counts[:, value])
        longest = find_diameters(mask, spacing)
        measured.append(ClassSize(value, name, size, interval, sizes, longest, sd))
    return measured


def measure_loop(
    labels: np.ndarray,
    names: Sequence[str],
    spacing: Sequence[float],
    samples: Iterable[np.ndarray] = (),
    known: np.ndarray | None = None,
    voxel_size: float | None = None,
) -> list[LoopArea]:
    """Return each foreground class's area per frame of a loop (frames, y, x), and its change.

    End diastole and end systole are the frames of the largest and smallest area in the label map, in
    every sample too: the largest and smallest of noisy areas would exaggerate the change. Arguments
    are those of ``measure_classes``.
    """
    own, counts = count_voxels(labels, samples, len(names), known, frames=1)
    unit = math.prod(spacing) if voxel_size is None else voxel_size
    loops = []
    for value, name in enumerate(names[1:], start=1):
        areas, of_samples = own[:, value] * unit, counts[:, :, value] * unit
        largest, smallest = int(areas.argmax()), int(areas.argmin())
        change = float(1 - areas[smallest] / areas[largest]) if areas[largest] else None
        bands = interval = None
        if len(counts) > 1:
            bands = tuple((float(low), float(high)) for low, high in _quantiles(of_samples))
            diastolic, systolic = of_samples[:, largest], of_samples[:, smallest]
            there = diastolic > 0
            if change is not None and there.sum() > 1:
                changes = 1 - systolic[there] / diastolic[there]
                low, high = (float(end) for end in _quantiles(changes))
                interval = Interval(low, high, OF_SAMPLES)
        per_frame = tuple(float(area) for area in areas)
        loops.append(LoopArea(value, name, per_frame, bands, largest, smallest, change, interval))
    return loops


def find_diameters(mask: np.ndarray, spacing: Sequence[float]) -> Diameters | None:
    """Return the longest diameter in any slice (the last two axes) and its longest perpendicular.

    Both are of the convex hull of one connected piece of the mask in one slice, voxels that touch at a
    corner being connected. The outline goes through the middle of the pixels' edges, so that a row of n
    pixels is n long. The perpendicular is the longest chord of the hull at 90 degrees to the diameter.
    In a bent structure a diameter may leave it. None for an empty mask; of equal ones the first.

    Parameters
    ----------
    mask
        bool, (..., y, x).
    spacing
        Voxel size per axis, of which the last two are used.
    """
    box = bounding_box(mask)
    if box is None:
        return None
    scale = np.asarray(spacing[-2:], float)
    best: tuple[float, tuple[int, ...], np.ndarray, np.ndarray] | None = None
    inside = mask[box]
    for index in np.ndindex(*inside.shape[:-2]):
        for hull in _hulls(inside[index], scale):
            distances = cdist(hull, hull)
            first, second = np.unravel_index(distances.argmax(), distances.shape)
            length = float(distances[first, second])
            if best is None or length > best[0] + 1e-9:
                best = length, index, hull, hull[[first, second]]
    assert best is not None
    length, index, hull, ends = best
    across = _longest_across(hull, ends[1] - ends[0])
    origin = np.array([s.start for s in box[-2:]], float)
    at = tuple(s.start + i for s, i in zip(box[:-2], index, strict=True))
    width = float(np.linalg.norm(across[1] - across[0]))
    return Diameters(
        at, length, width, _points(ends / scale + origin), _points(across / scale + origin)
    )


COLUMNS = ("class", "measurement", "frame", "value", "low", "high", "unit", "interval")


def to_rows(
    sizes: Sequence[ClassSize], loops: Sequence[LoopArea] = (), *, space: int, calibrated: bool
) -> list[dict[str, Any]]:
    """Return one row per number, with the keys ``COLUMNS``, ready for a CSV file.

    Texts do not start with what a spreadsheet takes for a formula. Cells without a value are empty.

    Parameters
    ----------
    sizes, loops
        From ``measure_classes`` and ``measure_loop``.
    space
        Number of spatial axes, 2 or 3.
    calibrated
        Whether spacing was in mm; units are mm3 (also ml), mm2 and mm, else voxels and pixels.
    """
    length = "mm" if calibrated else "pixels"
    area, volume = ("mm2", "mm3") if calibrated else ("pixels", "voxels")
    rows = []
    for one in sizes:
        kind, unit = ("volume", volume) if space == 3 else ("area", area)
        rows.append(_row(one.name, kind, one.size, unit, one.interval))
        if unit == "mm3":
            rows.append(_row(one.name, kind, one.size, "ml", one.interval, factor=1e-3))
        if one.diameters is not None:
            longest, across = one.diameters.longest, one.diameters.perpendicular
            rows.append(_row(one.name, "longest diameter in a slice", longest, length))
            rows.append(_row(one.name, "longest perpendicular to it", across, length))
        if one.mean_sd is not None:
            rows.append(_row(one.name, "mean sample SD", one.mean_sd, ""))
    for loop in loops:
        for frame, value in enumerate(loop.areas):
            band = None if loop.bands is None else Interval(*loop.bands[frame], OF_SAMPLES)
            rows.append(_row(loop.name, "area", value, area, band, frame=frame))
        if loop.change is not None:
            rows.append(
                _row(loop.name, "fractional area change", loop.change, "", loop.change_interval)
            )
    return rows


def _row(
    name: str,
    measurement: str,
    value: float,
    unit: str,
    interval: Interval | None = None,
    factor: float = 1.0,
    frame: int | None = None,
) -> dict[str, Any]:
    ends = (None, None) if interval is None else (interval.low, interval.high)
    numbers = ("" if n is None else round(n * factor, 4) for n in (value, *ends))
    meaning = "" if interval is None else interval.meaning
    cells = (name, measurement, "" if frame is None else frame, *numbers, unit, meaning)
    return {column: csv_cell(cell) for column, cell in zip(COLUMNS, cells, strict=True)}


def _counts(labels: np.ndarray, classes: int, frames: int) -> np.ndarray:
    """Return the voxels per class, int (*frames, classes)."""
    flat = labels.reshape(*labels.shape[:frames], -1)
    return np.stack([(flat == c).sum(-1) for c in range(classes)], axis=-1)


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return the 2.5 % and 97.5 % quantile over the first axis, (..., 2); NaN without values."""
    if not len(values):
        return np.full((*values.shape[1:], 2), np.nan)
    return np.moveaxis(np.quantile(values, QUANTILES, axis=0), 0, -1)


def _hulls(mask: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the convex hull of each piece of a slice, (corners, 2), in the unit of ``scale``."""
    pieces, _ = label_pieces(mask)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[box] == number
        rows = np.arange(len(piece))
        first = piece.argmax(1)
        last = piece.shape[1] - 1 - piece[:, ::-1].argmax(1)
        full = piece.any(1)
        rows, first, last = rows[full], first[full], last[full]
        points = [(rows, first - 0.5), (rows, last + 0.5)]
        points += [(rows + d, column) for d in (-0.5, 0.5) for column in (first, last)]
        corners = np.concatenate([np.stack(pair, axis=1) for pair in points])
        corners = (corners + [s.start for s in box]) * scale
        yield corners[ConvexHull(corners).vertices]


def _longest_across(hull: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the ends (2, 2) of the longest chord of a convex polygon perpendicular to ``direction``.

    The chord's length is a concave function of its place, linear between the corners, so that its
    maximum is at a corner.
    """
    along = direction / np.linalg.norm(direction)
    across = np.array([-along[1], along[0]])
    t, u = (hull @ along).round(9), hull @ across
    places = np.unique(t)
    start, stop = int(t.argmin()), int(t.argmax())
    order = np.roll(np.arange(len(t)), -start)
    turn = int(np.flatnonzero(order == stop)[0])
    sides = order[: turn + 1], np.append(order[turn:], start)[::-1]
    one, other = (np.interp(places, t[side], u[side]) for side in sides)
    widest = int(np.abs(one - other).argmax())
    return np.stack([places[widest] * along + end[widest] * across for end in (one, other)])


def _points(ends: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = ends.tolist()
    return (a, b), (c, d)
