"""A small picture of a case: the outlines of its label on its most representative slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage
from scipy import ndimage

from ...checkpoint.metadata import ClassInfo
from ...scans.scan import Scan


def representative_index(label: np.ndarray) -> tuple[int, ...]:
    """Return the leading indices of the slice (y, x) with most of the label, else of the middle one."""
    areas = np.count_nonzero(label, axis=(-2, -1))
    if not areas.any():
        return tuple(n // 2 for n in areas.shape)
    return tuple(int(i) for i in np.unravel_index(areas.argmax(), areas.shape))


def case_thumbnail(
    image: Scan, label: np.ndarray, classes: Mapping[int, ClassInfo], side: int
) -> QImage:
    """Return the representative slice of ``image`` with the outlines of ``label``, both on one grid.

    At most ``side`` pixels wide and high, with the proportions of the voxels. Needs no window, so a worker
    can make it.
    """
    index = representative_index(label)
    plane = np.asarray(image.array[index])
    step = max(1, max(label.shape[-2:]) // (2 * side))  # outlines of large slices would vanish
    rgb = _grey_or_rgb(plane[::step, ::step], image.channels)
    _, height, width = image.spacing
    aspect = height / width if image.calibrated else 1.0
    return outlined(rgb, label[index][::step, ::step], classes, side, aspect, thickness=2.5)


def outlined(
    rgb: np.ndarray,
    labels: np.ndarray,
    classes: Mapping[int, ClassInfo],
    side: int,
    aspect: float = 1.0,
    thickness: float = 1.0,
) -> QImage:
    """Return ``rgb`` (y, x, 3), 0 to 1, with the outlines of ``labels`` (y, x), fitted into ``side`` pixels.

    ``aspect`` is the height of a pixel of ``rgb`` divided by its width, ``thickness`` the outlines' in
    pixels of the picture.
    """
    factor = max(1, side // max(labels.shape))
    enlarged = (255 * rgb).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    shown = labels.repeat(factor, 0).repeat(factor, 1)
    iterations = max(1, factor // 2, round(thickness * max(shown.shape) / side))
    for value, info in classes.items():
        mask = shown == value
        if value > 0 and mask.any():
            edge = mask & ~ndimage.binary_erosion(mask, iterations=iterations)
            enlarged[edge] = QColor(info.colour).getRgb()[:3]
    height, width = enlarged.shape[:2]
    picture = QImage(enlarged.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    scale = side / max(height * aspect, width)
    size = max(1, round(width * scale)), max(1, round(height * aspect * scale))
    return picture.scaled(
        *size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def _grey_or_rgb(plane: np.ndarray, channels: bool) -> np.ndarray:
    """Return a slice (y, x) or (y, x, channels) as (y, x, 3), 0 to 1, with its own contrast."""
    values = plane.astype(np.float32)
    if channels and plane.shape[-1] != 3:
        values = values[..., 0]
    low, high = np.percentile(values, [0.5, 99.5])
    if high <= low:
        low, high = values.min(), max(values.max(), values.min() + 1)
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return scaled if scaled.ndim == 3 else scaled[..., None].repeat(3, -1)
