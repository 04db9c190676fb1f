"""The posterior given evidence: the update by hand, exact evidence, locality."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ldseg.inference import conditioning
from napari_ldseg.inference.conditioning import Conditioner, falloff, log_odds
from napari_ldseg.inference.evidence import Evidence, Stroke, evidence_from_labels
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.scans.scan import Scan

N = 4


@pytest.fixture
def drawn(tiny_checkpoint):
    """A 2D checkpoint of three classes on five slices: its samples and their posterior."""
    rng = np.random.default_rng(0)
    sampler = PosteriorSampler(tiny_checkpoint(classes=3), Scan(rng.random((6, 20, 24))))
    for _ in sampler.run(N):
        pass
    return sampler.samples(), sampler.posterior


def disc(shape, centre, radius):
    """A disc in the last two axes at ``centre``, a full index."""
    mask = np.zeros(shape, bool)
    y, x = np.indices(shape[-2:])
    mask[centre[:-2]] = (y - centre[-2]) ** 2 + (x - centre[-1]) ** 2 <= radius**2
    return mask


def empty(samples):
    return Evidence(samples.shape, samples.metadata.architecture.classes)


def test_without_evidence_it_is_the_posterior(drawn):
    samples, posterior = drawn
    result = Conditioner(samples).condition(empty(samples), labels=posterior.labels)
    np.testing.assert_allclose(result.probability, posterior.probability, atol=1e-5)
    np.testing.assert_array_equal(result.labels, posterior.labels)
    np.testing.assert_allclose(result.error_probability, posterior.error_probability, atol=1e-5)
    np.testing.assert_array_equal(result.runner_up, posterior.runner_up)
    assert result.weights.shape == (0, N)


def test_log_odds_are_the_mean_over_the_stroke_of_the_possible_classes():
    p = torch.tensor([[[0.2, 0.9, 0.5], [0.3, 0.1, 0.5], [0.5, 0.0, 0.0]]])  # (1, 3 classes, 3)
    logs = p.clamp_min(1e-6).log()
    one = log_odds(logs, torch.tensor([0, 2]), (1,))
    np.testing.assert_allclose(one, [(np.log(0.3 / 0.7) + 0) / 2], rtol=1e-4)
    either = log_odds(logs, torch.tensor([0, 1]), (1, 2))
    np.testing.assert_allclose(either, [(np.log(0.8 / 0.2) + np.log(0.1 / 0.9)) / 2], rtol=1e-4)
    small = conditioning.SMALLEST
    never = log_odds(logs, torch.tensor([1, 2]), (2,))
    np.testing.assert_allclose(never, [np.log(small / (1 - small))], rtol=1e-4)


def constructed(samples, frame, p):
    """Return a conditioner whose samples of one frame are ``p`` (N, classes, *space), without an estimate."""
    decoded = {(i, frame): torch.from_numpy(one.astype(np.float32)) for i, one in enumerate(p)}
    return Conditioner(replace(samples, _decoded=decoded, estimate=None))


def test_mean_and_weights_agree_with_a_computation_by_hand(drawn):
    samples, _ = drawn
    rng = np.random.default_rng(1)
    p = rng.dirichlet((1.0, 1.0, 1.0), (N, 20, 24)).transpose(0, 3, 1, 2).clip(0.01)
    p /= p.sum(1, keepdims=True)
    where = np.zeros(samples.shape, bool)
    where[2, 8, 9] = True
    result = constructed(samples, 2, p).condition(empty(samples).with_class(where, 2))

    odds = np.log(p[:, 2, 8, 9] / (1 - p[:, 2, 8, 9]))
    likelihood = p[:, 2, 8, 9] / p[:, 2, 8, 9].sum()
    np.testing.assert_allclose(result.weights, likelihood[None], rtol=1e-3)
    np.testing.assert_allclose(result.effective_samples, [1 / (likelihood**2).sum()], rtol=1e-3)

    scale = samples.mapping.inner[1] / 24 / (conditioning.REACH * min(samples.mapping.inner))
    x = np.log(p[:, :, 8, 11])
    covariance = ((odds - odds.mean())[:, None] * (x - x.mean(0))).sum(0) / (N - 1)
    gain = covariance / (odds.var(ddof=1) + conditioning.NOISE) * (1 - (2 * scale) ** 2) ** 4
    moved = np.exp(x + np.clip(conditioning.CERTAIN - odds, 0, None)[:, None] * gain)
    expected = (moved / moved.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(result.probability[:, 2, 8, 11], expected, rtol=1e-3)


def test_what_varies_with_the_stroke_follows_it_and_the_rest_stays(drawn):
    samples, _ = drawn
    p = np.full((N, 3, 20, 24), 1 / 3)
    certainty = np.array([0.1, 0.2, 0.4, 0.6])
    for column in (9, 10, 11):  # class 1 varies over the samples here, and is 1/3 elsewhere
        p[:, 1, 8, column] = certainty
        p[:, [0, 2], 8, column] = (1 - certainty[:, None]) / 2
    where = np.zeros(samples.shape, bool)
    where[2, 8, 9] = True
    conditioner = constructed(samples, 2, p)
    result = conditioner.condition(empty(samples).with_class(where, 1))
    before, after = p.mean(0)[1, 8, 10], result.probability[1, 2, 8, 10]
    assert after > before + 0.15
    np.testing.assert_allclose(result.probability[:, 2, 9, 9], 1 / 3, atol=1e-5)
    against = conditioner.condition(empty(samples).without_class(where, 1))
    assert against.probability[1, 2, 8, 10] < before - 0.05


def test_with_one_sample_only_the_known_voxels_change(drawn):
    samples, _ = drawn
    one = replace(samples, latents=samples.latents[:1], _labels={})
    where = disc(samples.shape, (2, 8, 9), 2)
    result = Conditioner(one).condition(empty(one).with_class(where, 2))
    before = Conditioner(one).condition(empty(one))
    assert (result.labels[where] == 2).all()
    np.testing.assert_allclose(
        result.probability[:, ~where], before.probability[:, ~where], atol=1e-6
    )
    np.testing.assert_array_equal(result.effective_samples, [1])


def test_a_stroke_changes_what_is_near_and_nothing_far(drawn):
    samples, posterior = drawn
    where = disc(samples.shape, (0, 3, 3), 1)
    result = Conditioner(samples).condition(empty(samples).with_class(where, 1))
    change = np.abs(result.probability - posterior.probability).max(0)
    change[where] = 0
    reach = conditioning.REACH * min(samples.mapping.inner)
    assert change[0].max() > 1e-3
    y, x = np.indices(samples.shape[1:])
    sy, sx = (samples.mapping.inner[a] / samples.shape[1 + a] for a in (0, 1))
    far = np.hypot((y - 3) * sy, (x - 3) * sx) > reach + 2
    assert change[:, far].max() < 1e-5
    # The effect on other slices falls with the distance, to none.
    by_slice = change.max((1, 2))
    assert by_slice[0] > by_slice[2] > 1e-5 > by_slice[conditioning.FRAME_REACH + 1]


def test_the_user_is_taken_at_their_word(drawn):
    samples, _ = drawn
    first = disc(samples.shape, (1, 6, 6), 3)
    second = disc(samples.shape, (1, 6, 9), 3)
    result = Conditioner(samples).condition(
        empty(samples).with_class(first, 2).with_class(second, 1)
    )
    assert (result.labels[second] == 1).all() and (result.labels[first & ~second] == 2).all()
    assert (result.error_probability[first | second] == 0).all()
    assert (result.probability[1][second] == 1).all()
    np.testing.assert_allclose(result.probability.sum(0), 1, atol=1e-3)


def test_not_this_class(drawn):
    samples, posterior = drawn
    frame = 3
    excluded = int(np.bincount(posterior.labels[frame].ravel(), minlength=3).argmax())
    where = disc(samples.shape, (frame, 10, 12), 4) & (posterior.labels == excluded)
    assert where.any()
    result = Conditioner(samples).condition(empty(samples).without_class(where, excluded))
    assert (result.labels[where] != excluded).all()
    assert (result.probability[excluded][where] == 0).all()
    assert (result.error_probability[where] > 0).any()


def test_the_same_evidence_gives_the_same_result(drawn):
    samples, _ = drawn
    evidence = empty(samples).with_class(disc(samples.shape, (1, 6, 6), 3), 2)
    conditioner = Conditioner(samples)
    one, again = conditioner.condition(evidence), conditioner.condition(evidence)
    other = Conditioner(samples).condition(evidence)
    for result in (again, other):
        np.testing.assert_array_equal(result.probability, one.probability)


def test_work_can_be_cancelled_and_taken_up_again(drawn):
    samples, _ = drawn
    evidence = empty(samples).with_class(disc(samples.shape, (1, 6, 6), 3), 2)
    conditioner, shares = Conditioner(samples), []

    def cancel(share):
        shares.append(share)
        if share > 0.3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        conditioner.condition(evidence, cancel)
    assert shares == sorted(shares)
    result = conditioner.condition(evidence)
    np.testing.assert_array_equal(
        result.probability, Conditioner(samples).condition(evidence).probability
    )


def test_strokes_from_known_voxels_are_the_pieces_per_class_and_frame():
    labels = np.zeros((2, 6, 6), np.uint8)
    labels[0, 1:3, 1:3] = 1
    labels[1, 1:3, 1:3] = 1
    labels[0, 4, 4] = 1
    labels[0, 1, 3] = 2
    known = labels > 0
    known[1, 5] = True
    evidence = evidence_from_labels(labels, known, 3, 2)
    found = sorted((s.allowed, s.voxels.tolist()) for s in evidence.strokes)
    expected = [((0,), [66, 67, 68, 69, 70, 71]), ((1,), [7, 8, 13, 14]), ((1,), [28])]
    expected += [((1,), [43, 44, 49, 50]), ((2,), [9])]
    assert found == expected


def test_newer_strokes_replace_older_ones_that_contradict_them():
    evidence = Evidence(
        (6,),
        3,
        (
            Stroke(np.array([0, 1, 2]), (1,)),
            Stroke(np.array([2, 3]), (2,)),
            Stroke(np.array([3, 4]), (0, 2)),
            Stroke(np.array([0]), (0, 2)),
        ),
    )
    voxels, possible = evidence.merged()
    assert voxels.tolist() == [0, 1, 2, 3, 4]
    one_hot = [[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 0, 1]]
    np.testing.assert_array_equal(possible, np.array(one_hot, bool))
    kept = [s.voxels.tolist() for s in evidence.effective_strokes()]
    assert kept == [[1], [2, 3], [3, 4], [0]]


def test_evidence_that_does_not_fit_is_refused(drawn):
    samples, _ = drawn
    with pytest.raises(ValueError, match="shape"):
        Conditioner(samples).condition(Evidence((20, 24), 3))
    for stroke in (
        Stroke(np.array([6]), (1,)),
        Stroke(np.array([0]), ()),
        Stroke(np.array([0]), (3,)),
    ):
        with pytest.raises(ValueError, match="stroke"):
            Evidence((6,), 3, (stroke,))


def test_the_kernel_ends_at_the_reach():
    np.testing.assert_allclose(falloff(np.array([0, 0.5, 1, 2])), [1, 0.75**4, 0, 0], rtol=1e-6)
