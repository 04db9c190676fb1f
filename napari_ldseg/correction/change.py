"""What a correction changes, and the part of the label image that it works on."""

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
    """The part of a label image that a tool sees: one frame of a series, or one slice of it.

    ``index`` has a position for each axis that is fixed and ``slice(None)`` for the others.
    """

    index: tuple[int | slice, ...]

    @classmethod
    def shown(
        cls, position: tuple[int, ...], slice_axis: int | None = None, space: int = 3
    ) -> Part:
        """Return the frame at ``position``, or its slice across ``slice_axis`` (of the whole array).

        The last ``space`` axes are spatial; those before them are frames.
        """
        frames = max(0, len(position) - space)
        fixed = {*range(frames), *(() if slice_axis is None else (slice_axis,))}
        return cls(tuple(p if i in fixed else slice(None) for i, p in enumerate(position)))

    @property
    def free(self) -> list[int]:
        """The axes that the part spans."""
        return [axis for axis, i in enumerate(self.index) if isinstance(i, slice)]

    def of(self, array: np.ndarray) -> np.ndarray:
        """Return the part of ``array``, a view."""
        return array[self.index]

    def whole(self, change: Change) -> Change:
        """Return ``change``, made in the part, with indices into the whole array."""
        inside = iter(change.indices)
        indices = tuple(
            next(inside) if isinstance(i, slice) else np.full(len(change), i) for i in self.index
        )
        return Change(indices, change.before, change.after)


def bounding_box(mask: np.ndarray, margin: tuple[int, ...] | int = 0) -> Box | None:
    """Return the box around the true voxels, ``margin`` voxels larger on each side, or None."""
    margins = (margin,) * mask.ndim if isinstance(margin, int) else margin
    box = []
    rest = mask
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        there = np.flatnonzero(rest.any(axis=others))
        if not len(there):
            return None
        box.append(slice(int(there[0]), int(there[-1]) + 1))
        # Later axes need only look where this one found something.
        rest = rest[(slice(None),) * axis + (box[-1],)]
    return tuple(
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(box, margins, mask.shape, strict=True)
    )


def change_where(labels: np.ndarray, where: np.ndarray, value: int, box: Box = ()) -> Change:
    """Return the change that sets the voxels ``where`` (shaped like ``labels[box]``) to ``value``."""
    indices = np.nonzero(where & (labels[box] != value))
    before = labels[box][indices]
    return Change(_moved(indices, box), before, np.full_like(before, value))


def change_between(labels: np.ndarray, new: np.ndarray, box: Box = ()) -> Change:
    """Return the change from ``labels[box]`` to ``new``."""
    indices = np.nonzero(labels[box] != new)
    return Change(_moved(indices, box), labels[box][indices], new[indices])


def no_change(labels: np.ndarray) -> Change:
    """Return the change that changes nothing."""
    nothing = np.empty(0, labels.dtype)
    return Change((np.empty(0, np.intp),) * labels.ndim, nothing, nothing)


def _moved(indices: tuple[np.ndarray, ...], box: Box) -> tuple[np.ndarray, ...]:
    return tuple(i + s.start for i, s in zip(indices, box, strict=True)) if box else indices
