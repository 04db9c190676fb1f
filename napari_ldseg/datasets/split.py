"""The split into training, validation and test cases: drawn once by patient, kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from ..errors import LDSegError
from ..utils.atomic import atomic_write
from ..utils.records import read_record
from ..utils.text import nfc
from .case import Case
from .settings import DataSettings

MAX_BYTES = 2**26
CaseName = Annotated[str, AfterValidator(nfc)]


class Split(BaseModel):
    """Names of cases per part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: tuple[CaseName, ...]
    validation: tuple[CaseName, ...]
    test: tuple[CaseName, ...] = ()

    @model_validator(mode="after")
    def _disjoint(self) -> Split:
        names = [*self.training, *self.validation, *self.test]
        if len(set(names)) != len(names):
            raise ValueError("a case is named twice")
        return self

    def cases(self, part: str, cases: Sequence[Case]) -> list[Case]:
        """Return those of ``cases`` that are in ``part``.

        Raises
        ------
        LDSegError
            If the split names a case that is not there, or a patient is in two parts.
        """
        found = {case.name: case for case in cases}
        missing = [n for n in (*self.training, *self.validation, *self.test) if n not in found]
        if missing:
            raise LDSegError(
                f"The split names {missing[0]}, which is not in the data; restore it, or delete "
                "the split's file to draw a new one."
            )
        parts = {
            name: {found[n].patient for n in getattr(self, name)}
            for name in ("training", "validation", "test")
        }
        shared = (
            parts["training"] & parts["validation"]
            | parts["training"] & parts["test"]
            | parts["validation"] & parts["test"]
        )
        if shared:
            raise LDSegError(
                f"The split has cases of the patient {min(shared)} in two parts; delete its file to "
                "draw a new one."
            )
        return [found[name] for name in getattr(self, part)]


def draw_split(cases: Sequence[Case], validation: float, test: float, seed: int) -> Split:
    """Draw a split by patient: at least one patient in each requested part.

    Raises
    ------
    LDSegError
        If there are too few patients.
    """
    patients = sorted({case.patient for case in cases})
    counts = [max(1, round(f * len(patients))) if f else 0 for f in (validation, test)]
    if sum(counts) >= len(patients):
        raise LDSegError(
            f"{len(patients)} patients are too few to hold out {validation:.0%} for validation and "
            f"{test:.0%} for the test; add cases or lower the fractions."
        )
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    validated, tested = set(order[: counts[0]]), set(order[counts[0] : sum(counts)])
    parts: dict[str, list[str]] = {"training": [], "validation": [], "test": []}
    for case in sorted(cases, key=lambda case: case.name):
        part = (
            "validation"
            if case.patient in validated
            else "test"
            if case.patient in tested
            else None
        )
        parts[part or "training"].append(case.name)
    return Split(**{name: tuple(names) for name, names in parts.items()})


def read_split(path: Path) -> Split:
    """Read a split's file. Raises LDSegError if it is not one."""
    return read_record(path, Split, MAX_BYTES)


def load_or_draw_split(
    settings: DataSettings, cases: Sequence[Case], path: Path, fixed: Split | None = None
) -> Split:
    """Return the split in ``path``; if there is none, write ``fixed`` or a newly drawn one to it first."""
    if path.is_file():
        return read_split(path)
    split = fixed or draw_split(cases, settings.validation, settings.test, settings.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, ".json") as temporary:
        temporary.write_text(split.model_dump_json(indent=1), encoding="utf-8")
    return split
