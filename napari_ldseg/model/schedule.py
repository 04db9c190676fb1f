"""The noise schedule. Indices 0..T-1 stand for the paper's times 1..T."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """Cosine schedule of Nichol and Dhariwal (arXiv 2102.09672, eq. 17) over ``length`` times.

    Coefficients are Python floats: abar(999) is 2.4e-6 and not every device has float64.
    """

    length: int = 1000
    name: str = "cosine"

    def __post_init__(self) -> None:
        if self.name != "cosine":
            raise ValueError(f"the noise schedule must be 'cosine', not {self.name!r}")
        if not 2 <= self.length <= 100_000:
            raise ValueError(f"the schedule's length must be 2 to 100000, not {self.length}")

    def alpha_bar(self, t: float) -> float:
        """Return abar(t) in (0, 1] for a real time 0 <= t <= length - 1; exactly 1 at t = 0."""
        return self._f(t) / self._f(0.0)

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

    def _f(self, t: float) -> float:
        return math.cos((t / self.length + 0.008) / 1.008 * math.pi / 2) ** 2
