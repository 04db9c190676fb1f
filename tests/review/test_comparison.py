"""Two label maps compared: equal ones, shifted ones, other classes, frames."""

import numpy as np
import pytest

from napari_ldseg.review.comparison import KINDS, compare


def cube(start, shape=(20, 24), value=1, side=6):
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(s, s + side) for s in start)] = value
    return labels


def test_equal_label_maps_are_the_same():
    labels = cube((3, 4), value=3)
    found = compare(labels, labels.copy(), (0.5, 0.5))
    (one,) = found.classes
    assert (one.value, one.dsc, one.hd95, one.difference) == (3, 1, 0, 0)
    assert one.first == one.second == 9 and not found.difference.any()


@pytest.mark.parametrize("shape, spacing", [((20, 24), (2, 0.5)), ((9, 20, 24), (3, 2, 0.5))])
def test_a_shift_has_known_metrics_in_the_spacings_unit(shape, spacing):
    start = (2,) * len(shape)
    first, second = cube(start, shape), cube((*start[:-1], 4), shape)
    found = compare(first, second, spacing)
    (one,) = found.classes
    assert one.dsc == pytest.approx(4 / 6)
    assert one.hd95 == pytest.approx(1.0)
    assert one.first == one.second == np.prod(spacing) * 6 ** len(shape)
    side = 6 ** (len(shape) - 1)
    counts = np.bincount(found.difference.ravel(), minlength=len(KINDS))
    assert counts[1:].tolist() == [2 * side, 2 * side, 0]


def test_classes_are_compared_by_value_and_one_that_only_one_has_is_listed():
    first, second = cube((2, 2)), cube((2, 2), side=5).astype(np.uint16)
    second[second > 0] = 300
    found = compare(first, second, (1, 1))
    assert [(c.value, c.dsc, c.hd95) for c in found.classes] == [(1, 0, None), (300, 0, None)]
    assert [c.difference for c in found.classes] == [-36, 25]
    kinds = found.difference
    assert KINDS[kinds[3, 3]] == "another class" and KINDS[kinds[7, 7]] == "only in the first"
    assert KINDS[compare(second, first, (1, 1)).difference[7, 7]] == "only in the second"
    assert kinds.dtype == np.uint8


def test_empty_label_maps_have_no_classes():
    empty = np.zeros((5, 5), np.uint8)
    found = compare(empty, empty, (1, 1))
    assert found.classes == () and not found.difference.any()


def test_of_a_loop_the_distance_is_the_mean_over_the_frames_with_both():
    first = np.stack([cube((2, 2)), cube((2, 2)), cube((2, 2))])
    second = np.stack([cube((2, 4)), cube((2, 3)), np.zeros((20, 24), np.uint8)])
    (one,) = compare(first, second, (1, 1)).classes
    assert one.hd95 == pytest.approx(1.5)
    assert one.dsc == pytest.approx(2 * (24 + 30) / (108 + 72))


def test_label_maps_of_different_grids_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(np.zeros((4, 4), int), np.zeros((4, 5), int), (1, 1))
