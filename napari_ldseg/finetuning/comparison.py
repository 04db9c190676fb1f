"""The new model compared with the old one on the same cases, and the conclusion that this allows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..evaluation.bootstrap import mean_by_patient
from ..utils.records import read_record
from ..utils.text import count_text

COMPARISON = "comparison.json"
FEWEST_CASES = 8
EQUAL = 0.005

Kind = Literal["better", "worse", "same", "too few", "none"]


class Verdict(NamedTuple):
    """The conclusion about a new model; the means are None where there are too few cases for one."""

    kind: Kind
    text: str
    before: float | None = None
    after: float | None = None


class CaseChange(BaseModel):
    """DSC per foreground class on one case's reviewed voxels; None where a class is absent.

    Classes that the old model does not have are None in both, and in ``new`` with the new model's DSC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    patient: str
    before: tuple[float | None, ...]
    after: tuple[float | None, ...]
    new: dict[str, float] = {}

    @property
    def means(self) -> tuple[float | None, float | None]:
        """The mean DSC over the classes, before and after."""
        return _mean(self.before), _mean(self.after)

    @property
    def gain(self) -> float | None:
        """How much the mean DSC rose."""
        before, after = self.means
        return None if before is None or after is None else after - before


class Comparison(BaseModel):
    """Both models on the held-out cases; ``base`` and ``name`` are the models' names.

    ``unseen`` are those of ``classes`` that no training case shows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str | None
    name: str
    classes: tuple[str, ...]
    changes: tuple[CaseChange, ...]
    unseen: tuple[str, ...] = ()

    @property
    def warning(self) -> str:
        """What the scores may hide, or an empty text."""
        if not self.unseen:
            return ""
        return f"No training case shows {', '.join(self.unseen)}: the new model may miss it."

    @property
    def verdict(self) -> Verdict:
        """Return the conclusion.

        With fewer than ``FEWEST_CASES`` cases there is none. A change of less than 0.005 in the mean, or one
        that the cases contradict (a 95 % bootstrap interval by patient that contains 0), is no change.
        """
        compared = [c for c in self.changes if c.gain is not None]
        count = len(compared)
        if self.base is None:
            return Verdict(
                "none", f"{self.name} is a first model: there is none to compare it with."
            )
        if not count:
            return Verdict(
                "none",
                "No case was held out, so it is not known whether the new model is better; keep the old one "
                "until there are cases of more patients.",
            )
        gain = mean_by_patient([c.gain or 0.0 for c in compared], [c.patient for c in compared])
        low, high = (gain.low, gain.high) if gain else (None, None)
        if count < FEWEST_CASES or low is None or high is None:
            cases = f"{count_text(count, 'case')} {'was' if count == 1 else 'were'}"
            return Verdict(
                "too few",
                f"Too few to tell: {cases} held out, and {FEWEST_CASES} of several patients are needed. Look "
                "at them below before you choose.",
            )
        old, new = (float(np.mean([c.means[i] for c in compared])) for i in (0, 1))
        means = f"mean DSC {old:.3f} before, {new:.3f} after, on {count} held-out cases"
        if new - old < -EQUAL:
            return Verdict("worse", f"Worse: {means}. Keep the old model.", old, new)
        if new - old > EQUAL and low > 0:
            return Verdict("better", f"Better: {means}.", old, new)
        return Verdict(
            "same",
            f"No clear change: {means} (95 % interval of the gain {low:+.3f} to {high:+.3f}). Keep the "
            "old model unless the cases below convince you.",
            old,
            new,
        )


def read_comparison(path: Path) -> Comparison:
    """Read a comparison's file. Raises LDSegError."""
    return read_record(path, Comparison)


def _mean(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
