"""What the user knows of an image's label map: strokes, each with the classes that its voxels can have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Stroke:
    """Voxels with the same set of possible classes; they count as one observation.

    Attributes
    ----------
    voxels
        Flat indices (C order) into the image's (*leading, *space), int (count,), all in one frame.
    allowed
        The possible classes, ascending: one if the class is known, all others for "not this class".
    """

    voxels: np.ndarray
    allowed: tuple[int, ...]


@dataclass(frozen=True)
class Evidence:
    """Strokes on an image of ``shape`` with ``classes`` classes, oldest first.

    Where strokes overlap, a voxel has the classes that all of them allow; if there is none, the newest
    stroke replaces the older ones. Empty strokes are allowed and have no effect.

    Raises
    ------
    ValueError
        If a stroke leaves the image or allows no class, all classes or one that there is not.
    """

    shape: tuple[int, ...]
    classes: int
    strokes: tuple[Stroke, ...] = ()

    def __post_init__(self) -> None:
        size = int(np.prod(self.shape))
        for stroke in self.strokes:
            if len(stroke.voxels) and not 0 <= stroke.voxels.min() <= stroke.voxels.max() < size:
                raise ValueError(f"a stroke leaves the image of shape {self.shape}")
            known = 0 < len(stroke.allowed) < self.classes
            if not known or not set(stroke.allowed) <= set(range(self.classes)):
                raise ValueError(
                    f"a stroke cannot allow {stroke.allowed} of {self.classes} classes"
                )

    def with_class(self, where: np.ndarray, label: int) -> Evidence:
        """Return this evidence and a new stroke: ``where`` (bool ``shape``, one frame) has class ``label``."""
        return self._with(where, (label,))

    def without_class(self, where: np.ndarray, label: int) -> Evidence:
        """Return this evidence and a new stroke: ``where`` (bool ``shape``, one frame) is not of class ``label``."""
        return self._with(where, tuple(c for c in range(self.classes) if c != label))

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the voxels with evidence, flat int (count,), and their possible classes, bool (count, classes)."""
        if not self.strokes:
            return np.empty(0, np.int64), np.empty((0, self.classes), bool)
        voxels = np.unique(np.concatenate([stroke.voxels for stroke in self.strokes]))
        possible = np.ones((len(voxels), self.classes), bool)
        for stroke in self.strokes:
            at = np.searchsorted(voxels, stroke.voxels)
            new = np.isin(np.arange(self.classes), stroke.allowed)
            both = possible[at] & new
            possible[at] = np.where(both.any(1, keepdims=True), both, new)
        return voxels, possible

    def effective_strokes(self) -> tuple[Stroke, ...]:
        """Return the strokes without the voxels where a newer stroke replaced them, and without empty ones."""
        voxels, possible = self.merged()
        kept = []
        for stroke in self.strokes:
            others = np.setdiff1d(np.arange(self.classes), stroke.allowed)
            valid = ~possible[np.searchsorted(voxels, stroke.voxels)][:, others].any(1)
            if valid.any():
                kept.append(Stroke(stroke.voxels[valid], stroke.allowed))
        return tuple(kept)

    def _with(self, where: np.ndarray, allowed: tuple[int, ...]) -> Evidence:
        if where.shape != self.shape:
            raise ValueError(
                f"a stroke of shape {where.shape} does not fit the image's {self.shape}"
            )
        stroke = Stroke(np.flatnonzero(where), allowed)
        return Evidence(self.shape, self.classes, (*self.strokes, stroke))


def evidence_from_labels(
    labels: np.ndarray, known: np.ndarray, classes: int, space: int, strokes: Sequence[Stroke] = ()
) -> Evidence:
    """Return the evidence of a label map of which some voxels are known, such as edited or reviewed ones.

    Parameters
    ----------
    labels
        Integer classes (*leading, *space).
    known
        Which voxels count, bool, shaped like ``labels``. Each connected piece of known voxels of one class
        in a frame becomes a stroke; voxels that touch at a corner are connected.
    classes
        Number of classes, with the background.
    space
        Number of the networks' spatial axes, 2 or 3: the last axes of ``labels``.
    strokes
        Newer evidence, such as "not this class", that is added.
    """
    structure = np.zeros((3,) * labels.ndim, bool)
    structure[(1,) * (labels.ndim - space)] = True
    pieces: list[Stroke] = []
    for c in np.unique(labels[known]):
        numbered, count = ndimage.label(known & (labels == c), structure)
        where = np.flatnonzero(numbered)
        numbers = numbered.ravel()[where]
        order = np.argsort(numbers, kind="stable")
        parts = np.split(where[order], np.cumsum(np.bincount(numbers, minlength=count + 1)[1:-1]))
        pieces += [Stroke(part, (int(c),)) for part in parts]
    return Evidence(labels.shape, classes, (*pieces, *strokes))
