"""Which part of a case a reader marks as reviewed, and in words what is reviewed already."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Shapes

from ...errors import LDSegError

WHOLE, SLICE, INSIDE = "the whole case", "the slice shown", "inside "
MOST_RANGES = 8


def choices(viewer: ViewerModel, labels: Labels | None) -> list[str]:
    """Return the parts that can be marked now."""
    slices = [SLICE] if labels is not None and labels.ndim > 2 else []
    boxes = [f"{INSIDE}{layer.name}" for layer in viewer.layers if isinstance(layer, Shapes)]
    return [WHOLE, *slices, *boxes]


def part_of(viewer: ViewerModel, labels: Labels, chosen: str) -> tuple[slice, ...]:
    """Return the part ``chosen`` of ``labels`` as slices. Raises LDSegError."""
    if chosen == WHOLE:
        return (slice(None),) * labels.ndim
    if chosen != SLICE:
        return _box(viewer.layers[chosen.removeprefix(INSIDE)], labels)
    if viewer.dims.ndisplay != 2:
        raise LDSegError("Turn the view back to 2D to mark the slice that is shown.")
    shown = shown_position(viewer, labels)
    if shown is None:
        raise LDSegError(f"The slice shown lies outside {labels.name}; go to one inside.")
    box = [slice(None)] * labels.ndim
    for axis, index in zip(hidden_axes(viewer, labels), shown, strict=True):
        box[axis] = slice(index, index + 1)
    return tuple(box)


def hidden_axes(viewer: ViewerModel, labels: Labels) -> tuple[int, ...]:
    """Return the axes of ``labels`` with a slider; none in a 3D view of a volume."""
    offset = viewer.dims.ndim - labels.ndim
    return tuple(sorted(axis - offset for axis in viewer.dims.not_displayed if axis >= offset))


def shown_position(viewer: ViewerModel, labels: Labels) -> tuple[int, ...] | None:
    """Return where on its ``hidden_axes`` the slice shown lies, or None if that is outside."""
    point = labels.world_to_data(viewer.dims.point)[-labels.ndim :]
    axes = hidden_axes(viewer, labels)
    position = tuple(round(float(point[axis])) for axis in axes)
    sizes = (labels.data.shape[axis] for axis in axes)
    inside = all(0 <= index < size for index, size in zip(position, sizes, strict=True))
    return position if inside else None


def reviewed_words(reviewed: np.ndarray, shown: tuple[int, ...] | None) -> str:
    """Return what is reviewed, in one or two sentences.

    Parameters
    ----------
    reviewed
        The reviewed fraction of each slice along the axes with a slider; of everything without one.
    shown
        The position of the slice shown on those axes; None outside.
    """
    if not reviewed.any():
        return "Nothing of it is reviewed."
    if reviewed.min() == 1:
        return "All of it is reviewed."
    if reviewed.ndim == 0:
        return f"{max(1, int(100 * reviewed))} % of it is reviewed."
    whole, part = reviewed == 1, (reviewed > 0) & (reviewed < 1)
    if reviewed.ndim == 1:
        slices = "slice" if np.count_nonzero(whole) == 1 else "slices"
        listed = f"{slices} {_ranges(whole)}" if whole.any() else ""
        if part.any():
            listed += f"{'; ' if listed else ''}in part {_ranges(part)}"
    else:
        listed = f"{np.count_nonzero(whole)} of {whole.size} slices"
    words = f"Reviewed: {listed}."
    if shown is None:
        return words
    name = f"Slice {shown[0]}" if reviewed.ndim == 1 else "The slice shown"
    is_so = (
        "is reviewed"
        if whole[shown]
        else "is reviewed in part"
        if part[shown]
        else "is not reviewed"
    )
    return f"{name} {is_so}. {words}"


def _ranges(chosen: np.ndarray) -> str:
    """Return the true positions of a 1D mask as words: 3 to 14, 20."""
    edges = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0)).reshape(-1, 2)
    words = [f"{a}" if b - a == 1 else f"{a} to {b - 1}" for a, b in edges]
    return ", ".join(words[:MOST_RANGES]) + (" …" if len(words) > MOST_RANGES else "")


def _box(shapes: Shapes, labels: Labels) -> tuple[slice, ...]:
    """Return the box around the only shape of ``shapes``, all of the axes it does not spread along."""
    if len(shapes.data) != 1:
        raise LDSegError(f"{shapes.name} holds {len(shapes.data)} shapes; keep one box.")
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
            raise LDSegError(f"The box lies outside {labels.name}; draw it over the structure.")
        box.append(slice(start, stop))
    return tuple(box)
