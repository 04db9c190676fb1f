"""DDIM and DDPM against closed forms.

If the posterior over latents is N(mu, s^2), the exact denoiser is known: with v = a s^2 + 1 - a the
mean of z_0 given z_t is mu + sqrt(a) s^2 (z_t - sqrt(a) mu) / v.
"""

import math

import numpy as np
import pytest
import torch

from napari_ldseg.model.parametrisation import Estimate
from napari_ldseg.model.samplers import ddim, ddpm
from napari_ldseg.model.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule()
MU, S = 1.5, 1.0


def exact(mu, s, times=None):
    """The exact denoiser of N(mu, s^2); appends each evaluated time to ``times``."""

    def predict(z, t):
        if times is not None:
            times.append(t)
        a = SCHEDULE.alpha_bar(t)
        z0 = mu + a**0.5 * s**2 * (z - a**0.5 * mu) / (a * s**2 + 1 - a)
        return Estimate((z - a**0.5 * z0) / (1 - a) ** 0.5, z0)

    return predict


def start(n=20_000, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_spread(steps, s):
    z = start()
    return (ddim(exact(MU, s), z, SCHEDULE, steps).std() / z.std()).item() / s


@pytest.mark.parametrize("steps, low, high", [(2, 5e-4, 3e-3), (10, 0.83, 0.89), (50, 0.96, 0.985)])
def test_ddim_spread_needs_many_steps(steps, low, high):
    assert low < relative_spread(steps, S) < high


@pytest.mark.parametrize("steps", [2, 5, 10, 50])
def test_ddim_spread_of_a_standard_normal_is_a_product_of_cosines(steps):
    """With s = 1, one DDIM step gives z' = cos(d) z, with d the angle between the two times."""
    angles = [math.acos(SCHEDULE.alpha_bar(t) ** 0.5) for t in SCHEDULE.times(steps)]
    expected = np.prod(np.cos(np.diff(angles)))
    assert relative_spread(steps, 1.0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("s", [0.3, 1.0, 2.0])
def test_ddim_spread_converges_to_the_posterior(s):
    assert relative_spread(1000, s) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_ddim_mean_is_the_posterior_mean(steps):
    z = start()
    assert ddim(exact(MU, S), z - z.mean(), SCHEDULE, steps).mean().item() == pytest.approx(
        MU, abs=0.01
    )


def test_ddpm_recovers_mean_and_sd():
    generator = torch.Generator().manual_seed(1)
    z = start()

    def noise(k):
        return torch.randn(z.shape, generator=generator, dtype=torch.float64)

    result = ddpm(exact(MU, 0.5), z, SCHEDULE, 500, step_noise=noise)
    assert result.mean().item() == pytest.approx(MU, abs=0.02)
    assert result.std().item() == pytest.approx(0.5, rel=0.03)


def test_ddpm_is_deterministic_given_its_noise():
    z = start(50)

    def run(scale):
        return ddpm(
            exact(MU, 1.0), z, SCHEDULE, 8, step_noise=lambda k: scale * (k + 1) * torch.ones(50)
        )

    torch.testing.assert_close(run(1.0), run(1.0), rtol=0, atol=0)
    assert (run(1.0) - run(-1.0)).abs().min() > 0.1


def test_ddpm_needs_noise_once_per_step_and_none_for_the_last():
    asked = []
    z = start(5)

    def noise(k):
        asked.append(k)
        return torch.zeros(5)

    ddpm(exact(MU, 1.0), z, SCHEDULE, 6, step_noise=noise)
    # Five steps; the last one lands on abar = 1, where the variance is zero.
    assert asked == [0, 1, 2, 3]


def test_ddpm_first_step_by_hand():
    times = SCHEDULE.times(3)
    a, b = SCHEDULE.alpha_bar(times[0]), SCHEDULE.alpha_bar(times[1])
    seen = []

    def predict(z, t):
        seen.append(z.clone())
        return Estimate(torch.full_like(z, 2.0), torch.full_like(z, 3.0))

    ddpm(predict, torch.zeros(1, dtype=torch.float64), SCHEDULE, 3, step_noise=lambda k: 5.0)
    variance = (1 - b) / (1 - a) * (1 - a / b)
    expected = b**0.5 * 3 + (1 - b - variance) ** 0.5 * 2 + variance**0.5 * 5
    assert seen[1].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps, evaluations", [(1, 1), (2, 1), (3, 2), (10, 9)])
def test_no_evaluation_where_no_noise_is_left(sampler, steps, evaluations):
    times = []
    predict = exact(MU, S, times)
    if sampler == "ddim":
        result = ddim(predict, start(4), SCHEDULE, steps)
    else:
        result = ddpm(predict, start(4), SCHEDULE, steps, step_noise=lambda k: torch.zeros(4))
    assert len(times) == evaluations and times[0] == 999
    assert all(SCHEDULE.alpha_bar(t) < 1 for t in times)
    assert torch.isfinite(result).all()


def test_the_last_evaluation_happens_where_the_schedule_ends_above_zero():
    class Late(NoiseSchedule):
        def times(self, steps):
            return [999.0, 500.0, 1.0]

    times = []
    result = ddim(exact(MU, 0.01, times), start(4), Late(), 3)
    assert times == [999.0, 500.0, 1.0]
    np.testing.assert_allclose(result, MU, atol=0.05)


def test_two_steps_return_the_one_estimate():
    z = start(10)
    expected = exact(MU, S)(z, 999.0).z0
    torch.testing.assert_close(ddim(exact(MU, S), z, SCHEDULE, 2), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ddim(exact(MU, S), z, SCHEDULE, 1), expected, rtol=0, atol=1e-12)


def test_the_given_noise_determines_the_result():
    first, again, other = (ddim(exact(MU, S), start(50, s), SCHEDULE, 10) for s in (0, 0, 1))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps, calls", [(1, 2), (2, 2), (5, 5)])
def test_after_step_on_the_start_and_after_each_step(sampler, steps, calls):
    log = []
    z = start(6)

    def after(value):
        log.append(("after", value))
        return value + 100

    def predict(value, t):
        log.append(("predict", value))
        return exact(MU, S)(value, t)

    if sampler == "ddim":
        result = ddim(predict, z, SCHEDULE, steps, after)
    else:
        result = ddpm(predict, z, SCHEDULE, steps, after, step_noise=lambda k: torch.zeros(6))
    kinds = [kind for kind, _ in log]
    assert kinds == ["after", "predict"] * (calls - 1) + ["after"]
    torch.testing.assert_close(log[0][1], z)
    for (_, handed), (_, seen) in zip(log[0::2], log[1::2], strict=False):
        torch.testing.assert_close(seen, handed + 100)
    torch.testing.assert_close(result, log[-1][1] + 100)
