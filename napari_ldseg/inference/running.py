"""A run step by step, for whoever shows it while it goes on: the window, and the server for its clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..checkpoint.file import Checkpoint
from ..scans.scan import Scan
from ..utils.text import about
from .progress import Progress, RunSettings, View
from .region import Region, crop
from .sampler import PosteriorSampler
from .segment import make_sampler
from .tiled import TiledSampler

SECONDS_BETWEEN_VIEWS = 0.5


def run(
    checkpoint: Checkpoint,
    scan: Scan,
    region: Region,
    settings: RunSettings,
    *,
    device: str = "auto",
    focus: tuple[float, ...] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    complete_views: bool = False,
) -> Iterator[Progress]:
    """Segment ``region`` of ``scan``; yield the progress, with a view at most every half second and at the end.

    Parameters
    ----------
    checkpoint, scan, region
        The model, the whole image, and the part of it to segment.
    settings
        N, K and the seed.
    device
        As in ``devices.resolve_device``.
    focus
        The position in ``region`` to segment first if it is large, in voxels of the spatial axes.
    stopped
        Asked after every batch; if it is true, the samples so far are the result.
    complete_views
        Whether every view has what a review needs, not only the last one.

    Raises
    ------
    LDSegError
        If the model does not suit the image, or memory runs out.
    """
    sampler = make_sampler(
        checkpoint,
        crop(scan, region),
        seed=settings.seed,
        steps=settings.steps,
        device=device,
    )
    sampler.posterior.provenance["region"] = [region.start, region.stop]
    try:
        if isinstance(sampler, TiledSampler):
            sampler.focus = focus
            for message in sampler.prepare():
                if stopped():
                    yield Progress("", last=True)
                    return
                yield Progress(message)
            seconds = sampler.projected_seconds(settings.samples)
            yield Progress(f"{sampler.tile_count} tiles, {about(seconds)}")
            if stopped():
                yield Progress("", last=True)
                return
        yield Progress("Drawing the first sample …")
        yield from _sampled(sampler, settings.samples, stopped, complete_views)
    finally:
        sampler.release()


def _sampled(
    sampler: PosteriorSampler, samples: int, stopped: Callable[[], bool], complete_views: bool
) -> Iterator[Progress]:
    started = shown = time.monotonic()
    pause, first = SECONDS_BETWEEN_VIEWS, True
    for posterior in sampler.run(samples):
        now = time.monotonic()
        done = sampler.fraction(samples)
        last = posterior.n == samples or stopped()
        view = None
        if last or first or now - shown > pause:
            view, shown, first = _view(sampler, last, last or complete_views), now, False
            # Making and showing a view of a large image takes long; most of the time is for sampling.
            pause = max(SECONDS_BETWEEN_VIEWS, 10 * (time.monotonic() - now))
        left = (now - started) / done * (1 - done)
        message = _progress(posterior.n, samples, left, sampler.notice)
        yield Progress(message, done, view, sampler.notice, last)
        if last:
            return


def _view(sampler: PosteriorSampler, last: bool, complete: bool) -> View:
    posterior = sampler.posterior
    region = sampler.sampled_region()
    if posterior.n == 0:
        return View(posterior.labels, posterior.labelled, region)
    predictive_sd = posterior.predictive_sd
    return View(
        posterior.labels,
        posterior.labelled,
        region,
        posterior.sample_sd,
        predictive_sd,
        posterior.error_probability if complete else None,
        posterior.runner_up if complete else None,
        posterior.summary(predictive_sd),
        sampler.samples() if last else None,
    )


def _progress(done: int, total: int, seconds_left: float, notice: str) -> str:
    text = f"{done} of {total} samples"
    if seconds_left >= 1:
        text += f" · {about(seconds_left)} left"
    return f"{text} · {notice}" if notice else text
