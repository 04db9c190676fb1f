"""Sampling in a worker thread: from a job to snapshots. Touches no layer and no widget."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...checkpoint.metadata import Metadata
from ...errors import LDSegError
from ...inference.region import Region, crop
from ...scans.scan import Scan
from ...utils.text import about

if TYPE_CHECKING:
    # Both import torch, for which the window must not wait.
    from ...checkpoint.file import Checkpoint
    from ...inference.samples import Samples
    from ...inference.segment import PosteriorSampler

SECONDS_BETWEEN_RESULTS = 0.5


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample: ``steps`` None is the checkpoint's own number; ``device`` as in ``choose_device``."""

    checkpoint: Path
    samples: int
    steps: int | None
    seed: int
    device: str


@dataclass(frozen=True)
class SamplingJob:
    """One run.

    Attributes
    ----------
    scan, region, settings
        The whole image, the part of it to segment, and how.
    base
        The arrays of an earlier result that are shown, by the names of ``Result``'s fields. They stay
        wherever this run does not segment.
    partial
        Whether ``region`` is only a part of the image.
    stop
        Set to end the run after the current batch.
    """

    scan: Scan
    region: Region
    settings: SamplingSettings
    base: dict[str, np.ndarray] = field(default_factory=dict)
    partial: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Result:
    """A result on the grid of the whole image: labels uint8, both SDs float32 from 0 to 0.5.

    An SD is None if there is nothing new to show. Only the last result has the predictive SD, and what a
    review needs: ``error_probability`` and ``runner_up`` as in ``Posterior``, and the samples of ``region``.
    ``summary`` is that of ``Posterior``, None before the first sample is complete.
    """

    labels: np.ndarray
    sample_sd: np.ndarray | None
    predictive_sd: np.ndarray | None
    summary: dict | None
    last: bool
    error_probability: np.ndarray | None = None
    runner_up: np.ndarray | None = None
    samples: Samples | None = None
    region: Region | None = None


@dataclass(frozen=True)
class Snapshot:
    """The progress of a run; ``fraction`` is from 0 to 1, ``result`` None if there is nothing to show."""

    message: str
    fraction: float = 0.0
    result: Result | None = None
    metadata: Metadata | None = None


class CheckpointCache:
    """Keeps the checkpoint that was used last in memory for the next run."""

    def __init__(self) -> None:
        self._key: tuple[Path, float] | None = None
        self._checkpoint: Checkpoint | None = None

    def get(self, path: Path) -> Checkpoint:
        """Return the checkpoint at ``path``, loaded again if the file has changed. Raises LDSegError."""
        from ...checkpoint.file import load_checkpoint

        key = (path, path.stat().st_mtime if path.exists() else 0.0)
        if self._checkpoint is None or key != self._key:
            self._checkpoint, self._key = load_checkpoint(path), key
        return self._checkpoint


def sample(job: SamplingJob, cache: CheckpointCache) -> Generator[Snapshot, None, Snapshot]:
    """Run ``job``; yield snapshots and return the last one, whose result is valid even if stopped.

    Raises
    ------
    LDSegError
        If the checkpoint does not load or the sampling fails.
    """
    try:
        return (yield from _sample(job, cache))
    except RuntimeError as error:
        # napari's generator workers swallow RuntimeError, torch's out-of-memory included.
        raise LDSegError(f"Sampling failed on {job.scan.name}: {error}") from error


def _sample(job: SamplingJob, cache: CheckpointCache) -> Generator[Snapshot, None, Snapshot]:
    settings = job.settings
    yield Snapshot("Loading the model …")
    import torch

    from ...inference.segment import PosteriorSampler

    # One core stays free for the window; torch is very slow with more threads than free cores.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    checkpoint = cache.get(settings.checkpoint)
    metadata = checkpoint.metadata
    scan = crop(job.scan, job.region)
    sampler = PosteriorSampler(
        checkpoint, scan, seed=settings.seed, steps=settings.steps, device=settings.device
    )
    posterior = sampler.posterior
    posterior.provenance["region"] = [job.region.start, job.region.stop]
    slices = len(posterior.planned_frames)
    total = settings.samples * slices
    yield Snapshot("Drawing the first sample …", 0.0, None, metadata)
    started = shown = time.monotonic()
    snapshot = Snapshot("", metadata=metadata)
    for posterior in sampler.run(settings.samples):
        now = time.monotonic()
        done = len(posterior.latents)
        last = done == total or job.stop.is_set()
        result = None
        if last or done == 1 or snapshot.fraction == 0 or now - shown > SECONDS_BETWEEN_RESULTS:
            result, shown = _result(job, sampler, last), now
        left = (now - started) / done * (total - done)
        snapshot = Snapshot(
            _progress(posterior.n, settings.samples, left), done / total, result, metadata
        )
        if last:
            break
        yield snapshot
    sampler.release()
    return snapshot


def _result(job: SamplingJob, sampler: PosteriorSampler, last: bool) -> Result:
    posterior = sampler.posterior
    complete = posterior.n > 0
    # Before the first sample is complete, an earlier result stays wherever nothing is sampled yet.
    sampled = slice(None) if complete else posterior.counts > 0
    if last and not complete and "labels" in job.base:
        sampled = np.zeros_like(posterior.counts, dtype=bool)

    def on_whole_image(name: str, part: np.ndarray) -> np.ndarray:
        base = job.base.get(name)
        full = np.zeros(job.scan.shape, part.dtype) if base is None else base.copy()
        full[job.region.slices][sampled] = part[sampled]
        return full

    sd = posterior.sample_sd
    if sd is None and last and complete and job.partial and "sample_sd" in job.base:
        sd = np.zeros(posterior.scan.shape, np.float32)
    whole = last and complete
    return Result(
        on_whole_image("labels", posterior.labels),
        None if sd is None else on_whole_image("sample_sd", sd),
        on_whole_image("predictive_sd", posterior.predictive_sd) if whole else None,
        {**posterior.summary(), "part_of_image": job.partial} if complete else None,
        last,
        on_whole_image("error_probability", posterior.error_probability) if whole else None,
        on_whole_image("runner_up", posterior.runner_up) if whole else None,
        sampler.samples() if whole else None,
        job.region,
    )


def _progress(done: int, total: int, seconds_left: float) -> str:
    text = f"{done} of {total} samples"
    return text if seconds_left < 1 else f"{text} · {about(seconds_left)} left"
