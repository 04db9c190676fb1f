"""The codes of classes in SNOMED CT, and our own for classes that have none."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ..checkpoint.metadata import ClassInfo
from ..utils.text import one_line

# A private scheme begins with 99 (DICOM PS3.3 8.2).
PRIVATE_SCHEME = "99LDSEG"
LONGEST_MEANING = 64
# Findings among the codes of the bundled models; other codes are taken for anatomy.
ABNORMAL = {"427359005"}  # solitary nodule of lung


class Coded(NamedTuple):
    """A code, the scheme that it is of, and its meaning in words."""

    value: str
    scheme: str
    meaning: str


def category_of(info: ClassInfo) -> Coded:
    """Return what kind of thing the class is, of DICOM's context group 7150."""
    if info.snomed in ABNORMAL:
        return Coded("49755003", "SCT", "Morphologically Abnormal Structure")
    return Coded("91723000", "SCT", "Anatomical Structure")


def type_of(info: ClassInfo) -> Coded:
    """Return the class's SNOMED code, or one of our own scheme that equal names have in common."""
    meaning = one_line(info.name, LONGEST_MEANING)
    if info.snomed is not None:
        return Coded(info.snomed, "SCT", meaning)
    digest = hashlib.sha256(info.name.encode()).hexdigest()
    return Coded(digest[:16].upper(), PRIVATE_SCHEME, meaning)
