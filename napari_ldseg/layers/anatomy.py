"""Anatomical directions and positions in the patient, of layers whose orientation is known.

Directions are in RAS+: x towards right, y anterior, z superior. napari's last three world axes are (superior,
posterior, left).
"""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels, Layer

from ..scans.scan import Scan
from .geometry import GEOMETRY_KEY, layer_scan

# Of a direction that leans more than this towards another axis.
SECOND_LETTER = np.sin(np.deg2rad(20))
ORIENTED_FORMATS = ("DICOM", "NRRD", "MetaImage")  # besides NIfTI, whose header says it
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))  # of positive and negative RAS


def orientation_known(layer: Layer) -> bool:
    """Return whether a file gave the orientation of ``layer`` in the patient: that of a volume; NIfTI with a form code."""
    stored = layer.metadata.get(GEOMETRY_KEY)
    if not isinstance(layer, Image | Labels) or stored is None:
        return False
    scan: Scan = stored["scan"]
    if scan.source is None or scan.space != 3 or not scan.calibrated or layer.ndim < 3:
        return False
    header = scan.source.header
    if header is None:
        return scan.source.format in ORIENTED_FORMATS
    return bool(header["sform_code"] or header["qform_code"])


class Anatomy:
    """Where the world of the viewer is in the patient, by one layer whose orientation is known.

    An oblique file is shown straight, so a world axis stands for the true direction of the file's axis.
    """

    def __init__(self, layer: Layer):
        affine = layer_scan(layer).affine
        origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
        ends = [np.array(layer.data_to_world(unit)) for unit in np.eye(layer.ndim)[-3:]]
        matrix = np.eye(4)
        matrix[:3, :3] = (np.stack(ends, axis=1) - origin[:, None])[-3:]
        matrix[:3, 3] = origin[-3:]
        self._ras_from_world = affine @ np.linalg.inv(matrix)

    def direction(self, axis: int) -> np.ndarray:
        """Return the unit vector in RAS of the world ``axis``: 0, 1, 2 for superior, posterior, left."""
        column = self._ras_from_world[:3, axis]
        return column / np.linalg.norm(column)

    def position(self, point: np.ndarray) -> np.ndarray:
        """Return the last three coordinates of a world ``point`` in RAS, mm."""
        return (self._ras_from_world @ [*np.asarray(point, float)[-3:], 1])[:3]


def letters(direction: np.ndarray) -> str:
    """Return one or two letters for a unit vector in RAS, such as L, or AL where it leans by more than 20 degrees."""
    order = np.argsort(-np.abs(direction), kind="stable")
    first, second = (LETTERS[axis][int(direction[axis] < 0)] for axis in order[:2])
    return first + (second if abs(direction[order[1]]) > SECOND_LETTER else "")


def position_text(position: np.ndarray) -> str:
    """Return a position in RAS as text, such as "R 12.3  A 4.0  S 33.1 mm"."""
    parts = [coordinate_text(axis, value) for axis, value in enumerate(position)]
    return f"{'  '.join(parts)} mm"


def coordinate_text(axis: int, value: float) -> str:
    """Return one coordinate in RAS as text, such as "P 4.0"."""
    value = round(float(value), 1)
    return f"{LETTERS[axis][int(value < 0)]} {abs(value):.1f}"
