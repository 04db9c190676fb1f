"""Reordering arrays between the axes of a file and display axes: superior, posterior, left.

Axes are only swapped and flipped, never resampled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import (
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from .scan import Scan, Source

DISPLAY_AXES = ("S", "P", "L")


def on_display_axes(
    data: Any,
    source: Source,
    name: str,
    mm_per_unit: float = 1.0,
    calibrated: bool = True,
) -> Scan:
    """Return the scan of ``data``, shaped as in its file, on its nearest anatomical axes.

    Parameters
    ----------
    data
        (x, y, z, *frames), up to three spatial axes, or with one more axis of channels; of numpy or dask.
    source
        The file's format, shape and affine (to RAS+); its ``order`` and ``flips`` are replaced.
    name, calibrated
        As in ``Scan``.
    mm_per_unit
        Millimetres per unit of the affine.
    """
    affine, shape = source.affine, source.shape
    channels = data.ndim > len(shape)
    size = shape + (1,) * (3 - len(shape))
    data = data.reshape(size + data.shape[len(shape) :])
    orientation = ornt_transform(io_orientation(affine), axcodes2ornt(DISPLAY_AXES))
    order = tuple(int(i) for i in np.argsort(orientation[:, 0]))
    flips = tuple(int(orientation[i, 1]) for i in order)
    flipped = tuple(slice(None, None, -1 if flip < 0 else 1) for flip in orientation[:, 1])
    # Only methods that an array of dask has as well.
    array = data[flipped].transpose(*order, *range(3, data.ndim))
    affine = affine @ inv_ornt_aff(orientation, size[:3])
    # The axis of a single slice goes first, whatever its orientation.
    single = [axis for axis in range(3) if array.shape[axis] == 1]
    if single and single[0] != 0:
        axes = (single[0], *(axis for axis in range(3) if axis != single[0]))
        array = np.moveaxis(array, single[0], 0)
        affine = affine[:, [*axes, 3]]
        order = tuple(order[axis] for axis in axes)
        flips = tuple(flips[axis] for axis in axes)
    # Frames go before space, the last frame axis first.
    frames = tuple(n for n in size[3:] if n > 1)
    array = array.reshape(array.shape[:3] + frames + array.shape[len(size) :])
    for leading in range(len(frames)):
        array = np.moveaxis(array, 3 + leading, 0)
    if single:
        array = np.squeeze(array, axis=len(frames))
    return Scan(
        array,
        np.diag([mm_per_unit] * 3 + [1]) @ affine,
        channels,
        calibrated,
        name,
        replace(source, order=order, flips=flips),
        flat=bool(single),
    )


def to_file_axes(array: np.ndarray, source: Source) -> np.ndarray:
    """Return ``array`` on display axes (*frames, *space) as (x, y, z, *frames) of its file."""
    size, frames = _size_and_frames(source)
    array = array.reshape(frames[::-1] + tuple(size[axis] for axis in source.order))
    array = np.moveaxis(array, range(len(frames)), range(-1, -1 - len(frames), -1))
    array = np.moveaxis(_flipped(array, source), (0, 1, 2), source.order)
    return array.reshape(source.shape)


def to_display_axes(data: np.ndarray, source: Source) -> np.ndarray:
    """Undo ``to_file_axes``."""
    size, frames = _size_and_frames(source)
    array = np.moveaxis(data.reshape(*size[:3], *frames), source.order, (0, 1, 2))
    return np.moveaxis(_flipped(array, source), range(-1, -1 - len(frames), -1), range(len(frames)))


def _size_and_frames(source: Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the file's shape with at least three axes, and its frame axes longer than 1."""
    size = source.shape + (1,) * (3 - len(source.shape))
    return size, tuple(n for n in size[3:] if n > 1)


def _flipped(array: np.ndarray, source: Source) -> np.ndarray:
    """Return ``array`` with its leading three axes flipped as ``source`` was when it was read."""
    reversed_axes = tuple(axis for axis, flip in enumerate(source.flips) if flip < 0)
    return np.flip(array, reversed_axes)
