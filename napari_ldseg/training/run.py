"""A training run in a folder: cases and split, the loop, measuring, the checkpoint, the plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from lightning_fabric import Fabric

from ..checkpoint.file import load_checkpoint, save_checkpoint
from ..checkpoint.metadata import Metadata
from ..datasets.case import Case
from ..datasets.folders import find_unlabelled
from ..datasets.slices import by_slice, sample_slices, single_images
from ..datasets.split import Split, load_or_draw_split
from ..errors import LDSegError
from ..inference.checks import outside_field_of_view
from ..inference.distributed import device_name
from ..project.labelled_cases import find_labelled_cases
from ..utils.atomic import remove_leftovers
from ..utils.locking import exclusive_lock
from ..utils.text import count_text
from .config import TrainingConfig, write_config
from .data import prepare_case
from .domain import with_domain
from .log import Progress
from .loop import train
from .measure import SAMPLES, calibration_cases, evenly_spaced, measure, measure_steps
from .plots import save_contact_sheet, save_curves
from .reporter import Reporter
from .run_folder import LOG, STATE, STATUS, RunFolder

CHECKPOINT, CONFIG, SPLIT = "checkpoint.safetensors", "config.yaml", "split.json"
WATCHED_CASES, SHOWN_CASES = 16, 5


def run_training(
    config: TrainingConfig,
    folder: Path,
    *,
    fabric: Fabric,
    start: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    print_line: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Path | None:
    """Train according to ``config`` and leave everything in ``folder``; return the checkpoint's path.

    The folder gets config.yaml, split.json, status.json, log.csv, state.pt, the plots curves.png and cases.png,
    and checkpoint.safetensors. Only the first process writes; the others return None.

    ``start`` is a checkpoint file of the same architecture to start from; with ``resume`` the run in ``folder`` is
    continued, if there is one. ``stop`` is asked after every update and every measured case.
    The first process calls ``print_line`` with each phase and ``on_progress`` after every update.

    Raises
    ------
    TrainingStopped
        If ``stop`` or a request in the folder says so.
    LDSegError
        If the folder holds another run, another process works in it, or anything of ``train`` fails.
    """
    first, run = fabric.is_global_zero, RunFolder(folder)
    reporter = Reporter(run, print_line, stop, on_progress) if first else Reporter(None, stop=stop)
    with exclusive_lock(folder) if first else nullcontext():
        try:
            if first:
                remove_leftovers(folder / STATE)
                if resume:
                    run.withdraw_requests()
            if _is_finished(folder, resume):
                if first:
                    print_line(f"{folder / CHECKPOINT} is already finished.")
                return folder / CHECKPOINT
            split, cases = _load_cases(config, folder, fabric)
            try:
                return _run(config, folder, fabric, start, resume, split, cases, reporter)
            except Exception as error:
                reporter.fail(error)
                raise
        except OSError as error:
            if error.filename and not Path(error.filename).is_relative_to(folder):
                raise
            raise LDSegError(
                f"The run's folder {folder} cannot be written: {error.strerror}; make room or reconnect "
                "the drive, then add --resume."
            ) from error


def describe_split(split: Split, config: TrainingConfig, unlabelled: int = 0) -> str:
    """Return how the cases were divided, in a few words for the checkpoint."""
    counts = [len(part) for part in (split.training, split.validation, split.test)]
    by = "patient" if config.data.patient else "case"
    text = f"{counts[0]} training, {counts[1]} validation and {counts[2]} test cases, drawn by {by}"
    return f"{text}; {count_text(unlabelled, 'image')} without labels" if unlabelled else text


def _is_finished(folder: Path, resume: bool) -> bool:
    """Return whether the run in ``folder`` is; raise LDSegError if it may not be continued."""
    has_state, finished = (folder / STATE).exists(), (folder / CHECKPOINT).exists()
    if (has_state or finished) and not resume:
        raise LDSegError(
            f"{folder} already holds a run; add --resume to continue it, or choose another folder."
        )
    if not has_state and not (folder / CONFIG).exists():
        for name in (LOG, STATUS):
            if (folder / name).exists():
                raise LDSegError(
                    f"{folder} holds a {name} of your own; choose another folder for the run."
                )
    return finished


def _load_cases(config: TrainingConfig, folder: Path, fabric: Fabric) -> tuple[Split, list[Case]]:
    """Return the split and all cases; write what the run's folder does not hold yet."""
    cases, fixed = find_labelled_cases(config.data, [c.name for c in config.classes])
    split_file = config.data.split or folder / SPLIT
    if fabric.is_global_zero:
        if not (folder / STATE).exists() or not (folder / CONFIG).exists():
            write_config(config, folder / CONFIG)
        load_or_draw_split(config.data, cases, split_file, fixed)
    fabric.barrier()
    return load_or_draw_split(config.data, cases, split_file), cases


