"""A result to export: labels with their classes, maps, and how they were made; and its grid in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.display_axes import to_file_axes
from ..scans.nifti import MM_PER_UNIT
from ..scans.scan import Scan

SOFTWARE = "napari-ldseg"
MAX_LABEL = 2**16 - 1


@dataclass(frozen=True)
class Result:
    """Labels on the grid of the image that they were made on.

    Parameters
    ----------
    scan
        The image; its voxels are not needed, only ``shape``, geometry and source.
    labels
        Class numbers, integers of 0 to 65535, shaped like ``scan.shape``. Anything that numpy can index.
    classes
        The classes by label value, without the background.
    summary
        What ``Posterior.summary`` gave, with the provenance; empty if not known.
    edited
        Whether a person has changed or drawn the labels.
    image
        The file that the image was read from, if it is known.
    """

    scan: Scan
    labels: Any
    classes: Mapping[int, ClassInfo]
    summary: Mapping[str, Any] = field(default_factory=dict)
    edited: bool = False
    image: Path | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != self.scan.shape:
            raise LDSegError(
                f"{self.scan.name}: labels of shape {self.labels.shape} do not fit the image's shape "
                f"{self.scan.shape}."
            )

    @property
    def model(self) -> str:
        """The name of the model, "" if no model made the labels."""
        return str(self.provenance.get("checkpoint", ""))

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The settings of the run that made the labels."""
        return self.summary.get("provenance", {})

    def provenance_json(self) -> str:
        """Return software, provenance, classes and whether a person changed the labels, as one line of JSON."""
        content = {
            "software": f"{SOFTWARE} {version(SOFTWARE)}",
            "edited": self.edited,
            "classes": {value: info.name for value, info in self.classes.items()},
            "provenance": self.provenance,
        }
        return json.dumps(content)

    def stored_labels(self) -> np.ndarray:
        """Return the labels as uint8, or as uint16 if a value needs it. Raises LDSegError beyond 65535."""
        labels = np.asarray(self.labels)
        low, high = labels.min(initial=0), labels.max(initial=0)
        if low < 0 or high > MAX_LABEL:
            raise LDSegError(
                f"{self.scan.name} has label values from {low} to {high}; only 0 to {MAX_LABEL} can be "
                "exported."
            )
        return labels.astype(np.uint8 if high < 256 else np.uint16)


def on_file_grid(array: np.ndarray, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Return ``array``, shaped like ``scan.shape``, as (x, y, z, *frames) of the scan's file, and its affine.

    The affine is 4x4, from the indices of the first three axes to mm in RAS+. A scan that came from a
    file without an affine has (x, y, z) as its last axes, reversed.
    """
    source = scan.source
    if source is None or int(np.prod(source.shape)) != array.size:
        data = (array if scan.space == 3 else np.expand_dims(array, -3)).T
        return data, scan.affine[:, [2, 1, 0, 3]]
    data = to_file_axes(array, source)
    unit = 2 if source.header is None else int(source.header["xyzt_units"]) % 8
    mm = MM_PER_UNIT.get(unit, 1.0)
    return data.reshape(data.shape + (1,) * (3 - data.ndim)), np.diag(
        [mm, mm, mm, 1]
    ) @ source.affine


def colour_of(info: ClassInfo) -> tuple[int, int, int]:
    """Return the red, green and blue of a class, 0 to 255."""
    red, green, blue = bytes.fromhex(info.colour[1:])
    return red, green, blue
