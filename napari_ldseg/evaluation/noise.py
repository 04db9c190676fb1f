"""Noisy copies of an image, for the paper's test of robustness (Figure 8)."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from ..scans.scan import Scan


def add_noise(scan: Scan, sd: float, seed: int = 0) -> Scan:
    """Return ``scan`` mapped to [0, 1], plus N(0, ``sd``^2), mapped to [0, 1] again; float32.

    The noise is ``sd`` times a field that depends only on (seed, name of the image).
    """
    image = _min_max(np.asarray(scan.array, dtype=np.float32))
    if sd:
        rng = np.random.default_rng([seed, zlib.crc32(scan.name.encode())])
        image = _min_max(image + np.float32(sd) * rng.standard_normal(image.shape, np.float32))
    return replace(scan, array=image)


def _min_max(image: np.ndarray) -> np.ndarray:
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else image
