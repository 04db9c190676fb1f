"""The alternatives among the samples of one case, and their comparison with the readers."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from napari_ldseg.evaluation.alternatives import (
    alternative_metrics,
    find_alternatives,
    group_similar,
    mean_distance,
)
from napari_ldseg.evaluation.bootstrap import patient_weights, rank_correlation_by_patient

NOTHING = np.zeros((40, 40), np.uint8)


def disc(y, x, radius, value=1):
    rows, columns = np.indices((40, 40))
    return (((rows - y) ** 2 + (columns - x) ** 2 <= radius**2) * value).astype(np.uint8)


def jittered(number, y=20, x=20, radius=7.0, seed=0):
    """``number`` versions of one outline with position and size off by up to a pixel."""
    rng = np.random.default_rng(seed)
    moves = rng.uniform(-1, 1, (number, 3))
    return [disc(y + down, x + across, radius + wider) for down, across, wider in moves]


def shares(found):
    return [len(one.members) for one in found]


def test_two_modes_are_found_with_their_shares():
    large, small = jittered(11, radius=9), jittered(5, y=12, x=12, radius=5, seed=1)
    samples = [*small[:2], *large[:6], *small[2:], *large[6:]]
    found = find_alternatives(samples, 2)
    assert shares(found) == [11, 5]
    assert set(found[1].members) == {0, 1, 8, 9, 10}
    for one in found:
        assert one.similar and one.medoid in one.members
        distance = [
            sum(mean_distance([samples[i], samples[j]], 2) for j in one.members)
            for i in one.members
        ]
        assert distance[one.members.index(one.medoid)] == pytest.approx(min(distance))


def test_one_mode_with_jitter_is_one_alternative():
    for radius, seed in itertools.product((5, 7, 12), range(10)):
        found = find_alternatives(jittered(16, radius=radius, seed=seed), 2)
        assert shares(found) == [16] and found[0].similar


def test_one_outlier_makes_no_second_alternative():
    found = find_alternatives([*jittered(15), disc(8, 8, 3)], 2)
    assert shares(found) == [15] and 15 not in found[0].members


def test_sixteen_empty_samples_are_one_alternative():
    found = find_alternatives([NOTHING] * 16, 2)
    assert shares(found) == [16]
    assert find_alternatives([NOTHING], 2)[0].members == (0,)


def test_different_samples_with_a_structure_are_an_alternative_to_empty_ones():
    places = [disc(5, 5, 3), disc(20, 20, 3), disc(33, 8, 3)]
    first, second = find_alternatives([NOTHING] * 9 + places, 2)
    assert len(first.members) == 9 and first.similar
    assert second.members == (9, 10, 11) and not second.similar
    # One of them is no alternative, and if there is an agreed outline the others are single samples.
    assert shares(find_alternatives([NOTHING] * 9 + places[:1], 2)) == [9]
    assert shares(find_alternatives([*jittered(9, y=12, x=28), *places], 2)) == [9]
    # If all samples disagree, they are one broad alternative.
    assert shares(find_alternatives(places, 2)) == [3]
    assert shares(find_alternatives([NOTHING, places[0]], 2)) == [1]


def test_the_order_of_the_samples_does_not_matter():
    rng = np.random.default_rng(5)
    random = [disc(*rng.uniform(12, 28, 2), rng.uniform(3, 9)) for _ in range(12)]
    samples = [*random, NOTHING, NOTHING, random[0], random[3]]

    def outlines(labels):
        return [(labels[a.medoid].tobytes(), len(a.members)) for a in find_alternatives(labels, 2)]

    expected = outlines(samples)
    assert len(expected) > 1
    for _ in range(20):
        assert outlines([samples[i] for i in rng.permutation(len(samples))]) == expected


def test_two_classes_and_volumes():
    both = disc(12, 12, 6) + disc(28, 28, 6, 2)
    # One of two classes is missing, the other is equal: d = 0.5, which is not different.
    assert shares(group_similar([both, disc(12, 12, 6)], 3)) == [2]
    volumes = [np.stack([label] * 3) for label in (both, NOTHING, both, NOTHING)]
    assert shares(find_alternatives(volumes, 3)) == [2, 2]


def test_the_metrics_of_a_case():
    """Readers: two outline a disc, one another disc, one nothing; samples: the first disc or nothing."""
    here, there = disc(12, 12, 6), disc(28, 28, 6)
    readers = [here, here, there, NOTHING]
    samples = [here] * 5 + [NOTHING] * 3
    found = alternative_metrics(find_alternatives(samples, 2), samples, readers, 2)
    assert found["alternatives", None] == 2 and found["different readings", None] == 3
    cases_with = [
        found["cases with", f"{n}"]
        for n in ("one alternative", "two alternatives", "more alternatives")
    ]
    assert cases_with == [False, True, False]
    assert found["readers covered", "by the first alternative"] == 0.5
    assert found["readers covered", "by any alternative"] == 0.75
    assert found["distance", "between samples"] == pytest.approx(15 / 28)
    assert found["distance", "between readers"] == pytest.approx(5 / 6)
    assert found["single samples", None] == 0
    assert found["empty label maps", "of the samples"] == 3 / 8
    assert found["empty label maps", "of the readers"] == 1 / 4
    found = alternative_metrics(
        find_alternatives([*samples, there], 2), [*samples, there], readers, 2
    )
    assert found["single samples", None] == pytest.approx(1 / 9)


@pytest.mark.slow
def test_rank_correlation_by_patient():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 24).astype(float)
    y = x + rng.normal(0, 3, 24)
    patients = [f"p{i // 2}" for i in range(24)]
    found = rank_correlation_by_patient(x, y, patients, 3)
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert (found.cases, found.patients) == (24, 12)
    resampled = [
        spearmanr(np.repeat(x, w), np.repeat(y, w)).statistic for w in patient_weights(patients, 3)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])))
    assert rank_correlation_by_patient(x, x * 0, patients) is None
    assert rank_correlation_by_patient([1.0], [2.0], ["a"]) is None
    assert rank_correlation_by_patient(x, -x, ["a"] * 24).low is None
