"""The names of a result's maps, and what a review needs of results that have only the predictive SD."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

# By the names of Posterior's maps. The first that there is gets shown: it finds the most errors (docs/accuracy.md).
MAP_TITLES = {
    "predictive_sd": "uncertainty",
    "sample_sd": "sample SD",
    "error_probability": "error probability",
}
SD_NAMES = ("predictive_sd", "sample_sd")


def shown_sd(maps: Mapping[str, np.ndarray | None]) -> str | None:
    """Return which of a result's ``maps`` is shown as its uncertainty; None if it has no SD."""
    return next((name for name in SD_NAMES if maps.get(name) is not None), None)


def error_from_predictive_sd(predictive_sd: np.ndarray) -> np.ndarray:
    """Return the error probability 1 - p from sqrt(p (1 - p)), both float32, 0 to 0.5.

    Exact where the label map's class has p >= 0.5, its SD is then the largest of all classes; where no
    class has, the error probability is larger than what is returned.
    """
    squared = np.square(np.clip(predictive_sd, 0, 0.5), dtype=np.float32)
    return 0.5 - np.sqrt(np.maximum(0.25 - squared, 0))


def nearest_other_class(labels: np.ndarray) -> np.ndarray:
    """Return for each voxel the class of the nearest voxel of another class, uint8 or as ``labels``.

    It stands for the second most probable class, which is nearly always that on the other side of the
    boundary. Where there is only one class, it is that class.
    """
    other = labels.copy()
    nearest = np.full(labels.shape, np.inf, np.float32)
    for value in np.unique(labels):
        inside = labels == value
        if inside.all():
            break
        distance = ndimage.distance_transform_edt(~inside).astype(np.float32)
        closer = ~inside & (distance < nearest)
        nearest[closer], other[closer] = distance[closer], value
    return other
