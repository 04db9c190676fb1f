"""The intensities of a large image, read piece by piece: what all of its tiles are normalised with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..checkpoint.metadata import Intensity
from ..errors import LDSegError
from .preprocessing import check_finite

PIECE_VALUES = 2**24  # values read together
PERCENTILE_VALUES = 2**22  # values that percentiles are taken from


class IntensityRange:
    """The values of each channel of an image that become 0 and 1, and the hash of the image.

    They are those of ``preprocessing.normalise`` before the resampling; percentiles are taken from every
    n-th voxel of a large image. ``image`` is (*space) or, with ``channels``, (*space, channels): anything
    that numpy can index and convert, read once, piece by piece; ``digest`` is updated with its bytes.

    Raises
    ------
    LDSegError
        If the image has NaN or infinite values, or the same value everywhere and not ``blank_allowed``.
    """

    def __init__(
        self,
        rule: Intensity,
        image: Any,
        channels: bool,
        name: str,
        digest: Any = None,
        blank_allowed: bool = False,
    ) -> None:
        digest = hashlib.sha256() if digest is None else digest
        every = max(1, math.ceil(math.prod(image.shape) / PERCENTILE_VALUES))
        lows, highs, picked, offset = [], [], [], 0
        for piece in _pieces(image):
            check_finite(piece, name)
            digest.update(np.ascontiguousarray(piece).tobytes())
            values = piece.reshape(-1, piece.shape[-1] if channels and not rule.jointly else 1)
            lows.append(values.min(0))
            highs.append(values.max(0))
            if rule.method == "percentile":
                picked.append(values[-offset % every :: every])
            offset += len(values)
        self.low, self.high = (
            np.min(lows, axis=0).astype(float),
            np.max(highs, axis=0).astype(float),
        )
        if picked:
            low, high = np.percentile(np.concatenate(picked), [rule.lower, rule.upper], axis=0)
            useful = high > low
            self.low = np.where(useful, low, self.low)
            self.high = np.where(useful, high, self.high)
        if (self.high <= self.low).all() and not blank_allowed:
            raise LDSegError(f"{name} has the same value everywhere; choose another image.")
        self.digest = digest

    def normalise(self, image: np.ndarray) -> np.ndarray:
        """Map (channels, *space) to [0, 1], float32; a constant channel becomes 0."""
        shape = (-1, *(1,) * (image.ndim - 1))
        low, width = self.low.reshape(shape), (self.high - self.low).reshape(shape)
        scaled = (image - low.astype(np.float32)) / np.where(width > 0, width, np.inf)
        return np.clip(scaled, 0, 1).astype(np.float32)


def _pieces(image: Any) -> Iterator[np.ndarray]:
    """Read the image in pieces along its first axis, at most PIECE_VALUES each if possible."""
    row = max(1, math.prod(image.shape[1:]))
    step = max(1, PIECE_VALUES // row)
    for start in range(0, image.shape[0], step):
        yield np.asarray(image[start : start + step])
