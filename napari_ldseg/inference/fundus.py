"""Fundus photographs: their field of view, and their intensities for the networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

SURROUND = 0.12  # from the darkest to the brightest: darker than this is surround
NO_SURROUND = 0.4  # the darkest over the brightest: above this nothing is surround
SDS = 3.0
SMALLEST_INSIDE = np.float32(1e-3)
SMALLEST_SD = 6.0  # of 255: a nearly empty blue channel is mostly noise


def field_of_view(image: NDArray) -> NDArray[np.bool_]:
    """Return which pixels of an RGB photograph (height, width, 3) lie inside the field of view.

    The convex hull of the largest bright part, as dark vessels and shadows at the rim belong to it; all
    of the image where there is no surround.
    """
    brightness = ndimage.uniform_filter(image.mean(axis=2, dtype=np.float32), 5)
    darkest, brightest = np.percentile(brightness, [10, 90])
    if darkest >= NO_SURROUND * brightest:
        return np.ones(image.shape[:2], bool)
    bright = brightness > darkest + SURROUND * (brightest - darkest)
    parts, count = ndimage.label(ndimage.binary_opening(bright, iterations=3))
    if count == 0:
        return np.ones(image.shape[:2], bool)
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return convex_hull_image(largest)


def fundus_intensities(image: NDArray) -> NDArray[np.float32]:
    """Return the networks' input for an RGB photograph (3, height, width) of any range: (3, height, width).

    In [0, 1]: 0 in every channel is the surround, 0.5 a channel's mean inside the field of view.
    """
    scaled = np.moveaxis(image, 0, 2) * (255 / max(float(image.max()), 1e-6))
    inside = field_of_view(scaled)
    standardised = standardised_fundus(scaled, inside)
    return np.where(inside, np.maximum((standardised + 1) / 2, SMALLEST_INSIDE), 0)


def standardised_fundus(image: NDArray, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (3, height, width) in [-1, 1] for (height, width, 3) of 0 to 255: each channel's mean inside the field of view is 0, its SD 1/3.

    The surround is 0, so that it looks the same for every camera.
    """
    channels = np.moveaxis(image.astype(np.float32), 2, 0)
    values = channels[:, inside]
    mean = values.mean(axis=1)[:, None, None]
    sd = np.maximum(values.std(axis=1), SMALLEST_SD)[:, None, None]
    return np.where(inside, np.clip((channels - mean) / (SDS * sd), -1, 1), 0).astype(np.float32)
