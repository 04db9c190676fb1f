"""Label files: class numbers as an integer array, and which names mean labels."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ..errors import LDSegError

LABEL_INTENT = 1002
TOLERANCE = 1e-3
# As whole words of a file's name: LDSeg's own, BIDS (_dseg, _mask), FreeSurfer (aseg, aparc+aseg,
# lh.cortex.label) and ACDC (_gt).
LABEL_NAME = re.compile(
    r"(^|[ _.+-])(labels?|seg|dseg|aseg|wmparc|parc|segmentation|annotation|gt)([ _.+-]|\d*$)"
)
# Also of scans with the background removed.
MASK_NAME = re.compile(r"(^|[ _.-])mask([ _.-]|\d*$)")
NO_LABEL_NAME = re.compile(r"(^|[ _.-])probseg([ _.-]|$)")


def named_label(path: str | os.PathLike, stem: str, array: np.ndarray) -> np.ndarray | None:
    """Return ``array`` as labels if the file at ``path``, called ``stem`` without suffix, is named so.

    Files in a folder whose name begins with "label" are (labels, labelsTr of nnU-Net and Decathlon);
    probabilities are not. Values must be whole and not negative, those of a "mask" small integers.
    """
    stem = stem.lower()
    if NO_LABEL_NAME.search(stem):
        return None
    if not (LABEL_NAME.search(stem) or Path(path).parent.name.lower().startswith("label")):
        small = np.dtype(array.dtype).kind in "biu" and array.max(initial=0) < 256
        if not MASK_NAME.search(stem) or not small:
            return None
    try:
        labels = as_labels(array, stem)
    except LDSegError:
        return None
    return labels if labels.min(initial=0) >= 0 else None


def as_labels(array: np.ndarray, name: str) -> np.ndarray:
    """Return ``array`` as integers: its own if it has any, else rounded to the nearest.

    Raises
    ------
    LDSegError
        If a value is not a whole number within 1e-3, or beyond int32.
    """
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    rounded = np.rint(array)
    with np.errstate(invalid="ignore"):  # NaN and infinity fail as well
        whole = array.dtype.kind == "f" and (np.abs(array - rounded) <= TOLERANCE).all()
    if not whole:
        raise LDSegError(
            f"{name} holds values that are not whole numbers; save it as class numbers."
        )
    low, high = rounded.min(initial=0), rounded.max(initial=0)
    for dtype in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return rounded.astype(dtype)
    raise LDSegError(f"{name} holds values beyond 2^31, which are no class numbers.")
