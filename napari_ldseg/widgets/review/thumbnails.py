"""A small picture of a label map: its outlines on the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from napari.layers import Image
from qtpy.QtGui import QPixmap

from ...checkpoint.metadata import ClassInfo
from ..common.thumbnails import outlined

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
    return QPixmap.fromImage(outlined(rgb, labels[where], classes, side))
