"""The classes of a labels layer: names, colours and codes, stored on the layer itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import derived_attributes, layer_scan
from ...layers.results import CLASSES_KEY
from ...project.schema import MAX_CLASSES, MAX_VALUE
from ...utils.colours import class_colour

MAX_NAMED = MAX_CLASSES - 1  # in a project, without the background
UNNAMED_COLOUR = "#9aa0a6"
BACKGROUND = ClassInfo(name="background", colour="#000000")


def class_colours(classes: Mapping[int, ClassInfo]) -> DirectLabelColormap:
    """Return the colormap of ``classes`` by label value; other values are grey."""
    colours: dict[int | None, str] = {None: UNNAMED_COLOUR, 0: "transparent"}
    return DirectLabelColormap(
        color_dict=colours | {value: c.colour for value, c in classes.items() if value > 0}
    )


def class_names(classes: Mapping[int, ClassInfo]) -> dict[str, list]:
    """Return the layer features that show the class names in napari's status bar."""
    return {"index": list(classes), "name": [c.name for c in classes.values()]}


def set_classes(
    layer: Labels, classes: Mapping[int, ClassInfo], background: str = "background"
) -> None:
    """Set the ``classes`` of ``layer`` by label value; ``background`` is the name of value 0."""
    layer.metadata[CLASSES_KEY] = dict(classes)
    layer.features = class_names({0: ClassInfo(name=background, colour="#000000"), **classes})
    layer.colormap = class_colours(classes)


def classes_of(layer: Labels) -> dict[int, ClassInfo]:
    """Return the classes of ``layer`` by label value.

    They come from ``set_classes``, else from the layer's features, else from the values painted that
    can have a class.
    """
    known = layer.metadata.get(CLASSES_KEY)
    if known is not None:
        return dict(known)
    features = layer.features
    if {"index", "name"} <= set(features.columns):
        named = zip(features["index"], features["name"], strict=True)
        names = {int(value): str(name)[:100] for value, name in named if int(value) > 0}
    else:
        names = {value: f"label {value}" for value in _nameable(painted_values(layer))}
    return {
        value: ClassInfo(name=name or f"label {value}", colour=_colour(layer, value))
        for value, name in names.items()
    }


def numbered_classes(layer: Labels, background: ClassInfo = BACKGROUND) -> dict[int, ClassInfo]:
    """Return the classes set on ``layer`` by label value, with ``background`` for 0."""
    return {0: background, **layer.metadata[CLASSES_KEY]}


def new_class(value: int) -> ClassInfo:
    """Return a class for label ``value`` with a provisional name and its own colour."""
    return ClassInfo(name=f"structure {value}", colour=class_colour(value))


def unnamed_class(layer: Labels, value: int) -> ClassInfo:
    """Return a class for a label value of ``layer`` that has no name."""
    return ClassInfo(name=f"label {value}", colour=_colour(layer, value))


def classes_to_edit(
    layer: Labels, classes: Mapping[int, ClassInfo]
) -> tuple[dict[int, ClassInfo], str]:
    """Return ``classes`` and one for each other value painted, and a sentence on those without room, or ""."""
    others = [value for value in painted_values(layer) if value not in classes]
    named = _nameable(others)[: max(0, MAX_NAMED - len(classes))]
    full = {**classes, **{value: unnamed_class(layer, value) for value in named}}
    left = [value for value in others if value not in full]
    left += [value for value in classes if value > MAX_VALUE]
    if not left:
        return full, ""
    values = f"the label value {left[0]}" if len(left) == 1 else f"{len(left)} label values"
    also = "" if len(left) == 1 else f", the first {left[0]}"
    return full, (
        f"No class can be kept for {values} of {layer.name}{also}: a project holds up to {MAX_NAMED} classes "
        f"with values up to {MAX_VALUE}; erase these voxels or repaint them."
    )


def labels_on(image: Image, classes: Mapping[int, ClassInfo]) -> Labels:
    """Return an empty labels layer on the grid of ``image``, without its colour channels."""
    labels = Labels(
        np.zeros(layer_scan(image).shape, np.uint8 if max(classes) < 256 else np.uint16),
        name=f"labels · {image.name}",
        opacity=0.5,
        **derived_attributes(image),
    )
    set_classes(labels, classes)
    return labels


def redefine_classes(
    layer: Labels, classes: Mapping[int, ClassInfo], moves: Mapping[int, int]
) -> None:
    """Replace the classes of ``layer``.

    ``moves`` maps the value of each removed class to the new value of its voxels (0 erases them). The
    change is one undo step.
    """
    indices = np.nonzero(np.isin(layer.data, list(moves)))
    if len(indices[0]):
        old = layer.data[indices]
        new = old.copy()
        for value, target in moves.items():
            new[old == value] = target
        layer.data_setitem(indices, new)
    set_classes(layer, classes)
    if layer.selected_label not in classes:
        layer.selected_label = min(classes)


def painted_values(layer: Labels) -> list[int]:
    """Return the values above 0 in ``layer``, ascending."""
    data = np.asarray(layer.data)
    if data.min(initial=0) >= 0 and data.max(initial=0) <= MAX_VALUE:
        values = np.flatnonzero(np.bincount(data.ravel()))
    else:
        values = np.unique(data)
    return [int(v) for v in values if v > 0]


def _nameable(values: Sequence[int]) -> list[int]:
    return [value for value in values if value <= MAX_VALUE][:MAX_NAMED]


def _colour(layer: Labels, value: int) -> str:
    rgba = layer.get_color(value)
    if rgba is None or rgba[3] == 0:
        return UNNAMED_COLOUR
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgba[:3])
