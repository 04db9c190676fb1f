"""The noise schedules. Times 0..T-1 are the paper's times 1..T."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

ScheduleName = Literal["cosine", "linear", "quadratic"]
BETA_FIRST, BETA_LAST = 1e-4, 0.02


@dataclass(frozen=True)
class NoiseSchedule:
    """abar(t) over ``length`` times.

    ``cosine`` is that of Nichol and Dhariwal (arXiv 2102.09672, eq. 17). ``linear`` and ``quadratic``
    are the cumulative products of 1 - beta, where beta (linear) or its square root (quadratic) rises
    linearly from 1e-4 to 0.02 (Ho et al., arXiv 2006.11239). Between two times log abar is linear.

    Coefficients are Python floats: the cosine's abar(999) is 2.4e-6 and not every device has float64.
    """

    length: int = 1000
    name: str = "cosine"

    def __post_init__(self) -> None:
        names = get_args(ScheduleName)
        if self.name not in names:
            raise ValueError(f"the noise schedule must be one of {names}, not {self.name!r}")
        if not 2 <= self.length <= 100_000:
            raise ValueError(f"the schedule's length must be 2 to 100000, not {self.length}")

    def alpha_bar(self, t: float) -> float:
        """Return abar(t) in (0, 1] for a real time 0 <= t <= length - 1.

        At t = 0 it is exactly 1 for the cosine and 1 - 1e-4 for the others.
        """
        if self.name == "cosine":
            return self._cosine(t) / self._cosine(0.0)
        logs = _log_alpha_bars(self.name, self.length)
        before = min(int(t), self.length - 2)
        fraction = t - before
        return math.exp((1 - fraction) * logs[before] + fraction * logs[before + 1])

    def alpha_bars(self, t: Tensor) -> Tensor:
        """Return abar of each time in ``t`` (batch,) as float32."""
        return torch.tensor([self.alpha_bar(float(x)) for x in t], device=t.device)

    def times(self, steps: int) -> list[float]:
        """Return ``steps`` evenly spaced real times from length - 1 down to 0, both included."""
        if steps < 1:
            raise ValueError(f"the number of steps must be at least 1, not {steps}")
        last = self.length - 1
        if steps == 1:
            return [float(last)]
        return [last * (1 - k / (steps - 1)) for k in range(steps)]

    def _cosine(self, t: float) -> float:
        return math.cos((t / self.length + 0.008) / 1.008 * math.pi / 2) ** 2


@lru_cache(maxsize=8)
def _log_alpha_bars(name: str, length: int) -> tuple[float, ...]:
    power = {"linear": 1, "quadratic": 2}[name]
    first, last = BETA_FIRST ** (1 / power), BETA_LAST ** (1 / power)
    logs, total = [], 0.0
    for k in range(length):
        total += math.log1p(-((first + (last - first) * k / (length - 1)) ** power))
        logs.append(total)
    return tuple(logs)