def _run(
    config: TrainingConfig,
    folder: Path,
    fabric: Fabric,
    start: Path | None,
    resume: bool,
    split: Split,
    cases: Sequence[Case],
    reporter: Reporter,
) -> Path | None:
    training, validation, test = (split.cases(p, cases) for p in ("training", "validation", "test"))
    if not validation:
        raise LDSegError(
            f"No case of {config.data.folder} is for validation yet; label cases of more patients."
        )
    unlabelled = find_unlabelled(config.data, cases, [*validation, *test])
    metadata = config.metadata(training, describe_split(split, config, len(unlabelled)))
    counts = f"{len(training)} training, {len(validation)} validation and {count_text(len(test), 'test case')}"
    if unlabelled:
        counts += f" beside {count_text(len(unlabelled), 'image')} without labels"
    reporter.report("preparing", f"Checking {counts} …")
    if metadata.architecture.dims == 2:
        training, validation, test = (
            [by_slice(case) for case in part] for part in (training, validation, test)
        )
    # The loop does not read these: a bad one would show only after the training.
    for case in [*validation, *test][fabric.global_rank :: fabric.world_size]:
        _check_case(metadata, case)
    reporter.report("training", "Training …", updates=config.training.updates)
    checkpoint = train(
        metadata,
        training,
        sample_slices(evenly_spaced(validation, WATCHED_CASES), WATCHED_CASES),
        config.training,
        fabric=fabric,
        start=load_checkpoint(start) if start else None,
        unlabelled=unlabelled,
        folder=folder,
        resume=resume,
        stop=reporter.stop_requested,
        on_progress=reporter.on_progress,
    )
    if not fabric.is_global_zero:
        return None
    save_curves(folder)
    device = device_name(fabric)
    reporter.check()
    checkpoint = with_domain(checkpoint, training, validation, device, reporter)
    checkpoint = measure_steps(checkpoint, validation, device, reporter)
    checkpoint, _ = measure(
        checkpoint,
        test or validation,
        "test" if test else "validation",
        device,
        reporter,
        calibrate_on=calibration_cases(validation),
    )
    reporter.check()
    shown = evenly_spaced(validation, SHOWN_CASES)
    save_contact_sheet(folder, checkpoint, shown, SAMPLES, device)
    path = save_checkpoint(checkpoint, folder / CHECKPOINT)
    reporter.finish(f"{config.name} is ready.", path)
    return path


def _check_case(metadata: Metadata, case: Case) -> None:
    """Raise LDSegError if a held-out case could not be measured."""
    for image in single_images(case):
        scan = image.read_scan()
        read_once = replace(image, read_scan=lambda scan=scan: scan)  # type: ignore[misc]
        prepare_case(metadata, read_once, blank_allowed=case.slices is not None)
        outside = outside_field_of_view(metadata, scan)
        if outside is not None:
            raise LDSegError(
                f"{outside[0]}; leave it out, or write a split with training cases of its size."
            )
