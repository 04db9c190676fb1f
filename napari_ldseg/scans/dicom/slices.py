"""Where the slices of an image are: their order, time points and affine, or why they are no volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import LDSegError
from ..scan import LPS, MAX_SHIFT

SAME_DIRECTION = 1e-4
UNIT = 1e-2  # how far the length of a direction may be from 1
SAME_PLACE = 2e-3  # mm


class Plane(NamedTuple):
    """One slice: its place in LPS (mm), its pixels' distances (between rows, between columns), its file.

    ``frame`` is its index in the file, ``times`` what may tell it from others at the same place.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    times: tuple[Any, ...]
    file: int
    frame: int
    name: str


def arrange(planes: Sequence[Plane], name: str) -> tuple[list[list[Plane]], np.ndarray]:
    """Return the planes by time point and place, and the affine (x, y, slice) to RAS+ mm.

    Slices go along their normal. Where they are shifted against each other by a constant step (a tilted
    gantry), the affine is sheared.

    Raises
    ------
    LDSegError
        If they do not lie on one grid: other directions or pixel sizes, a missing slice, uneven distances, or
        two slices at one place that no time tells apart.
    """
    first = planes[0]
    directions = np.array([plane.orientation for plane in planes]).reshape(-1, 2, 3)
    spacing = np.array([plane.spacing for plane in planes])
    if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
        raise LDSegError(
            f"{name} has slices of different orientations; give them in separate folders."
        )
    if (np.abs(spacing - spacing[0]) > 1e-3 * spacing[0]).any():
        raise LDSegError(
            f"{name} has slices of different pixel sizes; give them in separate folders."
        )
    x, y = directions[0]
    lengths = np.linalg.norm(directions[0], axis=1)
    normal = np.cross(x, y)
    if (np.abs(lengths - 1) > UNIT).any() or abs(x @ y) > UNIT or (spacing[0] <= 0).any():
        raise LDSegError(
            f"{first.name} has an invalid orientation or pixel size (ImageOrientationPatient, PixelSpacing); "
            "correct its header."
        )
    normal /= np.linalg.norm(normal)
    places = _by_place(planes, normal)
    step = _step([place[0] for place in places], normal, min(spacing[0]), name)
    affine = np.eye(4)
    affine[:3, 0] = x * first.spacing[1]
    affine[:3, 1] = y * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[0][0].position
    return _by_time(places, name), LPS @ affine


def _by_place(planes: Sequence[Plane], normal: np.ndarray) -> list[list[Plane]]:
    """Return the planes at each place, along the normal."""
    distance = {id(plane): float(np.dot(plane.position, normal)) for plane in planes}
    places: list[list[Plane]] = []
    for plane in sorted(planes, key=lambda p: distance[id(p)]):
        if places and distance[id(plane)] - distance[id(places[-1][0])] < SAME_PLACE:
            places[-1].append(plane)
        else:
            places.append([plane])
    return places


def _step(planes: Sequence[Plane], normal: np.ndarray, pixel: float, name: str) -> np.ndarray:
    """Return the vector from slice to slice. Raises LDSegError if it is not constant."""
    positions = np.array([plane.position for plane in planes])
    if len(planes) == 1:
        return normal * (planes[0].thickness if planes[0].thickness > 0 else 1.0)
    distances = np.diff(positions @ normal)
    usual = float(np.median(distances))
    widest = int(np.argmax(distances))
    before, after = planes[widest].name, planes[widest + 1].name
    between = f"between {before} and {after}" if before != after else f"after slice {widest + 1}"
    if distances[widest] > 1.5 * usual:
        raise LDSegError(
            f"{name} has a gap of {distances[widest]:.4g} mm {between}, where {usual:.4g} mm are usual: slices "
            "are missing; copy the series again, or give its parts in separate folders."
        )
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    ideal = positions[0] + np.arange(len(planes))[:, None] * step
    shifts = np.linalg.norm(positions - ideal, axis=1)
    if shifts.max() <= MAX_SHIFT * min(pixel, usual):
        return step
    if np.ptp(distances) > MAX_SHIFT * usual:
        raise LDSegError(
            f"{name} has uneven distances between its slices, from {distances.min():.4g} to "
            f"{distances.max():.4g} mm; resample it to even ones first."
        )
    raise LDSegError(
        f"{name} has slices that are shifted sideways by different amounts, up to {shifts.max():.3g} mm from a "
        "straight line; resample it to one grid first."
    )


def _by_time(places: list[list[Plane]], name: str) -> list[list[Plane]]:
    """Return the planes of each time point, in the order of their places. Raises LDSegError."""
    count = len(places[0])
    for place in places:
        if len(place) != count:
            few, many = sorted((place, places[0]), key=len)
            raise LDSegError(
                f"{name} has {len(many)} slices at the place of {many[0].name}, but {len(few)} at that of "
                f"{few[0].name}; remove what is double, or copy the series again."
            )
    if count == 1:
        return [[place[0] for place in places]]
    for i in range(min(len(plane.times) for place in places for plane in place)):
        values = [[plane.times[i] for plane in place] for place in places]
        if all(None not in v and len(set(v)) == count for v in values):
            ordered = [sorted(place, key=lambda plane: plane.times[i]) for place in places]
            return [list(time) for time in zip(*ordered, strict=True)]
    double = places[0][1].name
    raise LDSegError(
        f"{name} has {count} slices at each place, and nothing gives their order; remove what is double, such as "
        f"{double}."
    )
