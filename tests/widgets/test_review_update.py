"""Corrections and hints change the rest of the labels: asked for, shown, accepted or rejected."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from .conftest import click, drag, only_case, other_value, paint_at, press, result_layer, settle

START, STOP = (4, 10, 8), (4, 10, 18)


@pytest.fixture
def stroke(viewer, segmented, review):
    """A stroke of another class on the labels; returns the voxels it changed."""
    labels = segmented[1]
    before = labels.data.copy()
    drag(viewer, labels, START, STOP, other_value(labels, START), size=5)
    return labels.data != before


def ask(qtbot, viewer, review):
    """Press U and wait for the answer."""
    press(viewer, Qt.Key.Key_U)
    assert review.updater.busy
    qtbot.waitUntil(lambda: not review.updater.busy, timeout=20_000)


def test_an_update_is_shown_then_fills_only_what_is_not_protected(
    qtbot,
    viewer,
    segmented,
    review,
    stroke,
    folder,
):
    labels, mine = segmented[1], segmented[1].data.copy()
    ask(qtbot, viewer, review)
    np.testing.assert_array_equal(labels.data, mine)
    preview = result_layer(viewer, "would change")
    changing = preview.data != 0
    assert changing.any() and not (changing & stroke).any()
    part = review.update_part
    assert f"would change {changing.sum():,} voxels" in part.notice.text.text()
    assert "Not calibrated" in part.notice.text.text()
    assert "of 2" in part.note.text()
    error = review.reviewer.error_left
    unsure = result_layer(viewer, "uncertainty")
    before = unsure.data.copy()
    press(viewer, Qt.Key.Key_U)
    # The layer shows the uncertainty that is left, none where the user has said what it is.
    assert before[stroke].any() and not unsure.data[stroke].any()
    assert unsure.data is review.reviewer.maps["predictive_sd"] and unsure.visible
    np.testing.assert_array_equal(labels.data != mine, changing)
    assert not part.notice.isVisible() and preview not in viewer.layers
    qtbot.waitUntil(lambda: not review.reviewer.busy, timeout=10_000)
    assert review.reviewer.error_left != error
    settle(viewer)
    case = only_case(folder)
    masks = case.load()
    np.testing.assert_array_equal(masks.label, labels.data)
    np.testing.assert_array_equal(masks.edited, stroke)
    qtbot.waitUntil(
        lambda: np.allclose(case.load_maps()["predictive_sd"], unsure.data, atol=1e-6),
        timeout=10_000,
    )
    run = case.record().runs[-1]
    assert run["conditioned"]["strokes"] >= 1 and not run["calibrated"]["intervals"]
    labels.undo()
    np.testing.assert_array_equal(labels.data, mine)


def test_after_an_update_the_region_that_was_shown_is_shown_again(
    qtbot, viewer, segmented, review, stroke
):
    press(viewer, Qt.Key.Key_Period)
    press(viewer, Qt.Key.Key_Period)
    peak = review.reviewer.region.peak
    ask(qtbot, viewer, review)
    press(viewer, Qt.Key.Key_U)
    qtbot.waitUntil(lambda: not review.reviewer.busy, timeout=10_000)
    region = review.reviewer.region
    local = tuple(i - s.start for i, s in zip(peak, region.box, strict=True))
    assert region.mask[local]
    outline = result_layer(viewer, "region")
    assert outline.data[peak] and outline.visible


def test_a_rejected_update_changes_nothing(qtbot, viewer, segmented, review, stroke):
    labels, mine = segmented[1], segmented[1].data.copy()
    ask(qtbot, viewer, review)
    click(review.update_part.notice.second)
    np.testing.assert_array_equal(labels.data, mine)
    assert not [layer for layer in viewer.layers if layer.name.startswith("would")]


def test_the_keys_stay_with_the_image_after_a_click(qtbot, viewer, review, stroke):
    canvas = viewer.window._qt_viewer.canvas.native
    part = review.update_part
    viewer.window.activate()
    canvas.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is canvas)
    ask(qtbot, viewer, review)
    for button, key, by in (
        (part.is_not, Qt.Key.Key_Right, 1),
        (part.notice.second, Qt.Key.Key_Left, -1),
    ):
        click(button)
        before = viewer.dims.current_step[0]
        QTest.keyClick(QApplication.focusWidget(), key)
        assert viewer.dims.current_step[0] == before + by


def test_a_reviewed_region_stays_as_it_is(qtbot, viewer, segmented, review, stroke):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_Period)
    region = review.reviewer.region
    press(viewer, Qt.Key.Key_Y)
    seen = labels.data[region.box][region.mask].copy()
    ask(qtbot, viewer, review)
    click(review.update_part.notice.first)
    np.testing.assert_array_equal(labels.data[region.box][region.mask], seen)


def test_hints_say_what_is_and_what_is_not(qtbot, viewer, segmented, review):
    labels = segmented[1]
    now = int(labels.data[START])
    wanted = (now + 1) % 3
    part = review.update_part
    part.classes.setCurrentIndex(part.classes.findData(wanted))
    press(viewer, Qt.Key.Key_Q)
    hints = result_layer(viewer, "hints")
    assert viewer.layers.selection.active is hints and hints.mode == "paint"
    paint_at(viewer, hints, START, hints.selected_label)
    other = (4, 16, 14)
    part.is_not.setChecked(True)
    part.classes.setCurrentIndex(part.classes.findData(int(labels.data[other])))
    not_this = int(labels.data[other])
    click(part.scribble)
    paint_at(viewer, hints, other, hints.selected_label)
    assert review.reviewer.layer is labels
    ask(qtbot, viewer, review)
    click(part.notice.first)
    assert labels.data[START] == wanted
    assert labels.data[other] != not_this
    qtbot.waitUntil(lambda: hints not in viewer.layers)


def test_an_update_without_anything_known_says_what_to_do(viewer, review):
    press(viewer, Qt.Key.Key_U)
    assert "Paint a correction" in review.status.text() and not review.updater.busy
