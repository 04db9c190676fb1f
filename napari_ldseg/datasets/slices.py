"""Volumes and loops as images for 2D networks: slices along the first axis."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from ..errors import LDSegError
from ..scans.scan import Scan
from .case import Case

Item = TypeVar("Item")


class Counted(NamedTuple):
    """The counted part of a case: image, the expert's label, and which of its voxels are reviewed (bool).

    All of it, or, of a case ``by_slice``, the slices that count, stacked.
    """

    scan: Scan
    label: np.ndarray
    reviewed: np.ndarray


def is_taken_by_slice(dims: int | None, axes: int) -> bool:
    """Return whether networks of ``dims`` are trained on an image with this many ``axes`` slice by slice."""
    return dims == 2 and axes == 3


def by_slice(case: Case) -> Case:
    """Return ``case`` with the slices that 2D networks can be trained on; a single image unchanged.

    A slice counts if anything in it is reviewed and its image is not blank.

    Raises
    ------
    LDSegError
        If no slice counts.
    """
    scan = case.read_scan()
    if not is_taken_by_slice(2, len(scan.shape)):
        return case
    images = np.asarray(scan.array).reshape(scan.shape[0], -1)
    counts = images.min(1) < images.max(1)
    if case.read_reviewed is not None:
        counts &= np.asarray(case.read_reviewed()).any((1, 2))
    if not counts.any():
        if case.read_reviewed is None:
            raise LDSegError(f"Every slice of {case.name} is blank; leave it out.")
        raise LDSegError(
            f"Every slice of {case.name} that is reviewed is blank; review one that shows something."
        )
    return replace(case, slices=tuple(np.flatnonzero(counts).tolist()))


def read_counted(case: Case) -> Counted:
    """Read the counted part of ``case``. Raises LDSegError."""
    scan, label = counted_scan(case), case.read_label()
    reviewed = np.ones(label.shape, bool)
    if case.read_reviewed is not None:
        reviewed = np.asarray(case.read_reviewed(), bool)
    if case.slices is None:
        return Counted(scan, label, reviewed)
    at = list(case.slices)
    return Counted(scan, label[at], reviewed[at])


def counted_scan(case: Case) -> Scan:
    """Read the image of ``read_counted`` alone. Raises LDSegError."""
    scan = case.read_scan()
    if case.slices is None:
        return scan
    return _moved(scan, np.asarray(scan.array)[list(case.slices)], case.slices[0])


def single_images(case: Case) -> Iterator[Case]:
    """Yield the 2D images of a case ``by_slice``, in memory; of any other case yield the case itself."""
    if case.slices is None:
        yield case
        return
    scan, labels = case.read_scan(), [np.asarray(read()) for read in case.read_labels]
    reviewed = None if case.read_reviewed is None else np.asarray(case.read_reviewed(), bool)
    for index in case.slices:
        yield _image(case, index, scan, labels, reviewed)


def one_image(case: Case) -> Case:
    """Return one slice of a case ``by_slice``, drawn at random but always the same; any other case unchanged.

    It is read on demand, so that many cases need no memory.
    """
    if case.slices is None:
        return case
    index = case.slices[zlib.crc32(case.name.encode()) % len(case.slices)]
    one = replace(case, slices=(index,))

    def image() -> Case:
        return next(single_images(one))

    return Case(
        f"{case.name}, slice {index}",
        case.patient,
        lambda: image().read_scan(),
        tuple(lambda i=i: image().read_labels[i]() for i in range(len(case.read_labels))),  # type: ignore[misc]
    )


def sample_slices(cases: Sequence[Case], most: int) -> list[Case]:
    """Return the first ``most`` of ``cases``, volumes with few of their slices: about ``most`` images."""
    each = max(1, most // max(1, len(cases)))
    return [
        case if case.slices is None else replace(case, slices=tuple(every_nth(case.slices, each)))
        for case in cases[:most]
    ]


def every_nth(items: Sequence[Item], most: int) -> Sequence[Item]:
    """Return every n-th of ``items``, at most ``most``; the remainder is divided between both ends."""
    step = -(-len(items) // most)
    return items[(len(items) - 1) % step // 2 :: step]


def _image(
    case: Case, index: int, scan: Scan, labels: Sequence[np.ndarray], reviewed: np.ndarray | None
) -> Case:
    image = _moved(scan, np.asarray(scan.array)[index], index)
    complete = reviewed is None or reviewed[index].all()
    return Case(
        f"{case.name}, slice {index}",
        case.patient,
        lambda: image,
        tuple(lambda label=label: label[index] for label in labels),  # type: ignore[misc]
        read_reviewed=None if complete else lambda: reviewed[index],  # type: ignore[index]
    )


def _moved(scan: Scan, array: np.ndarray, first: int) -> Scan:
    """Return ``scan`` with the part ``array`` of its voxels, which begins at the slice ``first``."""
    affine = scan.affine.copy()
    affine[:3, 3] += first * affine[:3, 0]
    return replace(scan, array=array, affine=affine, source=None)
