"""One number for how much a result should be looked at."""

from __future__ import annotations

from .posterior import Posterior

MOST = 0.5


def doubt(posterior: Posterior) -> float:
    """Return the mean predictive SD over the voxels labelled as any class but the background, 0 to 0.5.

    The larger, the more doubtful. A result without any such voxel is as doubtful as can be: 0.5. Of the
    scores tried on the hippocampus validation volumes none ranked the errors clearly better
    (``benchmarks/doubt.py``); this one needs no second sample and is not led by a structure's size, as
    means over the image or over a band around the boundary are.
    """
    structure = posterior.labels > 0
    if not structure.any():
        return MOST
    return float(posterior.predictive_sd[structure].mean())
