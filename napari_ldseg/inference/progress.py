"""How a run goes on, as arrays and words: the same from this computer and from a server; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .region import Region


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked for: N samples with K ``steps`` (None: the model's own number) and a seed."""

    samples: int
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class View:
    """What the posterior says at one moment of a run.

    Arrays have the shape of what is segmented, (*leading, *space). All but the first two, and the summary, are None
    before the first sample is complete, or where they were not asked for.

    Attributes
    ----------
    labels
        The label map, uint8.
    labelled
        Whether each row of each frame has labels, bool (*leading, rows).
    region
        The part that the samples are of, which may be smaller than what is segmented.
    sample_sd, predictive_sd
        float32, 0 to 0.5.
    error_probability, runner_up
        float32, 0 to 1, and uint8, as in ``Posterior``.
    summary
        That of ``Posterior``.
    samples
        The ``inference.samples.Samples``, to decode one by one; None from a server, or if they are too large to be kept.
    """

    labels: np.ndarray
    labelled: np.ndarray
    region: Region
    sample_sd: np.ndarray | None = None
    predictive_sd: np.ndarray | None = None
    error_probability: np.ndarray | None = None
    runner_up: np.ndarray | None = None
    summary: dict | None = None
    samples: Any = None


@dataclass(frozen=True)
class Progress:
    """The progress of a run: ``fraction`` from 0 to 1, and a ``view`` if there is something to show.

    ``notice`` is what happened that the user should know, such as a device without enough memory. ``last`` is set
    at the end, whose view has everything.
    """

    message: str
    fraction: float = 0.0
    view: View | None = None
    notice: str = ""
    last: bool = False
