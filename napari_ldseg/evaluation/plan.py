"""The settings of an evaluation, and whether it is possible with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..datasets.case import Case
from ..errors import LDSegError
from .predictions import Model

PARTS = ("overlap", "steps", "noise", "uncertainty", "readers")


@dataclass(frozen=True)
class StudySettings:
    """What to measure.

    Parameters
    ----------
    parts
        Any of ``PARTS``; an ablation table is added if there are models to compare.
    samples
        N of the posterior for overlap, uncertainty and readers.
    steps
        Values of K of the steps sweep, with one sample each.
    noise
        SDs of the noise sweep, with one sample and the model's ``label_steps`` each.
    tolerance
        Tolerance of the surface Dice in mm (pixels if an image is not calibrated); None is 1 mm or 2
        pixels.
    """

    parts: tuple[str, ...] = ("overlap", "uncertainty")
    samples: int = 16
    steps: tuple[int, ...] = (2, 3, 5, 10, 20, 50)
    noise: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2)
    tolerance: float | None = None
    seed: int = 0
    device: str = "auto"


def check_plan(settings: StudySettings, cases: Sequence[Case], models: Sequence[Model]) -> None:
    """Raise LDSegError if ``settings`` cannot be measured on ``cases`` with the first of ``models``.

    All models must have the same classes.
    """
    model, name = models[0], models[0].label
    unknown = [part for part in settings.parts if part not in PARTS]
    if unknown:
        raise LDSegError(f"There is no part {unknown[0]!r}; choose from {', '.join(PARTS)}.")
    if not cases:
        raise LDSegError("There are no cases to evaluate.")
    if "steps" in settings.parts and model.deterministic:
        raise LDSegError(f"{name} has no sampling steps; omit the part steps.")
    several = {"uncertainty", "readers"} & set(settings.parts)
    if several and settings.samples < 2 and not model.deterministic:
        raise LDSegError(
            f"The part {min(several)} needs at least 2 samples, not {settings.samples}."
        )
    if "readers" in settings.parts and min(len(c.read_labels) for c in cases) < 2:
        raise LDSegError(
            "The part readers needs labels of several readers; give the folder of each with --labels, "
            "or omit the part."
        )
    longest = model.checkpoint.metadata.schedule_length
    for steps in settings.steps if "steps" in settings.parts else ():
        if not 1 <= steps <= longest:
            raise LDSegError(f"{name} can sample with 1 to {longest} steps, not {steps}.")
    if settings.tolerance is not None and not 0 <= settings.tolerance < math.inf:
        raise LDSegError(f"The tolerance must be 0 or greater, not {settings.tolerance:g}.")
    for sd in settings.noise:
        if not 0 <= sd <= 10:
            raise LDSegError(f"The SD of the noise must be 0 to 10, not {sd:g}.")
    classes = [c.name for c in model.checkpoint.metadata.classes]
    for other in models[1:]:
        if [c.name for c in other.checkpoint.metadata.classes] != classes:
            raise LDSegError(
                f"{other.label} has other classes than {name} ({', '.join(classes)}); compare "
                "checkpoints of the same task."
            )
