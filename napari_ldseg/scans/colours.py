"""Which samples of a pixel count: no transparency, and one channel where red, green and blue are equal."""

from __future__ import annotations

from typing import Any

import numpy as np


def plain_samples(array: Any) -> tuple[Any, bool]:
    """Return (..., samples) as grey (...) or colour (..., channels), and whether it has channels.

    One sample is grey, two are grey and alpha, four are RGB and alpha; alpha is dropped. RGB is grey
    where its three channels are equal everywhere, unless the image has one value only: that says nothing.
    """
    samples = array.shape[-1]
    if samples <= 2:
        return array[..., 0], False
    if samples == 4:
        array = array[..., :3]
    return (array[..., 0], False) if array.shape[-1] == 3 and _is_grey(array) else (array, True)


def _is_grey(array: Any) -> bool:
    """Return whether the three channels are equal and hold more than one value."""
    # A few rows settle it for nearly every image in colour.
    axes = array.ndim - 1
    few = tuple(slice(None, None, max(1, n // 16)) for n in array.shape[:axes])
    for part in (array[few], array):
        part = np.asarray(part)
        first = part[..., 0]
        if not all(np.array_equal(first, part[..., i]) for i in (1, 2)):
            return False
    return bool(first.size and first.min() != first.max())
