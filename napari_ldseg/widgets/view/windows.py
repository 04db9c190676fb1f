"""Grey value windows: the usual ones of CT, and those that an image's own values give.

A window of width W at level L shows the values from L - W/2 to L + W/2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image

from ...layers.files import MODALITY_KEY

# Width and level in Hounsfield units.
CT_WINDOWS = {
    "Brain": (80.0, 40.0),
    "Subdural": (200.0, 75.0),
    "Stroke": (40.0, 40.0),
    "Bone": (2800.0, 600.0),
    "Lung": (1500.0, -600.0),
    "Abdomen": (400.0, 50.0),
    "Mediastinum": (350.0, 50.0),
}
AIR = -500  # HU; only CT has values below it, in the air around the patient
PERCENTILES = (0.5, 99.5)
MOST_SAMPLED = 2**20  # voxels


def limits_of(width: float, level: float) -> tuple[float, float]:
    """Return the lowest and highest value that a window shows."""
    return level - width / 2, level + width / 2


def window_of(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the width and level that show the values between ``limits``."""
    low, high = limits
    return high - low, (low + high) / 2


def is_ct(layer: Image) -> bool:
    """Return whether the metadata of ``layer`` give CT, or its values can only be in Hounsfield units."""
    modality = layer.metadata.get(MODALITY_KEY)
    if modality is not None:
        return str(modality).upper() == "CT"
    if layer.rgb or np.dtype(layer.dtype).kind not in "if":
        return False
    sampled = sample_of(layer)
    return bool(sampled.size and sampled.min() < AIR)


def full_limits(layer: Image) -> tuple[float, float]:
    """Return the lowest and highest value, of the whole image if it is in memory."""
    data = _data(layer)
    if isinstance(data, np.ndarray) and data.dtype.kind in "iu":
        return _apart(float(data.min()), float(data.max()))
    sampled = sample_of(layer)
    return _apart(float(sampled.min(initial=0)), float(sampled.max(initial=1)))


def auto_limits(layer: Image) -> tuple[float, float]:
    """Return the ``PERCENTILES`` of the values that are not the image's lowest, which is mostly background."""
    sampled = sample_of(layer)
    inside = sampled[sampled > sampled.min()] if sampled.size else sampled
    if not inside.size:
        return full_limits(layer)
    low, high = np.percentile(inside, PERCENTILES)
    return _apart(float(low), float(high))


def sample_of(layer: Image) -> np.ndarray:
    """Return finite values of ``layer`` (1D), evenly spaced: not more than ``MOST_SAMPLED``."""
    data = _data(layer)
    size = int(np.prod(data.shape))
    step = max(1, int(np.ceil((size / MOST_SAMPLED) ** (1 / max(data.ndim, 1)))))
    values = np.asarray(data[(slice(step // 2, None, step),) * data.ndim]).ravel()
    return values[np.isfinite(values)]


def _data(layer: Image) -> Any:
    return layer.data[-1] if layer.multiscale else layer.data


def _apart(low: float, high: float) -> tuple[float, float]:
    return low, high if high > low else low + 1
