"""Segmenting a batch of images: every process takes its share, the first one writes the table."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..checkpoint.file import Checkpoint
from ..errors import LDSegError
from ..inference.distributed import OneProcess, device_name
from ..inference.segment import make_sampler
from ..inference.tiled import TiledSampler
from ..scans.channels import ImageFiles, read_image
from ..scans.files import image_hash
from ..utils.atomic import remove_leftovers_in
from ..utils.locking import exclusive_lock
from ..utils.text import about, count_text, one_line
from .exports import export_case
from .inputs import Input, name_images
from .results import HASH, RECORDS, UNFINISHED, CaseResults, known_names, was_made_with
from .table import write_table

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SEGMENTED, SKIPPED, KEPT, NOT_DONE = "segmented", "already there", "corrected, kept", "failed"
SECONDS_BETWEEN_LINES = 30


class Stopped(Exception):
    """The run was stopped; every written file is complete."""


class Failure(NamedTuple):
    """A case without a result, or without one in every format asked for, and why."""

    image: str
    reason: str


class BatchReport(NamedTuple):
    """The outcome of a batch over all processes; ``table`` is the CSV file.

    Cases that are ``incomplete`` have their result, but not in every format; they count among the others too.
    """

    segmented: int
    skipped: int
    corrected: int
    failed: tuple[Failure, ...]
    incomplete: tuple[Failure, ...]
    table: Path


def segment_batch(
    checkpoint: Checkpoint,
    images: Sequence[ImageFiles],
    folder: Path,
    fabric: Fabric | OneProcess,
    *,
    samples: int = 10,
    steps: int | None = None,
    seed: int = 0,
    formats: Sequence[str] = (),
    report: bool = False,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[float, float | None], None] | None = None,
) -> BatchReport | None:
    """Segment ``images`` into ``folder``; existing results are not made again.

    Process r of w takes the cases r, r + w, r + 2 w, ... The processes synchronise at the start, where
    the first one locks the folder, and at the end, where it writes the table from the records; the
    others return None. A case that fails is recorded, and the others continue. A case is finished if all
    its files exist and were made from the same image file with the same checkpoint, seed, samples and
    steps. A label that was corrected since is kept.

    Parameters
    ----------
    checkpoint
        Loaded from a file.
    images
        The result of ``find_images``, the same in every process.
    folder
        For the results; see ``batch.results`` and ``batch.table``.
    fabric
        Launched, see ``inference.distributed.join_processes``; its timeout must be longer than the
        difference between the slowest and the fastest process.
    samples, steps, seed
        As in ``segment``.
    formats, report
        What each finished case gets beside its NIfTI files, see ``batch.exports``.
    stop
        Called after every batch of samples, but not while files are written; True stops the run.
    log
        Called with a line after every case.
    on_progress
        Called with the number of done images of this process, with the fraction of the current one, and
        the seconds left (None if not known). Without it, ``log`` gets a line every 30 s within an image.

    Raises
    ------
    LDSegError
        If another run uses the folder, two images would have one name, or the table cannot be written.
    Stopped
        If ``stop`` returned True.
    """
    settings = {
        "checkpoint_sha256": checkpoint.sha256,
        "seed": seed,
        "samples": samples,
        "steps": steps or checkpoint.metadata.steps_for(samples),
        "steps_given": steps is not None,
        "probability": "samples and estimate",  # results of the samples alone are made anew
    }
    with ExitStack() as stack:
        inputs: list[Input] = []
        problem = None
        if fabric.is_global_zero:
            try:
                stack.enter_context(exclusive_lock(folder))
                shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
                remove_leftovers_in(folder / RECORDS)
                inputs = name_images(images, known_names(folder))
            except LDSegError as error:
                problem = str(error)
        inputs, problem = fabric.broadcast((inputs, problem))
        if problem is None:
            channels = checkpoint.metadata.architecture.image_channels

            def export(results: CaseResults, item: Input) -> None:
                export_case(results, item, channels, formats, report)

            callbacks = _Callbacks(stop, log, on_progress, export)
            return _segment_share(checkpoint, inputs, folder, fabric, settings, callbacks)
    if fabric.is_global_zero:
        raise LDSegError(problem)
    return None


class _Callbacks(NamedTuple):
    """The functions that ``segment_batch`` calls."""

    stop: Callable[[], bool]
    log: Callable[[str], None]
    on_progress: Callable[[float, float | None], None] | None
    export: Callable[[CaseResults, Input], None]


class _Pace:
    """The time left for ``total`` images, from the images that were segmented and not skipped."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self._skipped, self._skipped_seconds = 0, 0.0
        self._started = time.monotonic()

    def finish(self, seconds: float, skipped: bool) -> None:
        """Count one image that took ``seconds``."""
        self.done += 1
        if skipped:
            self._skipped += 1
            self._skipped_seconds += seconds

    def seconds_left(self, fraction: float = 0.0) -> float | None:
        """Return the estimate with ``fraction`` of the current image done; None if nothing is."""
        segmented = self.done - self._skipped + fraction
        if segmented <= 0:
            return None
        seconds = time.monotonic() - self._started - self._skipped_seconds
        return seconds / segmented * (self.total - self.done - fraction)


