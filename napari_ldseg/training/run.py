"""A training run in a folder: cases and split, the loop, measuring, the checkpoint, the pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from ..atomic import written_whole
from ..checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from ..checkpoint.metadata import Metric
from ..datasets.case import Case
from ..datasets.split import Split, settled_split
from ..errors import LDSegError
from ..evaluation.calibration import measure_calibration
from ..evaluation.overlap import evaluate, metrics
from ..evaluation.steps import measure_label_steps, measure_posterior_steps
from ..project.labelled import find_labelled
from .config import TrainingConfig, config_text
from .log import Progress
from .loop import STATE, train
from .pictures import save_contact_sheet, save_curves

CHECKPOINT = "checkpoint.safetensors"
SAMPLES = 10
SPREAD_CASES, STEPS_CASES, WATCHED_CASES, SHOWN_CASES = 3, 20, 16, 5


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
        If the folder holds another run, or anything of ``train`` fails.
    """
    path = folder / CHECKPOINT
    if not resume and ((folder / STATE).exists() or path.exists()):
        raise LDSegError(
            f"{folder} already holds a run; add --resume to go on with it, or choose another folder."
        )
    if resume and path.exists():
        say(f"{path} is already finished.")
        return path
    cases, fixed = find_labelled(config.data, [c.name for c in config.classes])
    split_file = config.data.split or folder / "split.json"
    if fabric.is_global_zero:
        settled_split(config.data, cases, split_file, fixed)
        with written_whole(folder / "config.yaml", ".part") as temporary:
            temporary.write_text(config_text(config))
    fabric.barrier()
    split = settled_split(config.data, cases, split_file)
    training, validation, test = (split.cases(p, cases) for p in ("training", "validation", "test"))
    if not validation:
        raise LDSegError(
            f"No case of {config.data.folder} is for validation yet; label cases of more patients."
        )
    say(
        f"{len(training)} cases to learn from, {len(validation)} for validation, {len(test)} kept aside"
    )
    metadata = config.metadata(training, describe_split(split, config))
    checkpoint = train(
        metadata,
        training,
        _spread_out(validation, WATCHED_CASES),
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
    device = "auto" if fabric.device.type != "cpu" else "cpu"
    checkpoint = measured(checkpoint, validation, test, device, say)
    save_contact_sheet(folder, checkpoint, _spread_out(validation, SHOWN_CASES), SAMPLES, device)
    return save_checkpoint(checkpoint, path)


def measured(
    checkpoint: Checkpoint,
    validation: Sequence[Case],
    test: Sequence[Case],
    device: str,
    say: Callable[[str], None] = lambda text: None,
) -> Checkpoint:
    """Return ``checkpoint`` with what can be measured on cases kept out of training.

    Step counts and calibration come from ``validation``; the figures from ``test``, or from
    ``validation`` if there are no test cases.
    """
    if checkpoint.metadata.networks == "res-unet":
        counts = {"label_steps": 1, "posterior_steps": 1}
    else:
        say("measuring the number of steps")
        posterior_steps, _ = measure_posterior_steps(
            checkpoint, _spread_out(validation, SPREAD_CASES), n=16, device=device
        )
        label_steps = measure_label_steps(
            checkpoint, _spread_out(validation, STEPS_CASES), device=device
        )
        counts = {"label_steps": label_steps, "posterior_steps": posterior_steps}
    checkpoint = Checkpoint(checkpoint.metadata.model_copy(update=counts), checkpoint.model)
    name, cases = ("test", test) if test else ("validation", validation)
    figures: tuple[Metric, ...] = ()
    for n, steps in ((1, counts["label_steps"]), (SAMPLES, counts["posterior_steps"])):
        say(f"segmenting {len(cases)} {name} cases with {n} samples in {steps} steps")
        results = evaluate(checkpoint, cases, n, steps, device)
        figures += metrics(results, checkpoint, name, n, steps)
    say(f"calibrating on {len(validation)} validation cases")
    calibration = measure_calibration(checkpoint, validation, SAMPLES, device=device)
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
