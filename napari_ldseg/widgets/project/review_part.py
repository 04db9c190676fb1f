"""The part of a case to mark as reviewed, and the summary of what is reviewed already."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Shapes

from ...errors import LDSegError

WHOLE_CASE, SLICE, INSIDE = "the whole case", "the slice shown", "inside "
MAX_RANGES = 8


def extents(viewer: ViewerModel, labels: Labels | None) -> list[str]:
    """Return the names of the parts that can be marked now."""
    slices = [SLICE] if labels is not None and labels.ndim > 2 else []
    boxes = [f"{INSIDE}{layer.name}" for layer in viewer.layers if isinstance(layer, Shapes)]
    return [WHOLE_CASE, *slices, *boxes]


def part_of(viewer: ViewerModel, labels: Labels, chosen: str) -> tuple[slice, ...]:
    """Return the part of ``labels`` named ``chosen``, as slices. Raises LDSegError."""
    if chosen == WHOLE_CASE:
        return (slice(None),) * labels.ndim
    if chosen != SLICE:
        return _box(viewer.layers[chosen.removeprefix(INSIDE)], labels)
    if viewer.dims.ndisplay != 2:
        raise LDSegError("Switch to the 2D view to mark the slice that is shown.")
    shown = shown_position(viewer, labels)
    if shown is None:
        raise LDSegError(f"The slice shown is outside {labels.name}; go to a slice inside it.")
    box = [slice(None)] * labels.ndim
    for axis, index in zip(hidden_axes(viewer, labels), shown, strict=True):
        box[axis] = slice(index, index + 1)
    return tuple(box)


def hidden_axes(viewer: ViewerModel, labels: Labels) -> tuple[int, ...]:
    """Return the axes of ``labels`` with a slider; none in a 3D view of a volume."""
    offset = viewer.dims.ndim - labels.ndim
    return tuple(sorted(axis - offset for axis in viewer.dims.not_displayed if axis >= offset))


def shown_position(viewer: ViewerModel, labels: Labels) -> tuple[int, ...] | None:
    """Return the position of the slice shown on the ``hidden_axes``, None outside ``labels``."""
    point = labels.world_to_data(viewer.dims.point)[-labels.ndim :]
    axes = hidden_axes(viewer, labels)
    position = tuple(round(float(point[axis])) for axis in axes)
    sizes = (labels.data.shape[axis] for axis in axes)
    inside = all(0 <= index < size for index, size in zip(position, sizes, strict=True))
    return position if inside else None


def review_summary(reviewed: np.ndarray, shown: tuple[int, ...] | None) -> str:
    """Return one or two sentences on what is reviewed.

    Parameters
    ----------
    reviewed
        The reviewed fraction, 0 to 1, of each slice along the axes with a slider; a scalar without one.
    shown
        The position of the slice shown on those axes; None outside.
    """
    if not reviewed.any():
        return "Nothing is reviewed yet."
    if reviewed.min() == 1:
        return "Everything is reviewed."
    if reviewed.ndim == 0:
        return f"{max(1, int(100 * reviewed))} % is reviewed."
    full, part = reviewed == 1, (reviewed > 0) & (reviewed < 1)
    if reviewed.ndim == 1:
        slices = "slice" if np.count_nonzero(full) == 1 else "slices"
        listed = f"{slices} {_ranges(full)}" if full.any() else ""
        if part.any():
            listed += f"{'; ' if listed else ''}partly {_ranges(part)}"
    else:
        listed = f"{np.count_nonzero(full)} of {full.size} slices"
    summary = f"Reviewed: {listed}."
    if shown is None:
        return summary
    name = f"Slice {shown[0]}" if reviewed.ndim == 1 else "The slice shown"
    state = "reviewed" if full[shown] else "partly reviewed" if part[shown] else "not reviewed"
    return f"{name} is {state}. {summary}"


def _ranges(chosen: np.ndarray) -> str:
    """Return the true positions of a 1D mask as text: 3 to 14, 20."""
    edges = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0)).reshape(-1, 2)
    ranges = [f"{a}" if b - a == 1 else f"{a} to {b - 1}" for a, b in edges]
    return ", ".join(ranges[:MAX_RANGES]) + (" …" if len(ranges) > MAX_RANGES else "")


def _box(shapes: Shapes, labels: Labels) -> tuple[slice, ...]:
    """Return the box around the only shape of ``shapes``; it spans the axes on which the shape is flat."""
    if len(shapes.data) != 1:
        raise LDSegError(f"{shapes.name} holds {len(shapes.data)} shapes; keep only one box.")
    corners = np.asarray(shapes.data[0])
    world = np.zeros((len(corners), labels.ndim))
    drawn = np.array([shapes.data_to_world(c) for c in corners])[:, -labels.ndim :]
    world[:, labels.ndim - drawn.shape[1] :] = drawn
    points = np.array([labels.world_to_data(p) for p in world])
    box = []
    for axis, size in enumerate(labels.data.shape):
        low, high = points[:, axis].min(), points[:, axis].max()
        if high - low < 1e-6:
            box.append(slice(None))
            continue
        start, stop = max(0, int(np.floor(low + 0.5))), min(size, int(np.ceil(high + 0.5)))
        if stop <= start:
            raise LDSegError(f"The box is outside {labels.name}; draw it over the structure.")
        box.append(slice(start, stop))
    return tuple(box)
