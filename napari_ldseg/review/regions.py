"""Where the label map may be wrong: pieces of the uncertain band, the most expected error first.

The band of uncertain voxels runs along whole contours. It is cut into pieces that a person can look at
in one view: the place with the most expected error around it becomes the centre of the first piece,
which is all uncertain voxels connected to it within a radius; then the next, of what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

UNCERTAIN = 0.05  # a voxel is in the band from this probability of error on
RADIUS = 0.5  # of a piece, as a share of the radius of a ball as large as the structures
RADIUS_IN_IMAGE = 0.03, 0.12  # its limits, as shares of the image's longest side
CELLS = 4  # per radius: the grid on which the pieces are found
SMALLEST = 0.02  # of the largest piece's error; a smaller piece is joined to its neighbour
MOST = 200  # pieces per frame


@dataclass(frozen=True, eq=False)
class UncertainRegion:
    """A piece of the uncertain band.

    Attributes
    ----------
    box
        A slice per axis of the full array; leading axes have one index.
    mask
        Its voxels, bool, shaped like the box.
    peak
        Where to go: in the slice with the most expected error, the voxel in the middle of that error.
    expected
        Expected wrong volume: the sum of the voxels' error probability times their size, in the unit of
        ``spacing``: mm^3, mm^2, or voxels.
    classes
        The classes in doubt: that of the label map, and the one it may be instead.
    """

    box: tuple[slice, ...]
    mask: np.ndarray
    peak: tuple[int, ...]
    expected: float
    classes: tuple[int, int]


def uncertain_regions(
    error: np.ndarray,
    labels: np.ndarray,
    runner_up: np.ndarray,
    spacing: Sequence[float],
    voxel_size: float | None = None,
) -> list[UncertainRegion]:
    """Return the pieces of the uncertain band, the most expected error first.

    No voxel is in two pieces. Specks of little error that are far from every piece are left out;
    ``expected_error_left`` counts them.

    Parameters
    ----------
    error
        Probability that the model's label is wrong, (*leading, *space), 0 to 1. Each frame has pieces
        of its own.
    labels, runner_up
        The label map and the second most probable class, integer, of the same shape.
    spacing
        Voxel size of each spatial axis, the last ``len(spacing)`` axes; 1 where it is not known.
    voxel_size
        Volume (area) of a voxel, by default the product of ``spacing``; it is less in a sheared scan.

    Raises
    ------
    ValueError
        If the arrays differ in shape.
    """
    if not error.shape == labels.shape == runner_up.shape:
        raise ValueError("error, labels and runner_up must have the same shape")
    leading = error.ndim - len(spacing)
    size = math.prod(spacing) if voxel_size is None else voxel_size
    radius = piece_radius(labels, spacing)
    regions = []
    for frame in np.ndindex(*error.shape[:leading]):
        for voxels in _pieces(error[frame], spacing, radius):
            box, mask = _boxed(voxels, frame)
            classes = _classes_in_doubt(error[box][mask], labels[box][mask], runner_up[box][mask])
            expected = float(error[box][mask].sum(dtype=np.float64)) * size
            peak = _peak(box, np.where(mask, error[box], 0), len(spacing))
            regions.append(UncertainRegion(box, mask, peak, expected, classes))
    largest = max((region.expected for region in regions), default=0.0)
    regions = [region for region in regions if region.expected >= SMALLEST * largest]
    return sorted(regions, key=lambda r: (-r.expected, r.peak))


def expected_error_left(
    error: np.ndarray, reviewed: np.ndarray | None = None, voxel_size: float = 1.0
) -> float:
    """Return the expected wrong volume of all voxels that have not been reviewed.

    ``error`` is each voxel's probability of error, ``voxel_size`` gives the unit.
    """
    total = error.sum(dtype=np.float64)
    if reviewed is not None:
        total -= error[reviewed].sum(dtype=np.float64)
    return float(max(total, 0.0)) * voxel_size


def piece_radius(labels: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the radius of a piece in the unit of ``spacing``, the same for all frames.

    It is ``RADIUS`` of that of a ball (disc) as large as all structures of a frame, limited by the
    image's size.
    """
    space = labels.shape[labels.ndim - len(spacing) :]
    frames = labels.size // math.prod(space)
    volume = np.count_nonzero(labels) / max(frames, 1) * math.prod(spacing)
    ball = math.pi if len(spacing) == 2 else 4 / 3 * math.pi
    side = max(n * s for n, s in zip(space, spacing, strict=True))
    low, high = (share * side for share in RADIUS_IN_IMAGE)
    return min(max(RADIUS * (volume / ball) ** (1 / len(spacing)), low), high)


