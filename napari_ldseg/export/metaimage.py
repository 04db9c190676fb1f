"""MetaImage files (.mha)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..scans.scan import LPS
from ..utils.atomic import atomic_write
from .result import Result, on_file_grid

LONGEST_FIELD = 2**14  # characters; readers have buffers of 32 KiB


def write_labels(path: Path, result: Result) -> None:
    """Write labels as integers. Raises OSError and LDSegError."""
    _write(path, result.stored_labels(), result)


def write_map(path: Path, array: np.ndarray, result: Result) -> None:
    """Write a map of real numbers, shaped like the scan. Raises OSError."""
    _write(path, np.asarray(array, np.float32), result)


def _write(path: Path, array: np.ndarray, result: Result) -> None:
    import SimpleITK as sitk

    data, affine = on_file_grid(array, result.scan)
    affine = LPS @ affine
    spacing, direction = np.ones(data.ndim), np.eye(data.ndim)
    spacing[:3] = np.linalg.norm(affine[:3, :3], axis=0)
    direction[:3, :3] = affine[:3, :3] / spacing[:3]
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T), isVector=False)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin([*affine[:3, 3].tolist(), *[0.0] * (data.ndim - 3)])
    image.SetDirection(direction.ravel().tolist())
    provenance = result.provenance_json()
    if len(provenance) <= LONGEST_FIELD:
        image.SetMetaData("napari_ldseg", provenance)
    with atomic_write(path, ".mha") as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OSError(str(error)) from error
