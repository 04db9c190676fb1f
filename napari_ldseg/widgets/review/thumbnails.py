"""A small picture of a label map: its outlines on the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QImage, QPixmap
from scipy import ndimage

from ...checkpoint.metadata import ClassInfo

Slices = tuple[slice | int, ...]


def thumbnail(
    image: Image,
    labels: np.ndarray,
    where: Slices,
    classes: Mapping[int, ClassInfo],
    side: int,
) -> QPixmap:
    """Return the outlines of ``labels[where]`` on the image, at most ``side`` pixels wide and high.

    ``where`` leaves the last two axes as slices; the image has the grid of ``labels``.
    """
    data = image.data[0] if image.multiscale else image.data
    grey = np.asarray(data[where], np.float32)
    if image.rgb:
        rgb = np.clip(grey[..., :3] / (255.0 if data.dtype == np.uint8 else 1.0), 0, 1)
    else:
        low, high = (float(v) for v in image.contrast_limits)
        rgb = np.clip((grey - low) / max(high - low, 1e-12), 0, 1)[..., None].repeat(3, -1)
    factor = max(1, side // max(rgb.shape[:2]))
    enlarged = (255 * rgb).astype(np.uint8).repeat(factor, 0).repeat(factor, 1)
    shown = labels[where].repeat(factor, 0).repeat(factor, 1)
    for value, info in classes.items():
        mask = shown == value
        if value > 0 and mask.any():
            edge = mask & ~ndimage.binary_erosion(mask, iterations=max(1, factor // 2))
            enlarged[edge] = QColor(info.colour).getRgb()[:3]
    height, width = enlarged.shape[:2]
    picture = QImage(enlarged.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(picture).scaled(
        side,
        side,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
