"""The change that a correction makes, and the part of the label image that it works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Change:
    """Voxels with their old and new values.

    Parameters
    ----------
    indices
        One array of n indices per axis, as ``numpy.nonzero`` gives them.
    before, after
        (n,) label values; nowhere equal.
    """

    indices: tuple[np.ndarray, ...]
    before: np.ndarray
    after: np.ndarray

    def __len__(self) -> int:
        return len(self.before)


@dataclass(frozen=True)
class Part:
    """The part of a label image that a tool works on: one frame of a series, or one slice of it.

    ``index`` has a position for each fixed axis and ``slice(None)`` for the others.
    """

    index: tuple[int | slice, ...]

    @classmethod
    def at(cls, position: tuple[int, ...], slice_axis: int | None = None, space: int = 3) -> Part:
        """Return the frame at ``position``, or its slice across ``slice_axis`` (of the full array).

        The last ``space`` axes are spatial; the axes before them are frames.
        """
        frames = max(0, len(position) - space)
        fixed = {*range(frames), *(() if slice_axis is None else (slice_axis,))}
        return cls(tuple(p if i in fixed else slice(None) for i, p in enumerate(position)))

    @property
    def axes(self) -> list[int]:
        """The axes of the full array that the part extends along."""
        return [axis for axis, i in enumerate(self.index) if isinstance(i, slice)]

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return this part of ``array``, as a view."""
        return array[self.index]

    def to_full(self, change: Change) -> Change:
        """Return ``change`` of this part with indices into the full array."""
        inside = iter(change.indices)
        indices = tuple(
            next(inside) if isinstance(i, slice) else np.full(len(change), i) for i in self.index
        )
        return Change(indices, change.before, change.after)


def bounding_box(mask: np.ndarray, margin: tuple[int, ...] | int = 0) -> Box | None:
    """Return the box around the true voxels, ``margin`` voxels larger on each side; None if there are none."""
    margins = (margin,) * mask.ndim if isinstance(margin, int) else margin
    box = []
    rest = mask
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        positions = np.flatnonzero(rest.any(axis=others))
        if not len(positions):
            return None
        box.append(slice(int(positions[0]), int(positions[-1]) + 1))
        # The next axes only need to be searched inside this range.
        rest = rest[(slice(None),) * axis + (box[-1],)]
    return tuple(
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(box, margins, mask.shape, strict=True)
    )


def change_where(labels: np.ndarray, where: np.ndarray, value: int, box: Box = ()) -> Change:
    """Return the change that sets the voxels ``where`` (shaped like ``labels[box]``) to ``value``."""
    indices = np.nonzero(where & (labels[box] != value))
    before = labels[box][indices]
    return Change(_offset(indices, box), before, np.full_like(before, value))


def change_between(labels: np.ndarray, new: np.ndarray, box: Box = ()) -> Change:
    """Return the change from ``labels[box]`` to ``new``."""
    indices = np.nonzero(labels[box] != new)
    return Change(_offset(indices, box), labels[box][indices], new[indices])


def no_change(labels: np.ndarray) -> Change:
    """Return an empty change."""
    values = np.empty(0, labels.dtype)
    return Change((np.empty(0, np.intp),) * labels.ndim, values, values)


def _offset(indices: tuple[np.ndarray, ...], box: Box) -> tuple[np.ndarray, ...]:
    """Return indices into ``box`` as indices into the full array."""
    return tuple(i + s.start for i, s in zip(indices, box, strict=True)) if box else indices
