"""HD95 and surface Dice: the distance between the surfaces of a label and of the expert's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.metrics import compute_hausdorff_distance, compute_surface_dice

from ..utils.quiet import hidden_warnings
from .overlap import one_hot, present


def surface_metrics(
    label: np.ndarray,
    expert: np.ndarray,
    classes: int,
    spacing: Sequence[float],
    tolerance: float,
) -> np.ndarray:
    """Return HD95 and the normalised surface Dice (NSD) per foreground class, (2, classes - 1).

    Surfaces are the voxels that erosion removes; distances are between voxel centres. HD95 is the
    larger of the two directed 95th percentiles. NSD is the share of both surfaces that is within
    ``tolerance`` of the other (Nikolov et al., arXiv 1809.04430; here each surface voxel counts
    once). For a class that neither has, both are NaN; for a class that only one has, HD95 is the
    diagonal of the image and NSD is 0.

    Parameters
    ----------
    label, expert
        Integer arrays (*space), 2D or 3D.
    classes
        Number of classes with the background.
    spacing
        Voxel size per axis; HD95 is in its unit.
    tolerance
        Tolerance of the NSD in the unit of ``spacing``.
    """
    metrics = np.full((2, classes - 1), np.nan, dtype=np.float32)
    in_label, in_expert = present(label, expert, classes)
    diagonal = float(np.linalg.norm(np.asarray(spacing) * label.shape))
    metrics[:, in_label ^ in_expert] = [[diagonal], [0.0]]
    both = np.flatnonzero(in_label & in_expert)
    if both.size:
        a, b = (one_hot(array, classes)[:, both] for array in (label, expert))
        options: dict[str, Any] = {
            "include_background": True,
            "spacing": [float(s) for s in spacing],
        }
        with hidden_warnings():  # MONAI 1.6 warns about an argument that it passes itself
            metrics[0, both] = compute_hausdorff_distance(a, b, percentile=95, **options)
            limits = [tolerance] * both.size
            metrics[1, both] = compute_surface_dice(a, b, limits, **options)
    return metrics