def _pieces(error: np.ndarray, spacing: Sequence[float], radius: float) -> Iterator[np.ndarray]:
    """Yield the voxels of each piece of one frame, (voxels, axes)."""
    voxels = np.argwhere(error >= UNCERTAIN)
    if not len(voxels):
        return
    # Cells of several voxels keep the cost independent of the resolution.
    steps = np.array([max(1, int(radius / CELLS / s)) for s in spacing])
    cells = voxels // steps
    cells -= cells.min(0)
    shape = tuple(cells.max(0) + 1)
    flat = np.ravel_multi_index(tuple(cells.T), shape)
    weights = error[tuple(voxels.T)]
    in_cell = np.bincount(flat, weights, math.prod(shape)).reshape(shape)
    number = _cut(in_cell, steps * np.asarray(spacing), radius).ravel()[flat]
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=1))
    for start, end in pairwise(ends):
        yield voxels[order[start:end]]


def _cut(error: np.ndarray, size: np.ndarray, radius: float) -> np.ndarray:
    """Return the number of the piece of each cell, 0 for none; ``size`` is a cell's per axis."""
    number = np.zeros(error.shape, int)
    rest = error.copy()
    sigma = radius / 2 / size
    reach = np.ceil(radius / size).astype(int)
    around = ndimage.gaussian_filter(rest, sigma, mode="constant", radius=reach)
    largest = 0.0
    connected = np.ones((3,) * error.ndim, bool)
    pieces = 0
    for _ in range(MOST):
        best = np.where(rest > 0, around, 0).argmax()
        centre = tuple(int(i) for i in np.unravel_index(best, rest.shape))
        if rest[centre] == 0:
            break
        box = _around(centre, reach, rest.shape)
        offsets = np.ogrid[box]
        squared = sum(((o - c) * s) ** 2 for o, c, s in zip(offsets, centre, size, strict=True))
        components, _ = ndimage.label((rest[box] > 0) & (squared <= radius**2), connected)
        own = components == components[tuple(c - b.start for c, b in zip(centre, box, strict=True))]
        taken = float(rest[box][own].sum())
        largest = max(largest, taken)
        if taken >= SMALLEST * largest:
            pieces += 1
            number[box][own] = pieces
        wider = _around(centre, 2 * reach, rest.shape)
        before = rest[wider].copy()
        rest[box][own] = 0
        change = before - rest[wider]
        around[wider] -= ndimage.gaussian_filter(change, sigma, mode="constant", radius=reach)
    return _joined(number, error > 0, size, radius / 2)


def _joined(number: np.ndarray, band: np.ndarray, size: np.ndarray, reach: float) -> np.ndarray:
    """Give the cells of the band that are in no piece to the nearest one within ``reach``."""
    if not (band & (number == 0)).any():
        return number
    distance, nearest = ndimage.distance_transform_edt(number == 0, size, return_indices=True)
    return np.where(band & (distance <= reach), number[tuple(nearest)], number)


def _around(centre: Sequence[int], reach: np.ndarray, shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the box of ``reach`` cells on each side of ``centre``, inside the array."""
    return tuple(
        slice(max(0, int(c - r)), min(n, int(c + r) + 1))
        for c, r, n in zip(centre, reach, shape, strict=True)
    )


def _boxed(voxels: np.ndarray, frame: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the box of voxels of a frame in the full array, and their mask inside it."""
    low, high = voxels.min(0), voxels.max(0) + 1
    mask = np.zeros(high - low, bool)
    mask[tuple((voxels - low).T)] = True
    space = [slice(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    box = (*(slice(i, i + 1) for i in frame), *space)
    return box, mask.reshape((1,) * len(frame) + mask.shape)


def _classes_in_doubt(
    error: np.ndarray, labels: np.ndarray, runner_up: np.ndarray
) -> tuple[int, int]:
    """Return the pair of classes with the most error between them, that with more of it first.

    Corrected voxels whose label is the runner-up have no pair; (label, label) if all are such.
    """
    pair = labels != runner_up
    if not pair.any():
        return int(labels[0]), int(labels[0])
    width = int(max(labels.max(), runner_up.max())) + 1
    sums = np.bincount(
        labels[pair].astype(np.intp) * width + runner_up[pair], error[pair], width * width
    ).reshape(width, width)
    first, second = np.unravel_index((sums + sums.T).argmax(), sums.shape)
    if sums[second, first] > sums[first, second]:
        first, second = second, first
    return int(first), int(second)


def _peak(box: tuple[slice, ...], weights: np.ndarray, space: int) -> tuple[int, ...]:
    """Return the voxel nearest to the centre of ``weights`` in the slice that has most of them."""
    inside = weights.reshape(weights.shape[-space:])
    start: tuple[int, ...] = ()
    if space == 3:
        start = (int(inside.sum((1, 2)).argmax()),)
        inside = inside[start]
    voxels = np.argwhere(inside > 0)
    centre = np.average(voxels, axis=0, weights=inside[tuple(voxels.T)])
    nearest = voxels[((voxels - centre) ** 2).sum(1).argmin()]
    local = (*(0,) * (weights.ndim - space), *start, *nearest.tolist())
    return tuple(b.start + i for b, i in zip(box, local, strict=True))
