"""Samplers: from pure noise to a clean latent, one function each.

``predict(z, t)`` returns the ``Estimate`` (noise, z0) at time t. ``after_step`` is applied to the
initial latent and after each step. The evaluation at a time where abar is exactly 1 cannot change the
result and is skipped. ``step_noise(k)`` returns the standard normal noise of step k = 0..K-1, shaped
like the latent; at the last time, where abar may be below 1, both samplers add it times sqrt(1 - abar).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from .parametrisation import Estimate
from .schedule import NoiseSchedule

Predict = Callable[[Tensor, float], Estimate]
Step = Callable[[Tensor], Tensor]
StepNoise = Callable[[int], Tensor]


def ddim(
    predict: Predict,
    z: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    after_step: Step = lambda z: z,
    *,
    step_noise: StepNoise | None = None,
) -> Tensor:
    """Deterministic sampling (Song et al., arXiv 2010.02502, eq. 12 with sigma = 0).

    Parameters
    ----------
    predict, after_step
        See above.
    schedule
        Gives abar(t) and the times.
    z
        The initial noise z_l(T), (batch, channels, *space).
    steps
        K evenly spaced times between the schedule's ends, both included.
    step_noise
        See above; by default nothing is added at the last time.

    Returns
    -------
    Tensor
        z_l(0), shaped like ``z``.
    """
    times = schedule.times(steps)
    z = after_step(z)
    for t, t_next in pairwise(times):
        noise, z0 = predict(z, t)
        a = schedule.alpha_bar(t_next)
        z = after_step(a**0.5 * z0 + (1 - a) ** 0.5 * noise)
    return _finish(predict, z, schedule, times, after_step, step_noise)


def ddpm(
    predict: Predict,
    z: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    after_step: Step = lambda z: z,
    *,
    step_noise: StepNoise,
) -> Tensor:
    """Ancestral sampling (Ho et al., arXiv 2006.11239, Algorithm 2) on K evenly spaced times."""
    times = schedule.times(steps)
    z = after_step(z)
    for k, (t, t_next) in enumerate(pairwise(times)):
        noise, z0 = predict(z, t)
        a, a_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        variance = (1 - a_next) / (1 - a) * (1 - a / a_next)
        z = a_next**0.5 * z0 + max(1 - a_next - variance, 0.0) ** 0.5 * noise
        if variance > 0:
            z = z + variance**0.5 * step_noise(k)
        z = after_step(z)
    return _finish(predict, z, schedule, times, after_step, step_noise)


def _finish(
    predict: Predict,
    z: Tensor,
    schedule: NoiseSchedule,
    times: list[float],
    after_step: Step,
    step_noise: StepNoise | None,
) -> Tensor:
    a = schedule.alpha_bar(times[-1])
    if a == 1:
        return z
    z = predict(z, times[-1]).z0
    # With a single time, abar is nearly 0: the added noise would drown the latent.
    if step_noise is not None and len(times) > 1:
        z = z + (1 - a) ** 0.5 * step_noise(len(times) - 1)
    return after_step(z)
