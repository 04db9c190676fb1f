"""The distinct outlines among samples of one region."""

import numpy as np

from napari_ldseg.review.outlines import MOST, distinct_outlines


def square(width):
    label = np.zeros((40, 40), np.uint8)
    label[5:35, 5 : 5 + width] = 1
    return label


def test_outlines_of_one_structure_are_told_apart_and_equal_ones_counted_together():
    found = distinct_outlines([square(w) for w in (20, 20, 24, 20, 16, 24)], 2)
    assert [set(one.members) for one in found] == [{0, 1, 3}, {2, 5}, {4}]
    assert all(one.medoid in one.members for one in found)


def test_there_are_no_more_than_a_person_compares_at_a_glance():
    found = distinct_outlines([square(w) for w in range(6, 30, 3)], 2)
    assert len(found) == MOST
    assert sorted(i for one in found for i in one.members) == list(range(8))


def test_samples_that_agree_are_one_outline():
    assert [one.members for one in distinct_outlines([square(9)] * 3, 2)] == [(0, 1, 2)]
    assert [one.members for one in distinct_outlines([square(9)], 2)] == [(0,)]
