"""The posterior given evidence: weights by hand, exact evidence, locality."""

import numpy as np
import pytest
import torch

from napari_ldseg.inference import conditioning
from napari_ldseg.inference.conditioning import Conditioner, falloff, log_likelihood
from napari_ldseg.inference.evidence import Evidence, Stroke, evidence_from_labels
from napari_ldseg.inference.segment import PosteriorSampler
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
    result = Conditioner(samples).condition(empty(samples))
    np.testing.assert_allclose(result.mean_probability, posterior.mean_probability, atol=1e-5)
    np.testing.assert_array_equal(result.labels, posterior.labels)
    np.testing.assert_allclose(result.error_probability, posterior.error_probability, atol=1e-5)
    np.testing.assert_array_equal(result.runner_up, posterior.runner_up)
    assert result.weights.shape == (0, N) and result.redrawn == 0


def test_the_log_likelihood_is_the_mean_over_the_stroke_of_the_possible_classes():
    p = torch.tensor([[[0.2, 0.9, 0.5], [0.3, 0.1, 0.5], [0.5, 0.0, 0.0]]])  # (1, 3 classes, 3)
    one = log_likelihood(p, np.array([0, 2]), (1,))
    np.testing.assert_allclose(one, [(np.log(0.3) + np.log(0.5)) / 2], rtol=1e-6)
    either = log_likelihood(p, np.array([0, 1]), (1, 2))
    np.testing.assert_allclose(either, [(np.log(0.8) + np.log(0.1)) / 2], rtol=1e-6)
    never = log_likelihood(p, np.array([1, 2]), (2,))
    np.testing.assert_allclose(never, [np.log(conditioning.SMALLEST_PROBABILITY)], rtol=1e-6)


def test_weights_and_mean_agree_with_a_computation_by_hand(drawn):
    samples, posterior = drawn
    frame = 2
    where = disc(samples.shape, (frame, 8, 9), 2)
    result = Conditioner(samples, posterior.mean_probability).condition(
        empty(samples).with_class(where, 2)
    )
    p = np.stack([samples.probabilities(i, frame).numpy() for i in range(N)])
    scores = np.log(np.clip(p[:, 2][:, where[frame]], 1e-3, 1)).mean(1)
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(result.weights, weights[None], rtol=1e-5)
    np.testing.assert_allclose(result.effective_samples, [1 / (weights**2).sum()], rtol=1e-5)

    at = (8, 12)  # one voxel to the right of the disc, which ends at 11
    scale = samples.mapping.inner[1] / 24 / (conditioning.REACH * min(samples.mapping.inner))
    local = np.exp(scores * (1 - scale**2) ** 4)
    expected = (local[:, None] * p[:, :, *at]).sum(0) / local.sum()
    np.testing.assert_allclose(result.mean_probability[:, frame, *at], expected, rtol=1e-4)


def test_a_stroke_changes_what_is_near_and_nothing_far(drawn):
    samples, posterior = drawn
    where = disc(samples.shape, (0, 3, 3), 1)
    result = Conditioner(samples).condition(empty(samples).with_class(where, 1))
    change = np.abs(result.mean_probability - posterior.mean_probability).max(0)
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
    assert (result.mean_probability[1][second] == 1).all()
    np.testing.assert_allclose(result.mean_probability.sum(0), 1, atol=1e-5)


def test_not_this_class(drawn):
    samples, posterior = drawn
    frame = 3
    excluded = int(np.bincount(posterior.labels[frame].ravel(), minlength=3).argmax())
    where = disc(samples.shape, (frame, 10, 12), 4) & (posterior.labels == excluded)
    assert where.any()
    result = Conditioner(samples).condition(empty(samples).without_class(where, excluded))
    assert (result.labels[where] != excluded).all()
    assert (result.mean_probability[excluded][where] == 0).all()
    assert (result.error_probability[where] > 0).any()
    p = np.stack([samples.probabilities(i, frame).numpy() for i in range(N)])
    scores = np.log(np.clip(1 - p[:, excluded][:, where[frame]], 1e-3, 1)).mean(1)
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(result.weights[0], weights, rtol=1e-4)


def test_the_same_evidence_gives_the_same_result(drawn):
    samples, _ = drawn
    evidence = empty(samples).with_class(disc(samples.shape, (1, 6, 6), 3), 2)
    conditioner = Conditioner(samples)
    one, again = conditioner.condition(evidence), conditioner.condition(evidence)
    other = Conditioner(samples).condition(evidence)
    for result in (again, other):
        np.testing.assert_array_equal(result.mean_probability, one.mean_probability)


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
        result.mean_probability, Conditioner(samples).condition(evidence).mean_probability
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
