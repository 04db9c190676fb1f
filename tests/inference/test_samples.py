"""Samples kept as latents: decoding them again gives what the posterior was made of."""

import numpy as np
import pytest
import torch

from napari_ldseg.inference.conditioning import Conditioner
from napari_ldseg.inference.evidence import Evidence
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.scans.scan import Scan


@pytest.fixture
def sampler(tiny_checkpoint):
    """A 2D checkpoint on a volume of two slices, three samples drawn."""
    rng = np.random.default_rng(0)
    sampler = PosteriorSampler(
        tiny_checkpoint(classes=3), Scan(rng.random((2, 20, 24))), keep_labels=True
    )
    for _ in sampler.run(3):
        pass
    return sampler


def test_a_sample_decoded_again_is_the_one_that_was_drawn(sampler):
    samples, posterior = sampler.samples(), sampler.posterior
    assert samples.n == 3
    for sample in range(3):
        whole = samples.labels(sample)
        assert whole.shape == posterior.scan.shape
        for frame in posterior.planned_frames:
            np.testing.assert_array_equal(whole[frame], posterior.sample_labels[frame, sample])
        np.testing.assert_array_equal(samples.labels(sample), whole)


def test_the_mean_of_the_decoded_samples_is_the_posterior_mean(sampler):
    samples = sampler.samples()
    for number, frame in enumerate(samples.frames):
        mean = torch.stack([samples.probabilities(i, number) for i in range(3)]).mean(0)
        shown = sampler.posterior.mean_probability[(slice(None), *frame)]
        np.testing.assert_allclose(mean, shown, atol=1e-5)


def test_the_probability_of_the_samples_is_that_of_the_posterior_in_selected_frames(
    tiny_checkpoint,
):
    image = np.random.default_rng(0).random((3, 20, 24))
    some = PosteriorSampler(tiny_checkpoint(classes=3), image, frames=[(0,), (2,)])
    list(some.run(3))
    samples = some.samples()
    for number, frame in enumerate(samples.frames):
        mean = torch.stack([samples.probabilities(i, number) for i in range(3)]).mean(0)
        shown = samples.with_estimate(mean, number)
        np.testing.assert_allclose(shown, some.posterior.probability[:, frame[0]], atol=1e-5)
        assert (shown - mean).abs().max() > 0.01


def test_a_sample_is_decoded_once_for_all_who_look_at_it_within_the_memory(sampler, monkeypatch):
    samples, decoded = sampler.samples(), []
    decode = samples.model.decode
    monkeypatch.setattr(samples.model, "decode", lambda *z: decoded.append(1) or decode(*z))
    first = samples.probabilities(1, 0)
    assert samples.probabilities(1, 0) is first and len(decoded) == 1
    samples.labels(1)
    Conditioner(samples).condition(Evidence(samples.shape, 3))
    assert len(decoded) == samples.n * len(samples.frames)
    monkeypatch.setattr("napari_ldseg.inference.samples.CACHED_VALUES", 2 * first.numel())
    again = sampler.samples()
    for sample in (0, 1, 2, 0):
        again.probabilities(sample, 0)
    assert len(decoded) == samples.n * len(samples.frames) + 4
    np.testing.assert_array_equal(again.probabilities(0, 0), samples.probabilities(0, 0))


def test_error_probability_and_runner_up_are_those_of_the_probability(sampler):
    posterior = sampler.posterior
    p, labels = posterior.probability, posterior.labels[None]
    error = 1 - np.take_along_axis(p, labels, 0)[0]
    np.testing.assert_allclose(posterior.error_probability, error, atol=1e-6)
    second = np.take_along_axis(p, posterior.runner_up[None], 0)[0]
    np.put_along_axis(p, labels, -1, 0)
    np.testing.assert_allclose(second, p.max(0), atol=1e-6)
    assert (posterior.runner_up != posterior.labels).all()
