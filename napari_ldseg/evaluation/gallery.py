"""One slice of every case's image and results for the report's plots, kept on disk."""

from __future__ import annotations

import io
import os
import tempfile

import numpy as np

from ..scans.scan import Scan


def representative_slice(expert: np.ndarray, label: np.ndarray) -> int | None:
    """Return the slice with most of the expert's structures; None in 2D.

    If there are none, the slice with most of the label's structures, else the middle one.
    """
    if expert.ndim < 3:
        return None
    for array in (expert, label):
        areas = (array > 0).sum((1, 2))
        if areas.any():
            return int(areas.argmax())
    return len(expert) // 2


class Gallery:
    """Arrays (..., y, x) for the panels of the plots, by case and name.

    They are in one file without a name, which the system removes however this process ends.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, case: str, panels: dict[str, np.ndarray]) -> None:
        """Store the panels of ``case``."""
        content = io.BytesIO()
        np.savez_compressed(content, **panels)  # type: ignore[arg-type]
        start = self._file.seek(0, os.SEEK_END)
        self._places[case] = (start, self._file.write(content.getbuffer()))

    def __getitem__(self, case: str) -> dict[str, np.ndarray]:
        start, size = self._places[case]
        self._file.seek(start)
        with np.load(io.BytesIO(self._file.read(size)), allow_pickle=False) as panels:
            return dict(panels)

    def close(self) -> None:
        """Delete all panels."""
        self._file.close()


def display_slice(scan: Scan, index: int | tuple[int, ...] | None) -> np.ndarray:
    """Return a slice of ``scan`` for display: uint8 (y, x), or (y, x, 3) if it is in colour.

    The contrast limits are the 0.5 and 99.5 % percentiles of the complete scan. Of several channels that
    are not RGB the first is displayed.
    """
    array = np.asarray(scan.array, dtype=np.float32)
    if scan.channels and array.shape[-1] != 3:
        array = array[..., 0]
    low, high = np.percentile(array, [0.5, 99.5])
    if high <= low:
        low, high = array.min(), max(array.max(), array.min() + 1)
    plane = array if index is None else array[index]
    return np.rint(np.clip((plane - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def pixel_aspect(scan: Scan) -> float:
    """Return the height of a pixel divided by its width."""
    return scan.spacing[1] / scan.spacing[2] if scan.calibrated else 1.0
