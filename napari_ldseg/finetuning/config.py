"""What a fine-tuning run is told, and what it says of itself: two files in the run's folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..checkpoint.metadata import ClassInfo
from ..project.schema import read_record, write_record

CONFIG, STATUS = "config.json", "status.json"
ALLOWED_IN_NAMES = r"\w.() -"
RESERVED = "adopted"
Pace = Literal["quick", "thorough"]
Phase = Literal[
    "starting",
    "preparing",
    "before",
    "training",
    "paused",
    "after",
    "finished",
    "stopped",
    "failed",
    "killed",
]
ENDED: tuple[Phase, ...] = ("finished", "stopped", "failed", "killed")


def name_problem(name: str) -> str:
    """Return why no file can be named after a model called ``name``, or nothing."""
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
        Of the checkpoint to make, unique among the project's models.
    classes
        Of the checkpoint to make, background first.
    cases
        Names of the project's cases that take part; their records say which are kept aside.
    pace
        How long: see ``plan.settings_for``.
    device
        As in ``inference.devices.resolve_device``.
    updates
        Instead of those of the pace.
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
    def _a_file_can_have_it(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name


class Status(BaseModel):
    """Where a run stands; ``text`` is one sentence for the user.

    ``checkpoint`` is the finished model's file in the project.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: Phase
    text: str = ""
    update: int = 0
    updates: int = 0
    seconds_left: float | None = None
    loss: float | None = None
    validation_dsc: float | None = None
    checkpoint: Path | None = None

    @property
    def ended(self) -> bool:
        """Whether no process works on the run any more."""
        return self.phase in ENDED


def read_config(folder: Path) -> FineTuningConfig:
    """Return the request of a run. Raises LDSegError if it is missing or broken.

    The project may have been moved since: it is the one that ``folder`` lies in.
    """
    config = read_record(folder / CONFIG, FineTuningConfig)
    project, base = _project_of(folder), config.base
    if base is not None and base.is_relative_to(config.project):
        base = project / base.relative_to(config.project)
    return config.model_copy(update={"project": project, "base": base})


def write_config(folder: Path, config: FineTuningConfig) -> None:
    """Write the request of a run. Raises OSError."""
    write_record(folder / CONFIG, config)


def read_status(folder: Path) -> Status:
    """Return what the process last said. Raises LDSegError if that is missing or broken."""
    status = read_record(folder / STATUS, Status)
    if status.checkpoint is None:
        return status
    made = _project_of(folder) / status.checkpoint.parent.name / status.checkpoint.name
    return status.model_copy(update={"checkpoint": made})


def write_status(folder: Path, status: Status) -> None:
    """Replace what the process last said. Raises OSError."""
    write_record(folder / STATUS, status)


def _project_of(folder: Path) -> Path:
    return folder.parent.parent
