"""Measuring a trained checkpoint on held-out cases: its step counts, metrics and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Metric
from ..datasets.case import Case
from ..datasets.slices import one_image, sample_slices
from ..evaluation.calibration import measure_calibration
from ..evaluation.overlap import evaluate, metrics
from ..evaluation.readers import READER_SAMPLES, measure_agreement
from ..evaluation.steps import measure_label_steps, measure_posterior_steps
from ..utils.text import count_text
from .reporter import Reporter

SAMPLES = 10
SPREAD_CASES, SPREAD_SAMPLES, STEPS_CASES = 3, 8, 20


def measure_steps(
    checkpoint: Checkpoint, cases: Sequence[Case], device: str, reporter: Reporter
) -> Checkpoint:
    """Return ``checkpoint`` with the numbers of steps that it needs, measured on some of ``cases``."""
    if checkpoint.metadata.deterministic:
        return _with(checkpoint, label_steps=1, posterior_steps=1)
    if checkpoint.metadata.networks == "diffdgss":
        return _with(checkpoint, label_steps=1, posterior_steps=2)
    reporter.report("measuring", "Measuring the number of steps …")
    spread, _ = measure_posterior_steps(
        checkpoint,
        [one_image(case) for case in evenly_spaced(cases, SPREAD_CASES)],
        SPREAD_SAMPLES,
        device,
        reporter.check,
    )
    some = sample_slices(evenly_spaced(cases, STEPS_CASES), STEPS_CASES)
    label = measure_label_steps(checkpoint, some, device, reporter.check)
    return _with(checkpoint, label_steps=label, posterior_steps=spread)


def measure(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    split: str,
    device: str,
    reporter: Reporter,
    *,
    samples: Sequence[int] = (1, SAMPLES),
    calibrate_on: Sequence[Case] = (),
) -> tuple[Checkpoint, np.ndarray]:
    """Return ``checkpoint`` with metrics and calibration, and the metrics per case.

    Parameters
    ----------
    checkpoint
        Trained, with its step counts.
    cases
        Held out of training; those with several readers are compared with each of them.
    split
        What the cases are, for the record: ``validation`` or ``test``.
    device
        As in ``inference.segment.segment``.
    reporter
        Gets the progress, and knows whether to stop.
    samples
        The numbers of samples to measure with; the metrics per case are those of the first, as of
        ``evaluation.overlap.evaluate``.
    calibrate_on
        Validation cases, single images; without any there is no calibration.

    Raises
    ------
    TrainingStopped
        If a stop is requested.
    """
    metadata = checkpoint.metadata
    found: tuple[Metric, ...] = ()
    per_case = []
    for n in samples:
        steps = metadata.steps_for(n)
        drawn = f"{count_text(n, 'sample')} in {count_text(steps, 'step')}"
        what = f"Segmenting {count_text(len(cases), f'{split} case')}, {drawn}"
        count = reporter.counter("measuring", what, len(cases))
        per_case.append(evaluate(checkpoint, cases, n, device=device, on_case=count))
        found += metrics(per_case[-1], checkpoint, split, n, steps)
    disputed = [case for case in cases if len(case.read_labels) > 1]
    if disputed and not metadata.deterministic:
        what = f"Comparing {READER_SAMPLES} samples with the readers of {count_text(len(disputed), 'case')}"
        found += measure_agreement(
            checkpoint,
            disputed,
            split,
            steps=metadata.posterior_steps,
            device=device,
            on_case=reporter.counter("measuring", what, len(disputed)),
        )
    calibration = None
    if calibrate_on:
        patients = len({case.patient for case in calibrate_on})
        what = f"Calibrating on the validation cases of {count_text(patients, 'patient')}"
        count = reporter.counter("measuring", what, len(calibrate_on))
        calibration = measure_calibration(
            checkpoint, calibrate_on, SAMPLES, device=device, on_case=count
        )
    return _with(checkpoint, metrics=found, calibration=calibration), per_case[0]


def calibration_cases(validation: Sequence[Case]) -> list[Case]:
    """Return the validation cases to calibrate on, single images: those that are labelled completely."""
    return [one_image(case) for case in validation if case.read_reviewed is None]


def evenly_spaced(cases: Sequence[Case], most: int) -> list[Case]:
    """Return ``most`` of ``cases``, the first and the last among them; all if there are no more."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(most, len(cases))).astype(int))
    return [cases[i] for i in chosen]


def _with(checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    """Return ``checkpoint`` with changed metadata."""
    return Checkpoint(checkpoint.metadata.model_copy(update=changes), checkpoint.model)
