"""One image with its expert labels, read on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..scans.scan import Scan


@dataclass(frozen=True)
class Case:
    """An image and the label of each reader; none of an unlabelled one.

    ``read_scan()`` returns the scan (no leading axes), each of ``read_labels`` one reader's label, an
    integer array of the scan's shape. ``patient`` keeps cases of one person in one part of the split. ``file``
    is the image's file, if it has one for itself. ``read_reviewed()``, of a partly annotated case, returns the
    voxels that count, bool, of the scan's shape. ``slices``, of a volume for 2D networks, are the indices along
    its first axis that count.
    """

    name: str
    patient: str
    read_scan: Callable[[], Scan]
    read_labels: tuple[Callable[[], np.ndarray], ...]
    file: Path | None = None
    read_reviewed: Callable[[], np.ndarray] | None = None
    slices: tuple[int, ...] | None = None

    def read(self) -> tuple[Scan, np.ndarray]:
        """Return the scan and the expert's label: with several readers their majority."""
        return self.read_scan(), self.read_label()

    def read_label(self) -> np.ndarray:
        """Return the expert's label: with several readers their majority."""
        labels = [read() for read in self.read_labels]
        return labels[0] if len(labels) == 1 else consensus(labels)


def consensus(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the class that most readers chose per voxel; in a tie the highest class.

    So two of four readers are enough to make a voxel part of the structure.
    """
    stack = np.stack(labels)
    classes = range(int(stack.max()), -1, -1)
    votes = np.stack([(stack == c).sum(0) for c in classes])
    return (len(votes) - 1 - votes.argmax(0)).astype(np.uint8)


def check_label(name: str, scan: Scan, label: np.ndarray, classes: int) -> None:
    """Raise LDSegError if ``label`` does not fit ``scan`` or holds more than 0 to ``classes`` - 1."""
    if label.shape != scan.shape:
        raise LDSegError(f"{name}: the label's size {label.shape} is not the image's {scan.shape}.")
    if not np.array_equal(label, np.rint(label)):
        raise LDSegError(f"{name}: the label holds values that are not whole numbers.")
    low, high = label.min(), label.max()
    if low < 0 or high >= classes:
        raise LDSegError(
            f"{name}: the label holds the value {int(low if low < 0 else high)}, but the classes are "
            f"0 to {classes - 1}."
        )
