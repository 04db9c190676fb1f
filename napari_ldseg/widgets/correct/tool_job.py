"""One application of a correction tool: its input, the change it computes, and its messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.layers import Labels

from ...correction.change import Change, Part
from ...correction.pieces import keep_largest, relabel_piece
from ...correction.shape import fill_holes, grow, shrink, smooth
from ...correction.slices import copy_slice, fill_between
from ...errors import LDSegError
from .piece_click import Index
from .tools import TOOLS, Tool


@dataclass(frozen=True)
class ToolJob:
    """Everything a tool needs, as it is when the tool starts. Only reads the layer.

    Attributes
    ----------
    name
        Key of the tool in ``TOOLS``.
    layer, labels
        The labels layer and its array; the last three axes are spatial, those before them are frames.
    value, structure
        Label value and name of the class being corrected.
    position
        The voxel that was clicked, otherwise the one at the viewer's current point.
    slice_axis
        The axis along which the slices shown are stacked, if there is exactly one.
    by_slice
        Whether the tools for pieces and shape change the slice shown only.
    spacing, unit
        Voxel sizes of the spatial axes, and their unit: mm, or px where the spacing is unknown.
    smoothing, distance
        The amounts, in ``unit``.
    """

    name: str
    layer: Labels
    labels: np.ndarray
    value: int
    structure: str
    position: Index
    slice_axis: int | None
    by_slice: bool
    spacing: tuple[float, ...]
    unit: str
    smoothing: float
    distance: float

    @property
    def tool(self) -> Tool:
        """The tool to apply."""
        return TOOLS[self.name]

    @property
    def next_position(self) -> int | None:
        """The position on ``slice_axis`` of the slice to show afterwards, None if the view stays."""
        if self.slice_axis is None or self.name not in ("copy_next", "copy_previous"):
            return None
        return self.position[self.slice_axis] + (1 if self.name == "copy_next" else -1)

    def check(self) -> None:
        """Raise LDSegError if there is nothing to copy, or no slice to copy it to."""
        target, axis = self.next_position, self.slice_axis
        if target is None or axis is None:
            return
        if not 0 <= target < self.labels.shape[axis]:
            raise LDSegError("This is the last slice in that direction.")
        if not (Part.at(self.position, axis).of(self.labels) == self.value).any():
            raise LDSegError(
                f"This slice has no {self.structure} to copy; go to a slice that has it."
            )

    def compute(self) -> Change:
        """Return the change, with indices into the whole array; for a worker thread."""
        part = Part.at(self.position) if self.tool.across_slices else self._part
        return part.to_full(self._change(part, part.of(self.labels)))

    def leaves_nothing(self, change: Change) -> bool:
        """Return whether ``change`` shrinks the class away."""
        if self.name != "shrink":
            return False
        return int(np.count_nonzero(self._part.of(self.labels) == self.value)) <= len(change)

    @property
    def nothing_left(self) -> str:
        """The message if the class would be shrunk away."""
        return f"That would leave nothing of {self.structure}; choose a smaller distance."

    @property
    def no_change(self) -> str:
        """The message if nothing changes."""
        structure = self.structure
        part = "image" if self.labels.ndim == 2 else "slice" if self.by_slice else "volume"
        holes = f"{structure} encloses no hole in this {part}."
        if part == "volume":
            holes += ' To fill the holes of one slice, choose "slice shown" above.'
        smaller = f"{structure} is not in this {part}, or {self.distance:g} {self.unit} is less than a voxel."
        return {
            "keep_largest": f"{structure} is already one piece in this {part}, or is not in it.",
            "fill_holes": holes,
            "smooth": f"Smoothing by {self.smoothing:g} {self.unit} does not change {structure} in this {part}.",
            "grow": smaller,
            "shrink": smaller,
            "fill_between": f"{structure} has no gap between its slices; paint it in slices that have a gap.",
            "copy_next": f"The next slice already has the same {structure}.",
            "copy_previous": f"The previous slice already has the same {structure}.",
            "erase_piece": "There is nothing to erase at that point.",
            "relabel_piece": f"There is no piece of another class at that point to become {structure}.",
        }[self.name]

    @property
    def _part(self) -> Part:
        """The part that the tools for pieces and shape change: the frame, or the slice shown."""
        return Part.at(self.position, self.slice_axis if self.by_slice else None)

    def _change(self, part: Part, labels: np.ndarray) -> Change:
        """Return the change within ``part``, of which ``labels`` is a view."""
        spacing = self._spacing_of(part)
        match self.name:
            case "keep_largest":
                return keep_largest(labels, self.value)
            case "fill_holes":
                return fill_holes(labels, self.value)
            case "smooth":
                return smooth(labels, self.value, self.smoothing, spacing)
            case "grow":
                return grow(labels, self.value, self.distance, spacing)
            case "shrink":
                return shrink(labels, self.value, self.distance, spacing)
            case "erase_piece" | "relabel_piece":
                clicked = tuple(self.position[axis] for axis in part.axes)
                new = self.value if self.name == "relabel_piece" else 0
                return relabel_piece(labels, clicked, new)
        assert self.slice_axis is not None
        axis = part.axes.index(self.slice_axis)
        if self.name == "fill_between":
            return fill_between(labels, self.value, axis, spacing)
        assert self.next_position is not None
        return copy_slice(
            labels, self.value, axis, self.position[self.slice_axis], self.next_position
        )

    def _spacing_of(self, part: Part) -> tuple[float, ...]:
        frames = self.labels.ndim - len(self.spacing)
        return tuple(self.spacing[axis - frames] for axis in part.axes)