def _segment_share(
    checkpoint: Checkpoint,
    inputs: Sequence[Input],
    folder: Path,
    fabric: Fabric | OneProcess,
    settings: dict[str, Any],
    callbacks: _Callbacks,
) -> BatchReport | None:
    """Segment this process's share; return the report in the first process."""
    share = inputs[fabric.global_rank :: fabric.world_size]
    counts, parent = torch.zeros(3, dtype=torch.int64), os.getppid()
    pace = _Pace(len(share))
    for item in share:
        # Without this, the process would continue unnoticed after its launcher was killed, and a
        # restarted run would do its work twice.
        if os.getppid() != parent:
            raise LDSegError("The process that started this one has ended, so this one stops too.")
        if callbacks.stop():
            raise Stopped
        started = time.monotonic()
        outcome, reason = _segment_case(
            checkpoint, item, folder, settings, device_name(fabric), callbacks, pace
        )
        seconds = time.monotonic() - started
        counts += torch.tensor([outcome == one for one in (SEGMENTED, SKIPPED, KEPT)])
        pace.finish(seconds, skipped=outcome in (SKIPPED, KEPT))
        left = pace.seconds_left()
        if callbacks.on_progress is not None:
            callbacks.on_progress(pace.done, left)
        told = reason or (f"segmented in {seconds:.1f} s" if outcome == SEGMENTED else outcome)
        callbacks.log(
            f"{one_line(item.name)}: {told} ({pace.done} of {pace.total}{_time_left(left)})"
        )
    total = fabric.all_reduce(counts.to(fabric.device), reduce_op="sum")
    if not fabric.is_global_zero:
        return None
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    classes = _classes(checkpoint)
    failed: list[Failure] = []
    incomplete: list[Failure] = []
    for item in inputs:
        failure = _failure(item, folder, settings, classes)
        if failure is not None:
            has_result = CaseResults(folder, item.name).has_result(item.path)
            (incomplete if has_result else failed).append(failure)
    segmented, skipped, corrected = (int(n) for n in total)  # type: ignore[union-attr]
    table = write_table(folder, settings, classes)
    return BatchReport(segmented, skipped, corrected, tuple(failed), tuple(incomplete), table)


