"""One number for how much a result should be looked at."""

from __future__ import annotations

import numpy as np

from .posterior import Posterior


def doubt(posterior: Posterior) -> float:
    """Return one minus the Dice that the label map may expect by the model's own probabilities, 0 to 1.

    1 - mean over classes of 2 sum(p_c [label = c]) / sum(p_c + [label = c]), p the mean probability,
    the background and classes that the label map does not have left out; 1 if it has none. The order of
    cases is what it is good for: the size of the error it tells only as far as p is calibrated. Of ten
    scores it ranked the errors best on the average of three models; ``benchmarks/doubt.py`` compares them.
    """
    labels, probability = posterior.labels, posterior.mean_probability
    dice = []
    for c in range(1, len(probability)):
        mask = labels == c
        if mask.any():
            overlap = float(probability[c][mask].sum(dtype=np.float64))
            total = float(probability[c].sum(dtype=np.float64)) + int(mask.sum())
            dice.append(2 * overlap / total)
    return 1 - float(np.mean(dice)) if dice else 1.0
