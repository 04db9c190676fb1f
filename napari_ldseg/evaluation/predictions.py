"""The segmentations of one case that an evaluation needs, each computed once and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..checkpoint.file import Checkpoint
from ..inference.posterior import Posterior
from ..inference.sampler import PosteriorSampler
from ..inference.symmetry import symmetries
from ..scans.scan import Scan
from .noise import add_noise


class Model(NamedTuple):
    """A checkpoint and its name in the report."""

    label: str
    checkpoint: Checkpoint

    @property
    def deterministic(self) -> bool:
        """Whether noise and steps have no effect on a sample."""
        return self.checkpoint.metadata.deterministic

    def samples_of(self, wanted: int) -> int:
        """Return how many samples to draw: ``wanted``, but one if all would be the same.

        The samples of a deterministic model are its answers for the image in each of its symmetries.
        """
        metadata = self.checkpoint.metadata
        grid = metadata.grid
        # Quarter turns need a square grid, which one that keeps the image's shape may not be.
        fixed = None if grid.keep_shape else grid.size
        size = fixed or tuple(range(metadata.architecture.dims))
        return 1 if self.deterministic and len(symmetries(metadata, size)) == 1 else wanted


class Sampling(NamedTuple):
    """The settings of a segmentation: ``samples`` samples with ``steps`` sampling times.

    Noise of SD ``noise`` is added to the image first, None for no noise. ``given`` steps are not the model's own, so
    that the label map is that of the samples; see ``inference.sampler.PosteriorSampler``.
    """

    model: str
    samples: int
    steps: int
    noise: float | None = None
    given: bool = False


class Segmentation(NamedTuple):
    """A label map, the seconds from the image to it, and the posterior if it was kept."""

    labels: np.ndarray
    seconds: float
    posterior: Posterior | None


class CasePredictions:
    """The segmentations of one scan by sampling, computed on first use.

    Parameters
    ----------
    models
        The checkpoints by their name in the report.
    keep
        The samplings whose posterior, with each sample's labels, is needed too.
    on_samples
        Called with the number of new samples after every batch.
    """

    def __init__(
        self,
        scan: Scan,
        models: dict[str, Checkpoint],
        keep: set[Sampling],
        seed: int,
        device: str,
        on_samples: Callable[[int], None],
    ):
        self.scan = scan
        self._models, self._keep, self._seed, self._device = models, keep, seed, device
        self._on_samples = on_samples
        self._done: dict[Sampling, Segmentation] = {}

    def __getitem__(self, sampling: Sampling) -> Segmentation:
        if sampling not in self._done:
            self._done[sampling] = self._compute(sampling)
        return self._done[sampling]

    def posterior(self, sampling: Sampling) -> Posterior:
        """Return the posterior of one of the samplings to ``keep``."""
        posterior = self[sampling].posterior
        assert posterior is not None, f"{sampling} is not kept"
        return posterior

    def _compute(self, sampling: Sampling) -> Segmentation:
        scan = (
            self.scan
            if sampling.noise is None
            else add_noise(self.scan, sampling.noise, self._seed)
        )
        started = time.perf_counter()
        sampler = PosteriorSampler(
            self._models[sampling.model],
            scan,
            seed=self._seed,
            steps=sampling.steps if sampling.given else None,
            device=self._device,
            keep_labels=sampling in self._keep,
        )
        done = 0
        for posterior in sampler.run(sampling.samples):
            self._on_samples(posterior.n - done)
            done = posterior.n
        labels = sampler.posterior.labels
        seconds = time.perf_counter() - started
        return Segmentation(labels, seconds, sampler.posterior if sampling in self._keep else None)
