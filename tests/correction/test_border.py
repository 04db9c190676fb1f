"""A line along the true edge of a class changes both of its sides."""

import numpy as np

from napari_ldseg.correction.border import redraw_border


def redrawn(labels, points, value):
    change = redraw_border(labels, np.array(points, float), value)
    new = labels.copy()
    new[change.indices] = change.after
    return new


def test_the_class_ends_at_the_line_on_both_sides():
    """The labels' edge is a wave about the true one: one line removes what is over it and fills what lacks."""
    true = np.zeros((80, 90), np.uint8)
    true[:40] = 1
    true[60:] = 2
    labels = true.copy()
    labels[40:47, 20:40] = 1
    labels[32:40, 50:70] = 0
    np.testing.assert_array_equal(redrawn(labels, [(39, 15), (39, 75)], 1), true)
    np.testing.assert_array_equal(redrawn(labels[::-1], [(40, 15), (40, 75)], 1), true[::-1])
    ends = redrawn(labels, [(39, 22), (39, 67)], 1)  # the ends are joined to the edge near them
    assert (ends != true).sum() < 0.15 * (labels != true).sum()


def test_a_piece_that_is_cut_off_becomes_the_class_beside_it():
    labels = np.zeros((60, 60), np.uint8)
    labels[:, 20:] = 2
    labels[:, 30:] = 1
    labels[20:40, 24:30] = 1  # over the true edge at column 30, into class 2
    true = labels.copy()
    true[20:40, 24:30] = 2
    np.testing.assert_array_equal(redrawn(labels, [(17, 30), (42, 30)], 1), true)


def test_a_line_inside_a_class_or_across_nothing_changes_only_itself():
    labels = np.zeros((80, 80), np.uint8)
    labels[10:70, 10:70] = 1
    np.testing.assert_array_equal(redrawn(labels, [(40, 30), (40, 50)], 1), labels)
    new = redrawn(labels, [(40, 30), (40, 50)], 2)
    assert (new != labels).sum() == 21
    assert not len(redraw_border(labels, np.array([(100.0, 5.0), (120.0, 5.0)]), 1))


def test_what_goes_on_beyond_the_surroundings_of_a_short_line_stays():
    labels = np.zeros((200, 200), np.uint8)
    labels[98:103] = 1  # a thin band; a short line across it cuts nothing off
    new = redrawn(labels, [(95, 100), (105, 100)], 1)
    assert (new != labels).sum() == 6
