"""What a request asks for, checked: settings of the sampling, what is known of the image, form of the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import LDSegError
from ..utils.text import one_line

DEFAULT_SAMPLES = 10
BACKGROUND_VALUE = 255  # of a scribble, as 0 means that nothing is known
Point = tuple[int, int, int]
Points = Annotated[list[Point], Field(max_length=10_000)]
Map = Literal["sample_sd", "predictive_sd"]


class _Fields(BaseModel):
    """The parameters that the server reads; those of other apps are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    samples: Annotated[int, Field(ge=1, le=1000)] = DEFAULT_SAMPLES
    steps: Annotated[int, Field(ge=0, le=1000)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    result_extension: Literal[".nii", ".nii.gz", ".nrrd", ".seg.nrrd"] = ".nii.gz"
    maps: tuple[Map, ...] = ()


class Request(_Fields):
    """A checked request.

    Attributes
    ----------
    samples, steps, seed
        N, K and the seed, as in ``inference.segment``; ``steps`` 0 means the model's own number.
    result_extension
        The form of the label map, and, except for .seg.nrrd, of the maps.
    maps
        Which maps to send beside the label map.
    points
        Voxels (x, y, z), in the axes of the image's file, by their class.
    label_classes
        The class that each value of the request's label file means, none where it names no class of the model;
        None: each value is the class of that number, and ``BACKGROUND_VALUE`` is the background.
    other_values
        Values of the label file that mean something which is no class of the model.
    """

    points: dict[int, Points] = {}
    label_classes: dict[int, int] | None = None
    other_values: frozenset[int] = frozenset()


def parse_request(params: Mapping[str, Any], classes: Sequence[str]) -> Request:
    """Return the request in ``params``, as MONAI Label's clients send it, to a model of ``classes``.

    N, K are also called ``samples`` and ``steps``. Points are lists of voxels under the name of their class
    (``background`` is class 0), or under ``foreground`` of the class ``label`` (by default the first).
    ``label_info``, a list of names with an ``id`` or ``idx``, gives the meaning of the values of a label file; the
    scribbles of 3D Slicer are ``background_scribbles`` and ``foreground_scribbles``.

    Raises
    ------
    LDSegError
        If a value is not of its kind or out of its range.
    """
    numbers = {name: value for value, name in enumerate(classes)}
    chosen = numbers.get(str(params.get("label", "")), 1)
    given = dict(params)
    for short, name in (("N", "samples"), ("K", "steps")):
        if short in given:
            given[name] = given.pop(short)
    points = _points(given, {**numbers, "background": 0, "foreground": chosen})
    fields = {name: given[name] for name in _Fields.model_fields if given.get(name) is not None}
    info = given.get("label_info")
    if info and not (isinstance(info, list) and all(isinstance(item, dict) for item in info)):
        raise LDSegError("label_info must be a list of names, each with its value as id or idx.")
    meanings = label_meanings(info, classes, chosen)
    named = [item.get("id", item.get("idx", n)) for n, item in enumerate(info or (), start=1)]
    try:
        others = {value for value in named if isinstance(value, int)} - set(meanings or ())
        return Request(**fields, points=points, label_classes=meanings, other_values=others)
    except ValidationError as error:
        raise LDSegError(_reason(error, list(numbers))) from error


def _points(given: Mapping[str, Any], values: Mapping[str, int]) -> dict[int, Any]:
    """Return the points of the request by class; raise LDSegError if it has others, which would be lost."""
    points: dict[int, Any] = {}
    for name, listed in given.items():
        if name in values and listed:
            if not isinstance(listed, list):
                raise LDSegError(
                    f"The points of {one_line(name, 100)} must be a list of [x, y, z]."
                )
            points[values[name]] = [*points.get(values[name], ()), *listed]
        elif isinstance(listed, list) and listed and isinstance(listed[0], list):
            raise LDSegError(
                f"There are points of {one_line(name, 100)}, which is no class of the model; these are "
                f"{', '.join(values)}."
            )
    return points


def _reason(error: ValidationError, classes: Sequence[str]) -> str:
    """Return what is wrong with a request, in a sentence."""
    first = error.errors()[0]
    field, *rest = first["loc"]
    if field == "points" and rest:
        return f"A point of {classes[int(rest[0])]} in the request is not three whole numbers [x, y, z]."
    if field == "maps":
        return f"The request's maps must be a list with any of {', '.join(get_args(Map))}."
    short = {"samples": " (N)", "steps": " (K)"}.get(str(field), "")
    return f"The request's {field}{short} is invalid: {one_line(first['msg'], 150)}."


def label_meanings(info: Any, classes: Sequence[str], chosen: int = 1) -> dict[int, int] | None:
    """Return the class of each value in a label file of a client; None if ``info`` does not say it.

    ``info`` is a list of names, each with its value as ``id`` or ``idx``, or else in the order of the values from 1.
    """
    if not isinstance(info, list) or not info:
        return None
    known = {name: value for value, name in enumerate(classes)} | {
        "background": 0,
        "background_scribbles": 0,
        "foreground_scribbles": chosen,
    }
    meanings = {}
    for number, item in enumerate(info, start=1):
        name = str(item.get("name")) if isinstance(item, dict) else ""
        if name in known:
            value = item.get("id", item.get("idx", number))
            if isinstance(value, int):
                meanings[value] = known[name]
    return meanings
