"""A training run in a folder: cases and split, the loop, measuring, the checkpoint, the pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from ..checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from ..checkpoint.metadata import Metadata, Metric
from ..datasets.case import Case
from ..datasets.slices import by_slice, one_image, sample_slices, single_images
from ..datasets.split import Split, load_or_draw_split
from ..errors import LDSegError
from ..evaluation.calibration import measure_calibration
from ..evaluation.overlap import evaluate, metrics
from ..evaluation.readers import READER_SAMPLES, measure_agreement
from ..evaluation.steps import measure_label_steps, measure_posterior_steps
from ..inference.checks import outside_field_of_view
from ..inference.distributed import device_name
from ..project.labelled import find_labelled
from ..utils.atomic import remove_leftovers
from ..utils.durations import clock
from ..utils.locking import exclusive_lock
from .config import TrainingConfig, write_config
from .data import prepare_case
from .log import LOG, Progress
from .loop import STATE, TrainingStopped, train
from .plots import save_contact_sheet, save_curves

CHECKPOINT, CONFIG = "checkpoint.safetensors", "config.yaml"
SAMPLES = 10
SECONDS_BETWEEN_LINES = 30
SPREAD_CASES, SPREAD_SAMPLES, STEPS_CASES, WATCHED_CASES, SHOWN_CASES = 3, 8, 20, 16, 5


def run_training(
    config: TrainingConfig,
    folder: Path,
    *,
    fabric: Fabric,
    start: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> Path | None:
    """Train as ``config`` says and leave everything in ``folder``.

    The folder gets config.yaml, split.json, log.csv, state.pt, the pictures curves.png and cases.png, and
    checkpoint.safetensors. Only the first process writes; the others return None.

    Raises
    ------
    LDSegError
        If the folder holds another run, another process works in it, or anything of ``train`` fails.
    """
    path = folder / CHECKPOINT
    with exclusive_lock(folder) if fabric.is_global_zero else nullcontext():
        try:
            if fabric.is_global_zero:
                remove_leftovers(folder / STATE)
            return _run(config, folder, path, fabric, start, resume, stop, on_progress, say)
        except OSError as error:
            if error.filename and not Path(error.filename).is_relative_to(folder):
                raise
            raise LDSegError(
                f"The run's folder {folder} cannot be written: {error.strerror}; make room or bring "
                "it back, then go on with --resume."
            ) from error


def _run(
    config: TrainingConfig,
    folder: Path,
    path: Path,
    fabric: Fabric,
    start: Path | None,
    resume: bool,
    stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Path | None:
    begun = (folder / STATE).exists()
    if not resume and (begun or path.exists()):
        raise LDSegError(
            f"{folder} already holds a run; add --resume to go on with it, or choose another folder."
        )
    if not begun and (folder / LOG).exists() and not (folder / CONFIG).exists():
        raise LDSegError(f"{folder} holds a {LOG} of your own; choose another folder for the run.")
    if resume and path.exists():
        say(f"{path} is already finished.")
        return path
    cases, fixed = find_labelled(config.data, [c.name for c in config.classes])
    split_file = config.data.split or folder / "split.json"
    if fabric.is_global_zero:
        if not begun or not (folder / CONFIG).exists():
            write_config(config, folder / CONFIG)
        load_or_draw_split(config.data, cases, split_file, fixed)
    fabric.barrier()
    split = load_or_draw_split(config.data, cases, split_file)
    training, validation, test = (split.cases(p, cases) for p in ("training", "validation", "test"))
    if not validation:
        raise LDSegError(
            f"No case of {config.data.folder} is for validation yet; label cases of more patients."
        )
    say(
        f"{len(training)} cases to learn from, {len(validation)} for validation, {len(test)} kept aside"
    )
    metadata = config.metadata(training, describe_split(split, config))
    if metadata.architecture.dims == 2:
        training, validation, test = (
            [by_slice(case) for case in part] for part in (training, validation, test)
        )
    # Not met by the loop: a bad one would show only when the training is over.
    for case in [*validation, *test][fabric.global_rank :: fabric.world_size]:
        _check_case(metadata, case)
    checkpoint = train(
        metadata,
        training,
        sample_slices(_spread_out(validation, WATCHED_CASES), WATCHED_CASES),
        config.training,
        fabric=fabric,
        start=load_checkpoint(start) if start else None,
        folder=folder,
        resume=resume,
        stop=stop,
        on_progress=on_progress,
    )
    if not fabric.is_global_zero:
        return None
    save_curves(folder)
    device = device_name(fabric)

    def check() -> None:
        if stop():
            raise TrainingStopped(
                "Stopped while measuring; the training itself is complete, and --resume measures again."
            )

    check()
    checkpoint = measured(checkpoint, validation, test, device, say, check)
    check()
    save_contact_sheet(folder, checkpoint, _spread_out(validation, SHOWN_CASES), SAMPLES, device)
    return save_checkpoint(checkpoint, path)


def _check_case(metadata: Metadata, case: Case) -> None:
    """Raise LDSegError if a case kept aside could not be measured."""
    for image in single_images(case):
        scan = image.read_scan()
        read_once = replace(image, read_scan=lambda scan=scan: scan)  # type: ignore[misc]
        prepare_case(metadata, read_once, blank_allowed=case.slices is not None)
        outside = outside_field_of_view(metadata, scan)
        if outside is not None:
            raise LDSegError(
                f"{outside[0]}; leave it out, or write a split in which cases of its size are learnt from."
            )


def measured(
    checkpoint: Checkpoint,
    validation: Sequence[Case],
    test: Sequence[Case],
    device: str,
    say: Callable[[str], None] = lambda text: None,
    check: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """Return ``checkpoint`` with what can be measured on cases kept out of training.

    Step counts and calibration come from ``validation``, of volumes that 2D networks learn from by slice
    from some of their slices; the figures from ``test``, or from
    ``validation`` if there are no test cases. ``check`` is called after every segmentation and may raise
    to end it.
    """
    images = [one_image(case) for case in validation]

    def counted(total: int) -> Callable[[], None]:
        began = spoken = time.monotonic()
        done = 0

        def one_more() -> None:
            nonlocal done, spoken
            check()
            done, now = done + 1, time.monotonic()
            if now - spoken > SECONDS_BETWEEN_LINES:
                spoken = now
                left = clock((now - began) / done * (total - done))
                say(f"{done}/{total} cases, {left} left")

        return one_more

    if checkpoint.metadata.networks == "res-unet":
        counts = {"label_steps": 1, "posterior_steps": 1}
    else:
        say("measuring the number of steps")
        posterior_steps, _ = measure_posterior_steps(
            checkpoint, _spread_out(images, SPREAD_CASES), SPREAD_SAMPLES, device, check
        )
        label_steps = measure_label_steps(
            checkpoint,
            sample_slices(_spread_out(validation, STEPS_CASES), STEPS_CASES),
            device,
            check,
        )
        counts = {"label_steps": label_steps, "posterior_steps": posterior_steps}
    checkpoint = Checkpoint(checkpoint.metadata.model_copy(update=counts), checkpoint.model)
    name, cases = ("test", test) if test else ("validation", validation)
    figures: tuple[Metric, ...] = ()
    for n, steps in ((1, counts["label_steps"]), (SAMPLES, counts["posterior_steps"])):
        say(f"segmenting {len(cases)} {name} cases with {n} samples in {steps} steps")
        results = evaluate(checkpoint, cases, n, steps, device, counted(len(cases)))
        figures += metrics(results, checkpoint, name, n, steps)
    disputed = [case for case in cases if len(case.read_labels) > 1]
    if disputed and checkpoint.metadata.networks != "res-unet":
        steps = counts["posterior_steps"]
        say(f"comparing {READER_SAMPLES} samples with the readers of {len(disputed)} cases")
        figures += measure_agreement(
            checkpoint, disputed, name, steps=steps, device=device, on_case=counted(len(disputed))
        )
    say(f"calibrating on {len(validation)} validation cases")
    patients = len({case.patient for case in validation})
    calibration = measure_calibration(
        checkpoint, images, SAMPLES, device=device, on_case=counted(patients)
    )
    described = checkpoint.metadata.model_copy(
        update={"metrics": figures, "calibration": calibration}
    )
    return Checkpoint(described, checkpoint.model)


def describe_split(split: Split, config: TrainingConfig) -> str:
    """Return how the cases were divided, in one sentence for the checkpoint."""
    counts = [len(part) for part in (split.training, split.validation, split.test)]
    by = "patient" if config.data.patient else "case"
    text = f"{counts[0]} training, {counts[1]} validation and {counts[2]} test cases, drawn by {by}"
    return text


def _spread_out(cases: Sequence[Case], count: int) -> list[Case]:
    """Return ``count`` of ``cases``, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(count, len(cases))).astype(int))
    return [cases[i] for i in chosen]
