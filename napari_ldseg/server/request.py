"""What a request asks for, checked: settings of the sampling, what is known of the image, form of the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

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
        The class that each value of the request's label file means; None: each value is the class of that
        number, and ``BACKGROUND_VALUE`` is the background.
    """

    points: dict[int, Points] = {}
    label_classes: dict[int, int] | None = None


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
    points: dict[int, Any] = {}
    for name, value in {**numbers, "background": 0, "foreground": chosen}.items():
        listed = given.get(name)
        if isinstance(listed, list) and listed:
            points[value] = [*points.get(value, ()), *listed]
    fields = {name: given[name] for name in _Fields.model_fields if given.get(name) is not None}
    try:
        meanings = label_meanings(given.get("label_info"), classes, chosen)
        return Request(**fields, points=points, label_classes=meanings)
    except ValidationError as error:
        first = error.errors()[0]
        place = one_line(".".join(str(part) for part in first["loc"]), 100)
        raise LDSegError(
            f"The request's {place} is invalid: {one_line(first['msg'], 150)}."
        ) from error


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
        if isinstance(item, dict) and item.get("name") in known:
            value = item.get("id", item.get("idx", number))
            if isinstance(value, int):
                meanings[value] = known[item["name"]]
    return meanings
