"""Segmenting a cohort: every process takes its share, the first one writes the table."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric

from ..checkpoint.file import Checkpoint
from ..errors import LDSegError
from ..inference.distributed import device_name
from ..inference.segment import PosteriorSampler
from ..scans.files import read_scan
from ..utils.durations import about
from ..utils.hashing import sha256_of
from ..utils.locking import exclusive_lock
from .inputs import Input, name_images
from .results import HASH, UNFINISHED, CaseResults, known_names, was_made_with
from .table import write_table

SKIPPED, KEPT = "already there", "corrected, kept"
SECONDS_BETWEEN_LINES = 30


class Stopped(Exception):
    """The run was asked to stop; every file is whole."""


class Failure(NamedTuple):
    """A case without a result, and why."""

    image: str
    reason: str


class BatchReport(NamedTuple):
    """What became of a cohort, over all processes; ``table`` is the CSV."""

    segmented: int
    skipped: int
    corrected: int
    failed: tuple[Failure, ...]
    table: Path


def segment_batch(
    checkpoint: Checkpoint,
    images: Sequence[Path],
    folder: Path,
    fabric: Fabric,
    *,
    samples: int = 10,
    steps: int | None = None,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> BatchReport | None:
    """Segment ``images`` into ``folder``; results that are there already are not made again.

    Process r of w takes the cases r, r + w, r + 2 w, ... They meet at the start, where the first one
    keeps other runs out of the folder, and at the end, where it writes the table of what the records
    say; the others return None. A case that fails is recorded and the rest go on. A case is finished if
    all its files are there and were made from the same image file with the same checkpoint, seed, samples
    and steps. A label that was corrected since is kept.

    Parameters
    ----------
    checkpoint
        Loaded from a file.
    images
        What ``find_images`` returns, the same in every process.
    folder
        For the results; see ``cohort.results`` and ``cohort.table``.
    fabric
        Launched, see ``distribution.make_fabric``; its patience must outlast the difference between the
        slowest and the quickest process.
    samples, steps, seed
        As in ``segment``.
    stop
        Asked after every batch of samples, never while files are written.
    say
        Takes a line of progress after every case, and every 30 s within one.

    Raises
    ------
    LDSegError
        If another run works in the folder, two images would have one name, or the table cannot be written.
    Stopped
        If ``stop`` says so.
    """
    if steps is None:
        metadata = checkpoint.metadata
        steps = metadata.label_steps if samples == 1 else metadata.posterior_steps
    settings = {
        "checkpoint_sha256": checkpoint.sha256,
        "seed": seed,
        "samples": samples,
        "steps": steps,
    }
    with ExitStack() as stack:
        inputs: list[Input] = []
        refused = None
        if fabric.is_global_zero:
            try:
                stack.enter_context(exclusive_lock(folder))
                shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
                inputs = name_images(images, known_names(folder))
            except LDSegError as error:
                refused = str(error)
        inputs, refused = fabric.broadcast((inputs, refused))
        if refused is None:
            return _segment_share(checkpoint, inputs, folder, fabric, settings, stop, say)
    if fabric.is_global_zero:
        raise LDSegError(refused)
    return None


def _segment_share(
    checkpoint: Checkpoint,
    inputs: Sequence[Input],
    folder: Path,
    fabric: Fabric,
    settings: dict[str, Any],
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> BatchReport | None:
    """Segment this process's share; return the report in the first one."""
    share = inputs[fabric.global_rank :: fabric.world_size]
    counts, parent = torch.zeros(3, dtype=torch.int64), os.getppid()
    started, skipped_seconds = time.monotonic(), 0.0
    for done, item in enumerate(share, start=1):
        # A process whose launcher was killed would work on unseen, and twice once it is restarted.
        if os.getppid() != parent:
            raise LDSegError("The process that started this one has ended, so this one stops too.")
        if stop():
            raise Stopped
        begun = time.monotonic()
        outcome = _one_case(checkpoint, item, folder, settings, device_name(fabric), stop, say)
        seconds = time.monotonic() - begun
        counts += torch.tensor([outcome is None, outcome == SKIPPED, outcome == KEPT])
        skipped_seconds += seconds if outcome in (SKIPPED, KEPT) else 0
        worked = done - int(counts[1:].sum())
        per_case = (time.monotonic() - started - skipped_seconds) / max(worked, 1)
        say(
            f"{item.name}: {outcome or f'segmented in {seconds:.1f} s'} "
            f"({done} of {len(share)}{_left(per_case * (len(share) - done))})"
        )
    total = fabric.all_reduce(counts.to(fabric.device), reduce_op="sum")
    if not fabric.is_global_zero:
        return None
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    classes = _classes(checkpoint)
    failures = (_failure(item, folder, settings, classes) for item in inputs)
    failed = tuple(failure for failure in failures if failure is not None)
    segmented, skipped, corrected = (int(n) for n in total)  # type: ignore[union-attr]
    table = write_table(folder, settings, classes)
    return BatchReport(segmented, skipped, corrected, failed, table)


def _one_case(
    checkpoint: Checkpoint,
    item: Input,
    folder: Path,
    settings: dict[str, Any],
    device: str,
    stop: Callable[[], bool],
    say: Callable[[str], None],
) -> str | None:
    """Segment one image; return None, ``SKIPPED``, ``KEPT``, or why it failed as a sentence."""
    results = CaseResults(folder, item.name)
    made_with = dict(settings)
    try:
        made_with[HASH] = sha256_of(item.path)
        same_image = results.record().get("made_with", {}).get(HASH) == made_with[HASH]
        if same_image and results.corrected(_classes(checkpoint)):
            results.corrected_sizes()  # says if the label is of no use
            results.forget_failure()
            return KEPT
        if results.finished(made_with):
            results.forget_failure()
            return SKIPPED
        results.check_replaceable(item.path, made_with)
        begun = time.monotonic()
        sampler = PosteriorSampler(
            checkpoint,
            read_scan(item.path),
            seed=settings["seed"],
            steps=settings["steps"],
            device=device,
        )
        spoken = begun
        for posterior in sampler.run(settings["samples"]):
            if stop():
                raise Stopped
            now, done = time.monotonic(), len(posterior.latents)
            if now - spoken > SECONDS_BETWEEN_LINES:
                spoken = now
                total = settings["samples"] * len(posterior.planned_frames)
                left = _left((now - begun) / done * (total - done))
                say(f"{item.name}: {done / total:.0%}{left} for this image")
        results.write(item.path, made_with, sampler.posterior, time.monotonic() - begun)
        results.forget_failure()
        return None
    except Stopped:
        raise
    except LDSegError as error:
        reason = str(error)
    except MemoryError:
        reason = f"{item.path.name} needs more memory than this computer has; crop it first."
    except Exception as error:
        words = " ".join(str(error).split()).rstrip(".")[:200]
        reason = f"{item.path.name} could not be segmented: {type(error).__name__}: {words}."
    try:
        results.write_failure(item.path, reason)
    except LDSegError as error:
        return f"{reason} {error}"
    return reason


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
        reason = f"{item.path.name} has no result and no record; is the disk full?"
    return None if reason is None else Failure(str(item.path), reason)


def _left(seconds: float) -> str:
    return f", {about(seconds)} left" if seconds >= 1 else ""
