"""What class probabilities say of each voxel and of a whole label map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.metadata import Metadata


def estimate_share(metadata: Metadata) -> float:
    """Return how much the label map's estimate counts in the probabilities; the rest is the samples' mean.

    All of it for a deterministic model, whose samples are parts of the estimate.
    """
    return 1.0 if metadata.deterministic else 0.5


def predictive_sd_of(probability: Iterable[Tensor | np.ndarray]) -> np.ndarray:
    """Return sqrt(p (1 - p)) of ``probability`` (classes, *shape), 0 to 1, maximum over classes, float32."""
    variance = torch.zeros(())
    for p in map(torch.as_tensor, probability):
        variance = torch.maximum(variance, p * (1 - p))
    return variance.sqrt_().numpy()


def expected_error_of(labels: np.ndarray, probability: Iterable[Tensor | np.ndarray]) -> float:
    """Return one minus the Dice that ``probability`` predicts for ``labels``, 0 to 1.

    1 - mean over classes of 2 sum(p_c [label = c]) / sum(p_c + [label = c]), with p the probability
    (classes, *shape), over the foreground classes in the label map; 1 if it has none.
    """
    dice = []
    for c, p in enumerate(map(np.asarray, probability)):
        mask = labels == c
        if c > 0 and mask.any():
            overlap = float(p[mask].sum(dtype=np.float64))
            total = float(p.sum(dtype=np.float64)) + int(mask.sum())
            dice.append(2 * overlap / total)
    return 1 - float(np.mean(dice)) if dice else 1.0


def most_probable(probabilities: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the most probable class of (classes, *space), uint8; the lowest class on ties.

    Computed class by class, many times faster on a CPU than torch's argmax over a leading axis.
    """
    largest = probabilities[0]
    labels = torch.zeros(largest.shape, dtype=torch.uint8)
    for c, probability in enumerate(probabilities[1:], start=1):
        above = (probability > largest).view(torch.uint8)
        labels = torch.maximum(labels, above.mul_(c))
        largest = torch.maximum(largest, probability)
    return labels
