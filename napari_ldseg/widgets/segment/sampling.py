"""Sampling in a worker thread: from a job to snapshots. Touches no layer and no widget."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...checkpoint.header import read_metadata
from ...errors import LDSegError
from ...inference.progress import Progress, RunSettings, View
from ...inference.region import Region
from ...remote.server import Server
from ...scans.scan import Scan

if TYPE_CHECKING:
    # Both import torch, for which the window must not wait.
    from ...checkpoint.file import Checkpoint
    from ...inference.samples import Samples


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample: ``steps`` None is the checkpoint's own number; ``device`` as in ``resolve_device``.

    With a ``server``, ``checkpoint`` is one of its models, and the device is the server's.
    """

    checkpoint: Path
    samples: int
    steps: int | None
    seed: int
    device: str
    server: Server | None = None

    @property
    def asked(self) -> RunSettings:
        """N, K and the seed."""
        return RunSettings(self.samples, self.steps, self.seed)


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

    An SD is None if there is nothing new to show. Only the last result has the samples of ``region`` and, unless it
    is from a server, what a review needs: ``error_probability`` and ``runner_up``, as in ``Posterior``.
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
    """Run ``job`` here or on its server; yield snapshots and return the last one, valid even if stopped.

    Raises
    ------
    LDSegError
        If the checkpoint does not load, the sampling fails, or the server does not answer any more.
    """
    try:
        return (yield from _sample(job, cache))
    except RuntimeError as error:
        # napari's generator workers swallow RuntimeError, torch's out-of-memory included.
        raise LDSegError(f"Sampling failed on {job.scan.name}: {error}") from error


def _sample(job: SamplingJob, cache: CheckpointCache) -> Generator[Snapshot, None, Snapshot]:
    snapshot = Snapshot("")
    for progress in _here(job, cache) if job.settings.server is None else _there(job):
        view = progress.view
        result = None if view is None else _result(job, view, progress.last)
        snapshot = Snapshot(progress.message, progress.fraction, result, progress.notice)
        if not progress.last:
            yield snapshot
    return snapshot


def _here(job: SamplingJob, cache: CheckpointCache) -> Iterator[Progress]:
    yield Progress("Loading the model …")
    import torch

    from ...inference.running import run

    # One core stays free for the window; torch is very slow with more threads than free cores.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) - 1)))
    yield from run(
        cache.get(job.settings.checkpoint),
        job.scan,
        job.region,
        job.settings.asked,
        device=job.settings.device,
        focus=job.focus,
        stopped=job.stop.is_set,
    )


def _there(job: SamplingJob) -> Iterator[Progress]:
    server, checkpoint = job.settings.server, job.settings.checkpoint
    assert server is not None
    yield Progress(f"Asking {server.name} …")
    yield from server.run(
        checkpoint,
        read_metadata(checkpoint),
        job.scan,
        job.region,
        job.settings.asked,
        focus=job.focus,
        stopped=job.stop.is_set,
    )


def _result(job: SamplingJob, view: View, last: bool) -> Result:
    """Return ``view`` on the grid of the whole image."""
    complete = view.summary is not None
    # Before the first sample is complete, an earlier result stays wherever nothing is labelled yet.
    labelled = slice(None) if complete else view.labelled
    if last and not complete and "labels" in job.base:
        labelled = np.zeros_like(view.labelled)

    def on_whole_image(name: str, part: np.ndarray | None) -> np.ndarray | None:
        if part is None:
            return None
        base = job.base.get(name)
        full = np.zeros(job.scan.shape, part.dtype) if base is None else base.copy()
        full[job.region.slices][labelled] = part[labelled]
        return full

    labels = on_whole_image("labels", view.labels)
    assert labels is not None
    sd = view.sample_sd
    if sd is None and last and complete and job.partial and "sample_sd" in job.base:
        sd = np.zeros(view.labels.shape, np.float32)
    return Result(
        labels,
        on_whole_image("sample_sd", sd),
        on_whole_image("predictive_sd", view.predictive_sd),
        None if view.summary is None else {**view.summary, "part_of_image": job.partial},
        last,
        on_whole_image("error_probability", view.error_probability),
        on_whole_image("runner_up", view.runner_up),
        view.samples,
        _on_whole_image(job, view.region),
    )


def _on_whole_image(job: SamplingJob, part: Region) -> Region:
    shift = job.region.start
    return Region(
        tuple(a + b for a, b in zip(part.start, shift, strict=True)),
        tuple(a + b for a, b in zip(part.stop, shift, strict=True)),
    )
