"""A line along the true edge of a class, drawn with the mouse in the Review tab."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from .conftest import click, drag, only_case, press, settle

SLICE = 4


@pytest.fixture
def edge(viewer, segmented, review):
    """Class 1 below class 2 in a slice, its edge three rows too low on the left and too high on the right."""
    labels = segmented[1]
    true = np.full(labels.data.shape[1:], 2, np.uint8)
    true[:12] = 1
    labels.data[SLICE] = true
    labels.data[SLICE, 12:15, 4:9] = 1
    labels.data[SLICE, 9:12, 13:18] = 2
    labels.refresh()
    settle(viewer)
    return labels, true


def draw(viewer, labels, review, value=1):
    """Choose the class, press A and draw along the true edge of class 1."""
    viewer.dims.set_point(0, labels.data_to_world((SLICE, 0, 0))[0])
    labels.selected_label = value
    labels.brush_size = 7
    press(viewer, Qt.Key.Key_A)
    drag(viewer, labels, (SLICE, 11, 2), (SLICE, 11, 20), value, labels.brush_size, pause=12)


def test_one_line_repairs_both_sides_and_one_undo_takes_it_back(
    viewer, segmented, review, edge, folder
):
    labels, true = edge
    before = labels.data.copy()
    draw(viewer, labels, review)
    np.testing.assert_array_equal(labels.data[SLICE], true)
    np.testing.assert_array_equal(np.delete(labels.data, SLICE, 0), np.delete(before, SLICE, 0))
    assert "30 voxels" in review.status.text()
    settle(viewer)
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)
    labels.undo()
    np.testing.assert_array_equal(labels.data, before)


def test_the_brush_comes_back_with_its_size(viewer, review, edge):
    labels, _ = edge
    viewer.layers.selection.active = labels
    labels.brush_size = 7
    click(review.regions.border)
    assert (labels.mode, labels.brush_size) == ("paint", 1)
    press(viewer, Qt.Key.Key_A)
    assert (labels.mode, labels.brush_size) == ("paint", 7)
    press(viewer, Qt.Key.Key_A)
    press(viewer, Qt.Key.Key_1)  # napari's eraser
    assert labels.brush_size == 7
    drag(viewer, labels, (SLICE, 11, 2), (SLICE, 11, 20), 1, size=1)
    assert (labels.data[SLICE, 12:15, 4:9] == 1).all()  # a stroke of the brush, not of the pen


def test_reviewed_voxels_stay(viewer, review, edge):
    labels, true = edge
    reviewed = np.zeros(labels.data.shape, bool)
    reviewed[SLICE, 12:15, 4:9] = True
    review.project_state.reviews.mark(labels, np.nonzero(reviewed), True)
    before = labels.data.copy()
    draw(viewer, labels, review)
    np.testing.assert_array_equal(labels.data[reviewed], before[reviewed])
    wrong = labels.data[SLICE] != true
    np.testing.assert_array_equal(wrong, reviewed[SLICE])
