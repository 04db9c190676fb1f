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
    from ...inference.sampler import PosteriorSampler
    from ...inference.samples import Samples
    from ...inference.tiled import TiledSampler

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
    focus
        The position in ``region`` to segment first if it is large, in voxels of the spatial axes.
    stop
        Set to end the run after the current batch.
    """

    scan: Scan
    region: Region
    settings: SamplingSettings
    base: dict[str, np.ndarray] = field(default_factory=dict)
    partial: bool = False
    focus: tuple[float, ...] | None = None
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
    """The progress of a run; ``fraction`` is from 0 to 1, ``result`` None if there is nothing to show.

    ``notice`` is what happened that the user should know, such as a device without enough memory.
    """

    message: str
    fraction: float = 0.0
    result: Result | None = None
    metadata: Metadata | None = None
    notice: str = ""


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

    from ...inference.segment import make_sampler
    from ...inference.tiled import TiledSampler

    # One core stays free for the window; torch is very slow with more threads than free cores.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    checkpoint = cache.get(settings.checkpoint)
    metadata = checkpoint.metadata
    scan = crop(job.scan, job.region)
    sampler = make_sampler(
        checkpoint, scan, seed=settings.seed, steps=settings.steps, device=settings.device
    )
    sampler.posterior.provenance["region"] = [job.region.start, job.region.stop]
    if isinstance(sampler, TiledSampler):
        yield from _prepare_tiles(job, sampler, metadata)
        if job.stop.is_set():
            return Snapshot("", metadata=metadata)
    yield Snapshot("Drawing the first sample …", 0.0, None, metadata)
    started = shown = time.monotonic()
    pause = SECONDS_BETWEEN_RESULTS
    snapshot = Snapshot("", metadata=metadata)
    for posterior in sampler.run(settings.samples):
        now = time.monotonic()
        done = sampler.fraction(settings.samples)
        last = posterior.n == settings.samples or job.stop.is_set()
        result = None
        if last or snapshot.fraction == 0 or now - shown > pause:
            result, shown = _result(job, sampler, last), now
            # Showing a large image takes long; most of the time is for sampling.
            pause = max(SECONDS_BETWEEN_RESULTS, 10 * (time.monotonic() - now))
        left = (now - started) / done * (1 - done)
        message = _progress(posterior.n, settings.samples, left, sampler.notice)
        snapshot = Snapshot(message, done, result, metadata, sampler.notice)
        if last:
            break
        yield snapshot
    sampler.release()
    return snapshot


def _prepare_tiles(
    job: SamplingJob, sampler: TiledSampler, metadata: Metadata
) -> Generator[Snapshot, None, None]:
    """Find what to segment in a large image; yield the progress and at last the projected time."""
    sampler.focus = job.focus
    for message in sampler.prepare():
        if job.stop.is_set():
            return
        yield Snapshot(message, 0.0, None, metadata)
    seconds = sampler.projected_seconds(job.settings.samples)
    yield Snapshot(f"{sampler.tile_count} tiles, {about(seconds)}", 0.0, None, metadata)


def _result(job: SamplingJob, sampler: PosteriorSampler, last: bool) -> Result:
    posterior = sampler.posterior
    complete = posterior.n > 0
    # Before the first sample is complete, an earlier result stays wherever nothing is labelled yet.
    labelled = slice(None) if complete else posterior.labelled
    if last and not complete and "labels" in job.base:
        labelled = np.zeros_like(posterior.labelled)

    def on_whole_image(name: str, part: np.ndarray) -> np.ndarray:
        base = job.base.get(name)
        full = np.zeros(job.scan.shape, part.dtype) if base is None else base.copy()
        full[job.region.slices][labelled] = part[labelled]
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
        _sampled_region(job, sampler),
    )


def _sampled_region(job: SamplingJob, sampler: PosteriorSampler) -> Region:
    """Return the part of the whole image that the samples are of."""
    part = sampler.sampled_region()
    shift = job.region.start
    return Region(
        tuple(a + b for a, b in zip(part.start, shift, strict=True)),
        tuple(a + b for a, b in zip(part.stop, shift, strict=True)),
    )


def _progress(done: int, total: int, seconds_left: float, notice: str) -> str:
    text = f"{done} of {total} samples"
    if seconds_left >= 1:
        text += f" · {about(seconds_left)} left"
    return f"{text} · {notice}" if notice else text
