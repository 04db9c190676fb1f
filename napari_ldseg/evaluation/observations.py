"""The table of all measured values of all cases, and their means over cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..datasets.case import Case
from .bootstrap import Estimate, mean_by_patient, rank_correlation_by_patient

ALL_CLASSES = "mean over classes"


class Key(NamedTuple):
    """What a value is of: metric, model, class (or None), samples N, steps K, SD of added noise.

    ``detail`` distinguishes values of one metric: the score of an AUROC, the interval of a coverage.
    """

    part: str
    metric: str
    model: str
    class_name: str | None = None
    samples: int | None = None
    steps: int | None = None
    noise: float | None = None
    detail: str | None = None


@dataclass
class Observations:
    """The values of all cases by key; NaN where the metric is not defined for a case."""

    cases: Sequence[Case]
    seed: int = 0
    values: dict[Key, dict[str, float]] = field(default_factory=dict)

    def add(self, case: str, key: Key, value: float) -> None:
        """Add one value of one case."""
        self.values.setdefault(key, {})[case] = float(value)

    def add_classes(
        self, case: str, key: Key, names: Sequence[str], values: Sequence[float] | np.ndarray
    ) -> None:
        """Add one value per foreground class, and the mean over the classes with a value."""
        for name, value in zip(names, values, strict=True):
            self.add(case, key._replace(class_name=name), value)
        if len(names) > 1:
            valid = np.asarray(values)[np.isfinite(values)]
            mean = valid.mean() if valid.size else np.nan
            self.add(case, key._replace(class_name=ALL_CLASSES), mean)

    def keys(self, **wanted: object) -> list[Key]:
        """Return the keys whose fields have the given values, in the order in which they were added."""
        return [
            key
            for key in self.values
            if all(getattr(key, name) == value for name, value in wanted.items())
        ]

    def estimate(self, key: Key) -> Estimate | None:
        """Return the mean over cases with its interval; for seconds the median without an interval."""
        patients = {case.name: case.patient for case in self.cases}
        found = self.values[key]
        values, owners = list(found.values()), [patients[name] for name in found]
        if key.metric == "seconds":
            return Estimate(float(np.median(values)), None, None, len(values), len(set(owners)))
        return mean_by_patient(values, owners, self.seed)

    def estimates(self, **wanted: object) -> Iterator[tuple[Key, Estimate]]:
        """Yield the ``keys`` with a value for at least one case, and their estimates."""
        for key in self.keys(**wanted):
            found = self.estimate(key)
            if found is not None:
                yield key, found

    def rank_correlation(self, first: Key, second: Key) -> Estimate | None:
        """Return the rank correlation of two values over the cases; None if either is constant."""
        patients = {case.name: case.patient for case in self.cases}
        x, y = self.values[first], self.values[second]
        return rank_correlation_by_patient(
            list(x.values()), [y[name] for name in x], [patients[name] for name in x], self.seed
        )
