"""The sizes that the tabs show are those of the labels as they are now, in fitting units."""

import numpy as np
import pytest

from napari_ldseg.widgets.common.sizes import count_labels

from .conftest import paint_at, result_layer


@pytest.fixture
def correct(viewer):
    """The Correct widget, docked."""
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    return correct


@pytest.fixture
def result(viewer, widget, run, model_file):
    """Factory: segment an image of random values, return the labels layer."""

    def make(shape, dims=2, samples=3, **attributes):
        image = np.random.default_rng(0).integers(0, 99, shape).astype(np.uint8)
        viewer.add_image(image, name="scan", **attributes)
        widget.model.choose(model_file(dims, classes=3))
        run(samples=samples)
        return result_layer(viewer, "labels")

    return make


def cell(widget, row, column):
    return widget.legend._table.item(row, column).text()


def count_text(labels, value):
    return f"{np.count_nonzero(labels.data == value):,}"


def test_the_sizes_follow_the_corrections_and_lose_the_interval(
    qtbot, viewer, widget, correct, panel, result
):
    labels = result((60, 90))
    before = count_text(labels, 1)
    qtbot.waitUntil(lambda: cell(widget, 0, 1) == before)
    assert " – " in cell(widget, 0, 2)
    index = tuple(int(i) for i in np.argwhere(labels.data != 1)[40])
    paint_at(viewer, labels, index, 1)
    after = count_text(labels, 1)
    assert after != before
    qtbot.waitUntil(lambda: cell(widget, 0, 1) == after, timeout=5000)
    assert cell(widget, 0, 2) == "corrected"
    in_correct = correct.class_list.topLevelItem(0)
    assert in_correct.text(1) == f"{after} pixels"
    assert before in in_correct.toolTip(1)
    assert f"class 1 {after} pixels (corrected)" in panel.review.sizes_shown.text()
    labels.undo()
    qtbot.waitUntil(lambda: cell(widget, 0, 1) == before, timeout=5000)
    assert (
        " – " in cell(widget, 0, 2) and "class 1 (corrected)" not in panel.review.sizes_shown.text()
    )


def test_a_2d_image_has_pixels_or_mm2_and_large_counts_have_separators(
    qtbot, viewer, widget, result
):
    labels = result((120, 130))
    headings = [widget.legend._table.horizontalHeaderItem(i).text() for i in (1, 2)]
    assert all(text.endswith("pixels") for text in headings)
    texts = [cell(widget, row, 1) for row in range(2)]
    assert texts == [count_text(labels, 1), count_text(labels, 2)]
    assert any("," in text for text in texts)


def test_a_2d_image_in_millimetres_has_mm2(qtbot, viewer, widget, correct, result):
    labels = result((120, 130), units="mm", scale=(0.5, 2))
    assert widget.legend._table.horizontalHeaderItem(1).text() == "labels\nmm²"
    assert cell(widget, 0, 1) == count_text(labels, 1)
    item = correct.class_list.topLevelItem(0)
    qtbot.waitUntil(lambda: item_text(correct).endswith(" mm²"), timeout=5000)
    assert item is not None


def item_text(correct):
    return correct.class_list.topLevelItem(0).text(1)


def test_the_sizes_of_a_part_are_compared_with_that_part(qtbot, viewer, widget, result, run):
    labels = result((12, 40, 40), samples=2)
    viewer.dims.set_current_step(0, 7)
    widget.this_slice.setChecked(True)
    run(samples=3)
    part = f"{np.count_nonzero(labels.data[7] == 1):,}"
    qtbot.wait(600)
    assert cell(widget, 0, 1) == part and " – " in cell(widget, 0, 2)


def test_counts_are_right_for_any_labels():
    rng = np.random.default_rng(0)
    for dtype in (np.uint8, np.int16, np.int32):
        labels = rng.integers(0, 200, (30, 40)).astype(dtype)
        expected = np.bincount(labels.ravel(), minlength=256)
        np.testing.assert_array_equal(count_labels(labels), expected)
        np.testing.assert_array_equal(count_labels(labels.T), expected)
    counts = count_labels(np.array([[-3, 5, 700, 70_000]]))
    assert counts[5] == counts[700] == 1 and counts.sum() == 2
