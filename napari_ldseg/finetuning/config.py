"""What a fine-tuning run does: a file in the run's folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..checkpoint.metadata import ClassInfo
from ..utils.inside import inside
from ..utils.records import read_record, write_record

CONFIG = "config.json"
ALLOWED_IN_NAMES = r"\w.() -"
RESERVED = "adopted"
Pace = Literal["quick", "thorough"]


def name_problem(name: str) -> str:
    """Return why a model's file cannot be called ``name``, or an empty text."""
    if re.search(f"[^{ALLOWED_IN_NAMES}]", name) or name.startswith("."):
        return "A model's name has letters, digits, spaces and . _ - ( ) only."
    if name.casefold() == RESERVED:
        return f"No model can be named {name}: the project keeps its decisions under it."
    return ""


class FineTuningConfig(BaseModel):
    """One run.

    Parameters
    ----------
    project
        The project's folder.
    base
        The checkpoint file to start from; None starts from random weights.
    name
        The new checkpoint's, unique among the project's models.
    classes
        The new checkpoint's, background first.
    cases
        Names of the project's cases to use; their records say which are held out.
    pace
        How long: see ``plan.settings_for``.
    device
        As in ``inference.devices.resolve_device``.
    updates
        Instead of the pace's number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Path
    base: Path | None
    name: Annotated[str, Field(min_length=1, max_length=100)]
    classes: Annotated[tuple[ClassInfo, ...], Field(min_length=2, max_length=256)]
    cases: Annotated[tuple[str, ...], Field(max_length=100_000)]
    pace: Pace = "quick"
    device: str = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    updates: Annotated[int, Field(ge=1)] | None = None

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name


def read_config(folder: Path) -> FineTuningConfig:
    """Return the configuration of a run. Raises LDSegError if it is missing or broken, or leads outside.

    The project may have been moved since: it is the one that contains ``folder``.
    """
    project = folder.parent.parent
    inside(project, f"{folder.parent.name}/{folder.name}")
    config = read_record(inside(folder, CONFIG), FineTuningConfig)
    base = config.base
    if base is not None and base.is_relative_to(config.project):
        base = inside(project, base.relative_to(config.project).as_posix())
    return config.model_copy(update={"project": project, "base": base})


def write_config(folder: Path, config: FineTuningConfig) -> None:
    """Write the configuration of a run. Raises OSError."""
    write_record(folder / CONFIG, config)