def _segment_case(
    checkpoint: Checkpoint,
    item: Input,
    folder: Path,
    settings: dict[str, Any],
    device: str,
    callbacks: _Callbacks,
    pace: _Pace,
) -> tuple[str, str | None]:
    """Segment one image; return what was done, and a sentence if that or saving it in a format failed."""
    results, outcome = CaseResults(folder, item.name), NOT_DONE
    try:
        outcome, warning = _make_result(
            checkpoint, item, results, settings, device, callbacks, pace
        )
        callbacks.export(results, item)
        results.clear_failure()
        if warning is not None:
            callbacks.log(f"{one_line(item.name)}: {warning}")
        return outcome, None
    except Stopped:
        raise
    except LDSegError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{item.path.name} needs more memory than this computer has; crop it first."
    except Exception as error:
        text = one_line(error).rstrip(".")
        what = "segmented" if outcome == NOT_DONE else "saved in every format"
        reason = f"{item.path.name} could not be {what}: {type(error).__name__}: {text}."
    try:
        results.write_failure(item.path, reason, segmented=outcome != NOT_DONE)
    except LDSegError as error:
        return outcome, f"{reason} {error}"
    return outcome, reason


def _make_result(
    checkpoint: Checkpoint,
    item: Input,
    results: CaseResults,
    settings: dict[str, Any],
    device: str,
    callbacks: _Callbacks,
    pace: _Pace,
) -> tuple[str, str | None]:
    """Write the result of one image unless it is there; return what was done, and the warning of a new result."""
    hashes = [image_hash(path) for path in item.image.paths]
    made_with = settings | {HASH: hashes if len(hashes) > 1 else hashes[0]}
    same_image = results.record().get("made_with", {}).get(HASH) == made_with[HASH]
    if same_image and results.corrected(_classes(checkpoint)):
        results.corrected_sizes()  # raises if the label is not on the image's grid
        return KEPT, None
    if results.finished(made_with):
        return SKIPPED, None
    results.check_replaceable(item.path, made_with)
    began = started = logged = time.monotonic()
    sampler = make_sampler(
        checkpoint,
        read_image(item.image, checkpoint.metadata.architecture.image_channels),
        seed=settings["seed"],
        steps=settings["steps"] if settings["steps_given"] else None,
        device=device,
    )
    if isinstance(sampler, TiledSampler):
        _prepare_tiles(sampler, item, settings["samples"], callbacks)
        started = logged = time.monotonic()
    for _ in sampler.run(settings["samples"]):
        if callbacks.stop():
            raise Stopped
        now = time.monotonic()
        fraction = sampler.fraction(settings["samples"])
        if callbacks.on_progress is not None:
            callbacks.on_progress(pace.done + fraction, pace.seconds_left(fraction))
        elif now - logged > SECONDS_BETWEEN_LINES:
            logged = now
            left = _time_left((now - started) / fraction * (1 - fraction))
            callbacks.log(f"{one_line(item.name)}: {fraction:.0%}{left} for this image")
    if sampler.notice:
        callbacks.log(f"{one_line(item.name)}: {sampler.notice}")
    seconds = time.monotonic() - began
    classes = checkpoint.metadata.classes
    results.write(item.image.paths, made_with, sampler.posterior, classes, seconds)
    return SEGMENTED, sampler.posterior.warning


def _prepare_tiles(sampler: TiledSampler, item: Input, samples: int, callbacks: _Callbacks) -> None:
    """Find what to segment in a large image, and log the time that it will take."""
    for _ in sampler.prepare():
        if callbacks.stop():
            raise Stopped
    seconds = sampler.projected_seconds(samples)
    tiles = count_text(sampler.tile_count, "tile")
    callbacks.log(f"{one_line(item.name)}: {tiles}, {about(seconds)}")


def _classes(checkpoint: Checkpoint) -> list[str]:
    return [info.name for info in checkpoint.metadata.classes[1:]]


def _failure(
    item: Input, folder: Path, settings: dict[str, Any], classes: Sequence[str]
) -> Failure | None:
    """Return why there is no result of ``item`` with ``settings``; None if there is one."""
    results = CaseResults(folder, item.name)
    reason = results.failure(item.path)
    if reason is None and not (
        was_made_with(results.record(), settings) or results.corrected(classes)
    ):
        reason = f"{item.path.name} has no result and no record; check whether the disk is full."
    return None if reason is None else Failure(str(item.path), reason)


def _time_left(seconds: float | None) -> str:
    return f", {about(seconds)} left" if seconds is not None and seconds >= 1 else ""
