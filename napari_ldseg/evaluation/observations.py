"""Every measured figure of every case in one table, and its means over cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..datasets.case import Case
from .bootstrap import Estimate, mean_by_patient, rank_correlation_by_patient

ALL_CLASSES = "mean over classes"


class Key(NamedTuple):
    """What a figure is: metric, model, class (or None), samples N, steps K, SD of added noise.

    ``detail`` tells figures of one metric apart: the score of an AUROC, the interval of a coverage.
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
    """Figures per case: NaN where a case has none by convention."""

    cases: Sequence[Case]
    seed: int = 0
    values: dict[Key, dict[str, float]] = field(default_factory=dict)

    def add(self, case: str, key: Key, value: float) -> None:
        """Note one figure of one case."""
        self.values.setdefault(key, {})[case] = float(value)

    def add_classes(
        self, case: str, key: Key, names: Sequence[str], values: Sequence[float] | np.ndarray
    ) -> None:
        """Note one figure per foreground class, and their mean over the classes that have one."""
        for name, value in zip(names, values, strict=True):
            self.add(case, key._replace(class_name=name), value)
        if len(names) > 1:
            counted = np.asarray(values)[np.isfinite(values)]
            mean = counted.mean() if counted.size else np.nan
            self.add(case, key._replace(class_name=ALL_CLASSES), mean)

    def keys(self, **wanted: object) -> list[Key]:
        """Return the keys whose fields have the given values, in the order of measuring."""
        return [
            key
            for key in self.values
            if all(getattr(key, name) == value for name, value in wanted.items())
        ]

    def estimate(self, key: Key) -> Estimate | None:
        """Return the mean over cases with its interval; of seconds the median, without one."""
        patients = {case.name: case.patient for case in self.cases}
        found = self.values[key]
        values, owners = list(found.values()), [patients[name] for name in found]
        if key.metric == "seconds":
            return Estimate(float(np.median(values)), None, None, len(values), len(set(owners)))
        return mean_by_patient(values, owners, self.seed)

    def estimates(self, **wanted: object) -> Iterator[tuple[Key, Estimate]]:
        """Yield those of ``keys`` that at least one case has a figure for."""
        for key in self.keys(**wanted):
            found = self.estimate(key)
            if found is not None:
                yield key, found

    def rank_correlation(self, first: Key, second: Key) -> Estimate | None:
        """Return how two figures go together over the cases; None if either never varies."""
        patients = {case.name: case.patient for case in self.cases}
        x, y = self.values[first], self.values[second]
        return rank_correlation_by_patient(
            list(x.values()), [y[name] for name in x], [patients[name] for name in x], self.seed
        )
