"""The metrics of an evaluation against values by hand and independent brute force."""

import itertools
import math

import numpy as np
import pytest

from napari_ldseg.datasets.case import consensus
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.noise import add_noise
from napari_ldseg.evaluation.overlap import mean_dsc, overlap
from napari_ldseg.evaluation.readers import energy_distance, matched_iou, pairwise_iou
from napari_ldseg.evaluation.surface import surface_metrics
from napari_ldseg.evaluation.uncertainty import (
    boundary_distance,
    entropy,
    error_auroc,
    near_boundary,
    reliability,
    reliability_sums,
)
from napari_ldseg.scans.scan import Scan


def square(low, high, size=20):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = 1
    return mask


def test_overlap_is_zero_for_a_class_that_only_one_has():
    label, expert = np.array([[0, 1, 1, 2, 0]]), np.array([[0, 1, 0, 0, 3]])
    dsc, iou = overlap(label, expert, 5)
    np.testing.assert_allclose(dsc, [2 / 3, 0, 0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(iou, [1 / 2, 0, 0, np.nan], rtol=1e-6)


def test_a_correctly_empty_case_is_not_the_worst_one():
    empty, mask = np.zeros((20, 20), np.uint8), square(5, 15)
    assert mean_dsc(empty, empty, 3) == 1
    assert mean_dsc(mask, mask, 3) == 1, "a class that neither has must not count"
    assert mean_dsc(mask, empty, 3) == 0


def test_surfaces_of_a_shifted_square():
    """Two edges are shifted by 2 pixels of 0.5 mm; the others partly coincide."""
    expert, label = np.zeros((2, 20, 20), np.uint8)
    expert[5:15, 5:15], label[5:15, 7:17] = 1, 1
    hd95, nsd = surface_metrics(label, expert, 2, (1.0, 0.5), 0.4)
    assert hd95[0] == pytest.approx(1.0)
    # Of each outline's 36 pixels, 2 x 8 on the edges along the shift coincide.
    assert nsd[0] == pytest.approx(16 / 36)
    assert surface_metrics(label, expert, 2, (1.0, 0.5), 1.0)[1, 0] == 1
    assert surface_metrics(label, expert, 2, (10.0, 5.0), 1.0)[0, 0] == pytest.approx(10)


def test_surfaces_against_brute_force_on_anisotropic_voxels():
    rng = np.random.default_rng(0)
    spacing, tolerance = np.array([2.0, 1.0, 0.5]), 1.2
    expert, label = (rng.random((2, 6, 8, 9)) > 0.6).astype(np.uint8)

    def surface(mask):
        padded = np.pad(mask, 1).astype(bool)
        inside = padded.copy()
        for axis, step in itertools.product(range(3), (-1, 1)):
            inside &= np.roll(padded, step, axis)
        return (np.argwhere(padded & ~inside) - 1) * spacing

    a, b = surface(label), surface(expert)
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    to_b, to_a = distances.min(1), distances.min(0)
    hd95, nsd = surface_metrics(label, expert, 2, spacing, tolerance)
    assert hd95[0] == pytest.approx(max(np.percentile(to_b, 95), np.percentile(to_a, 95)))
    near = (to_b <= tolerance).sum() + (to_a <= tolerance).sum()
    assert nsd[0] == pytest.approx(near / (len(to_b) + len(to_a)))


def test_surfaces_where_a_class_is_missing():
    label, expert = square(2, 5), np.zeros((20, 20), np.uint8)
    expert[10:15, 10:15] = 2
    hd95, nsd = surface_metrics(label, expert, 4, (3.0, 4.0), 1)
    np.testing.assert_allclose(hd95, [100, 100, np.nan])
    np.testing.assert_allclose(nsd, [0, 0, np.nan])


def test_bootstrap_draws_patients_not_cases():
    """Ten copies of each patient's case give the same interval as one case each."""
    values, patients = [0.2, 0.5, 0.6, 0.9], ["a", "b", "c", "d"]
    once = mean_by_patient(values, patients, seed=3)
    copied = mean_by_patient(np.repeat(values, 10), np.repeat(patients, 10).tolist(), seed=3)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert (once.cases, once.patients, copied.cases, copied.patients) == (4, 4, 40, 4)
    single = mean_by_patient(np.repeat(values, 10), [str(i) for i in range(40)], seed=3)
    assert single.high - single.low < 0.5 * (once.high - once.low)
    means = [np.mean(draw) for draw in itertools.product(values, repeat=4)]
    assert once.value == pytest.approx(0.55)
    assert once.low == pytest.approx(np.percentile(means, 2.5), abs=0.03)
    assert once.high == pytest.approx(np.percentile(means, 97.5), abs=0.03)


def test_bootstrap_weights_patients_by_their_cases_and_ignores_nan():
    found = mean_by_patient([1, 1, 0, np.nan], ["a", "a", "b", "c"])
    assert (found.value, found.cases, found.patients) == (pytest.approx(2 / 3), 3, 2)
    assert (found.low, found.high) == (0, 1)
    assert mean_by_patient([np.nan], ["a"]) is None
    one_patient = mean_by_patient([0.5, 0.7], ["a", "a"])
    assert one_patient.value == 0.6 and one_patient.low is None and one_patient.high is None
    values, owners = np.random.default_rng(0).random(30), [str(i) for i in range(30)]
    estimates = [mean_by_patient(values, owners, seed) for seed in (0, 0, 1)]
    assert estimates[0] == estimates[1] != estimates[2]


def test_auroc_against_every_pair():
    rng = np.random.default_rng(1)
    score, error = rng.integers(0, 6, 60) / 5, rng.random(60) > 0.7
    pairs = [(a > b) + 0.5 * (a == b) for a in score[error] for b in score[~error]]
    assert error_auroc(score, error) == pytest.approx(np.mean(pairs))
    assert error_auroc(error.astype(float), error) == 1
    assert math.isnan(error_auroc(score, error & False))
    assert math.isnan(error_auroc(score, error | True))


def test_boundary_has_both_sides_and_distances_count_voxels():
    label = np.zeros((1, 12), np.uint8)
    label[:, 6:] = 2
    distance = boundary_distance(label)
    np.testing.assert_array_equal(distance[0], [5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5])
    assert near_boundary(label, 2).sum() == 6
    assert boundary_distance(label * 0) is None and not near_boundary(label * 0).any()


def test_entropy():
    p = np.array([[0.5, 1.0], [0.5, 0.0]])
    np.testing.assert_allclose(entropy(p), [np.log(2), 0], atol=1e-9)


def test_calibration_error_against_a_loop_over_bins():
    rng = np.random.default_rng(2)
    cases, confidences, hits = [], [], []
    for _ in range(3):
        p = rng.dirichlet((1, 1, 1), 500).T.astype(np.float32)
        expert = rng.integers(0, 3, 500)
        cases.append(reliability_sums(p, expert))
        confidences.append(p.max(0))
        hits.append(p.argmax(0) == expert)
    confidence, hit = np.concatenate(confidences), np.concatenate(hits)
    expected = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if inside.any():
            gap = abs(hit[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    found = reliability(np.stack(cases), ["a", "b", "c"])
    assert found.error.value == pytest.approx(expected, abs=1e-5)
    assert found.error.low <= found.error.value <= found.error.high
    assert found.sums[2].sum() == 1500 and found.error.patients == 3
    perfect = reliability_sums(np.eye(2, dtype=np.float32)[:, [0, 1, 1]], np.array([0, 1, 1]))
    assert reliability(perfect[None], ["a"]).error.value == pytest.approx(0, abs=1e-6)
    assert reliability(np.zeros((1, 3, 15)), ["a"]) is None


def brute_iou(a, b, classes):
    values = []
    for c in range(1, classes):
        union = ((a == c) | (b == c)).sum()
        values.append(((a == c) & (b == c)).sum() / union if union else 1.0)
    return np.mean(values)


@pytest.mark.parametrize("classes", [2, 3])
def test_energy_distance_and_matching_against_brute_force(classes):
    rng = np.random.default_rng(4)
    samples = [rng.integers(0, classes, (4, 5)) for _ in range(4)]
    readers = [*(rng.integers(0, classes, (4, 5)) for _ in range(1)), np.zeros((4, 5), int)]

    def d(first, second):
        return np.mean([[1 - brute_iou(a, b, classes) for b in second] for a in first])

    expected = 2 * d(samples, readers) - d(samples, samples) - d(readers, readers)
    assert energy_distance(samples, readers, classes) == pytest.approx(expected)
    best = max(
        np.mean([brute_iou(s, r, classes) for s, r in zip(samples, order, strict=True)])
        for order in itertools.permutations(readers * 2)
    )
    assert matched_iou(samples, readers, classes) == pytest.approx(best)
    assert energy_distance(readers, readers, classes) == pytest.approx(0)
    assert matched_iou(readers, readers, classes) == 1


def test_two_empty_masks_agree():
    empty, full = np.zeros((3, 3), int), np.ones((3, 3), int)
    np.testing.assert_array_equal(pairwise_iou([empty, full], [empty], 2), [[1], [0]])


def test_matching_repeats_to_the_least_common_multiple():
    empty, full = np.zeros((3, 3), int), np.ones((3, 3), int)
    # 2 samples and 3 readers: each is repeated to 6; 3 full samples meet 4 full readers.
    assert matched_iou([empty, full], [full, full, empty], 2) == pytest.approx(5 / 6)


def test_majority_of_the_readers():
    labels = [np.array([0, 1, 1, 2, 0]), np.array([0, 0, 1, 2, 0])]
    labels += [np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 1])]
    np.testing.assert_array_equal(consensus(labels), [0, 1, 1, 2, 0])


def test_noise_as_in_the_paper():
    ramp = np.linspace(-50, 150, 400, dtype=np.float32).reshape(20, 20)
    scan = Scan(ramp, name="ramp")
    clean, weak, strong = (add_noise(scan, sd, seed=1).array for sd in (0, 0.05, 0.2))
    np.testing.assert_allclose(clean, (ramp + 50) / 200, atol=1e-6)
    for noisy in (weak, strong):
        assert (noisy.min(), noisy.max()) == (0, 1)
    for noisy, sd in ((weak, 0.05), (strong, 0.2)):
        # Fit the second mapping, which has two parameters; the residual is the noise.
        matrix = np.stack([clean.ravel(), np.ones(400)], 1)
        solution = np.linalg.lstsq(matrix, noisy.ravel(), rcond=None)[0]
        residual = (noisy.ravel() - matrix @ solution) / solution[0]
        assert residual.std() == pytest.approx(sd, rel=0.12)
    np.testing.assert_array_equal(strong, add_noise(scan, 0.2, seed=1).array)
    assert not np.array_equal(strong, add_noise(scan, 0.2, seed=2).array)
    assert not np.array_equal(strong, add_noise(Scan(ramp, name="other"), 0.2, seed=1).array)
