"""Comparing the distribution of segmentations with the labels of several readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Metric
from ..datasets.case import Case
from ..inference.posterior import Posterior
from ..inference.sampler import PosteriorSampler

READER_SAMPLES = 16  # as in Kohl et al.


def measure_agreement(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    split: str,
    n: int = READER_SAMPLES,
    steps: int | None = None,
    device: str = "auto",
    on_case: Callable[[], None] = lambda: None,
) -> tuple[Metric, ...]:
    """Return GED^2 and matched IoU, means over ``cases`` with several readers each.

    Arguments as in ``evaluation.overlap.evaluate``; ``split`` is the name of the cases' split.
    """
    classes = checkpoint.metadata.architecture.classes
    values = []
    for case in cases:
        sampler = PosteriorSampler(
            checkpoint, case.read_scan(), steps=steps, device=device, keep_labels=True
        )
        for _ in sampler.run(n):
            pass
        steps = sampler.posterior.provenance["steps"]
        samples, readers = sample_labels(sampler.posterior), [read() for read in case.read_labels]
        values.append(
            (energy_distance(samples, readers, classes), matched_iou(samples, readers, classes))
        )
        on_case()
    return tuple(
        Metric(
            name=name,
            class_name="all classes",
            value=round(float(value), 4),
            split=split,
            cases=len(cases),
            samples=n,
            steps=steps or 1,
        )
        for name, value in zip(("GED²", "matched IoU"), np.mean(values, axis=0), strict=True)
    )


def sample_labels(posterior: Posterior) -> list[np.ndarray]:
    """Return the label map of each sample, shaped like the scan; needs ``posterior.keep_labels``."""
    shape = posterior.scan.shape
    return [
        np.stack([posterior.sample_labels[f, i] for f in posterior.planned_frames]).reshape(shape)
        for i in range(posterior.n)
    ]


def pairwise_iou(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], classes: int
) -> np.ndarray:
    """Return the mean IoU over foreground classes of every pair, (len(first), len(second)).

    The IoU of two empty masks is 1.
    """
    total = np.zeros((len(first), len(second)))
    for c in range(1, classes):
        a, b = (np.stack([(x == c).ravel() for x in labels]) for labels in (first, second))
        common = a.astype(np.float32) @ b.astype(np.float32).T
        union = a.sum(1)[:, None] + b.sum(1)[None] - common
        total += np.where(union > 0, common / np.maximum(union, 1), 1.0)
    return total / (classes - 1)


def energy_distance(
    samples: Sequence[np.ndarray], readers: Sequence[np.ndarray], classes: int
) -> float:
    """Return the squared generalised energy distance (Kohl et al., arXiv 1806.05034).

    GED^2 = 2 E d(S, Y) - E d(S, S') - E d(Y, Y') with d = 1 - IoU; S, S' run over all pairs of
    samples and Y, Y' over all pairs of readers, each with itself included. 0 is best.
    """

    def d(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
        return float(1 - pairwise_iou(a, b, classes).mean())

    return 2 * d(samples, readers) - d(samples, samples) - d(readers, readers)


def matched_iou(
    samples: Sequence[np.ndarray], readers: Sequence[np.ndarray], classes: int
) -> float:
    """Return the Hungarian-matched IoU: the mean IoU of the best one-to-one matching.

    Samples and readers are repeated to their least common multiple first (Kohl et al.,
    arXiv 1905.13077). 1 is best.
    """
    iou = pairwise_iou(samples, readers, classes)
    number = math.lcm(*iou.shape)
    repeated = np.tile(iou, (number // iou.shape[0], number // iou.shape[1]))
    rows, columns = linear_sum_assignment(repeated, maximize=True)
    return float(repeated[rows, columns].mean())
