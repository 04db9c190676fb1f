"""One image with its expert labels, read on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..inference.scan import Scan


@dataclass(frozen=True)
class Case:
    """An image and the label of each reader.

    ``read_scan()`` returns the scan (no leading axes), each of ``read_labels`` one reader's label, an
    integer array of the scan's shape. ``patient`` keeps cases of one person in one split. ``file`` is the
    image's own file where it has one to itself.
    """

    name: str
    patient: str
    read_scan: Callable[[], Scan]
    read_labels: tuple[Callable[[], np.ndarray], ...]
    file: Path | None = None

    def read(self, reader: int = 0) -> tuple[Scan, np.ndarray]:
        """Return the scan and one reader's label."""
        return self.read_scan(), self.read_labels[reader]()
