"""The Review tab: from the worst region to the next, accepted or corrected, and choosing a sample."""

from collections import Counter

import numpy as np
import pytest
from qtpy.QtCore import Qt
from scipy import ndimage

from napari_ldseg.widgets.review.reviewer import REVIEWED, SKIPPED, SMALL, TO_DO

from .conftest import click, only_case, paint_at, press, remove_all, result_layer, settle


def mask_of(region, shape):
    """Return a region's voxels as a mask of the whole image."""
    mask = np.zeros(shape, bool)
    mask[region.box] = region.mask
    return mask


def test_keys_go_to_the_worst_region_and_on(viewer, segmented, review):
    labels = segmented[1]
    viewer.scene.camera.zoom *= 8  # most regions are off the canvas
    viewer.scene.camera.center = (0, 0, 0)
    press(viewer, Qt.Key.Key_Period)
    first = review.reviewer.region
    assert review.reviewer.current == 0
    assert first.expected == max(r.expected for r in review.reviewer.regions)
    world = labels.data_to_world(first.peak)
    np.testing.assert_allclose(viewer.dims.point, world)
    outline = result_layer(viewer, "region")
    np.testing.assert_array_equal(outline.data > 0, mask_of(first, labels.data.shape))
    np.testing.assert_allclose(outline.extent.world, labels.extent.world)
    middle = [(s.start + s.stop - 1) / 2 for s in first.box]
    centre = labels.data_to_world(middle)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], centre[-2:], atol=1e-6)
    press(viewer, Qt.Key.Key_Period)
    assert review.reviewer.current == 1
    press(viewer, Qt.Key.Key_Comma)
    assert review.reviewer.current == 0
    names = [review.reviewer.name_of(c) for c in first.classes]
    assert all(name in review.regions.question.text() for name in names)


def test_accepting_protects_the_region_and_lowers_the_expected_error(
    qtbot, viewer, segmented, review, folder
):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_Period)
    region = review.reviewer.region
    before, total = review.reviewer.error_left
    assert before == pytest.approx(total)
    press(viewer, Qt.Key.Key_Y)
    assert review.reviewer.states[0] == REVIEWED and review.reviewer.current == 1
    assert review.regions.table.item(0, 3).text() == "✓"
    after, _ = review.reviewer.error_left
    assert before - after == pytest.approx(region.expected, rel=1e-3)
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.reviewed, mask_of(region, labels.data.shape))


def test_what_was_reviewed_stays_reviewed_when_the_case_is_opened_again(
    qtbot, viewer, panel, segmented, review, folder
):
    press(viewer, Qt.Key.Key_Period)
    click(review.regions.accept)
    click(review.regions.accept)
    left = review.reviewer.error_left
    count = len(review.reviewer.regions)
    settle(viewer)
    case = only_case(folder)
    qtbot.waitUntil(lambda: case.file("runner_up.nii.gz").exists(), timeout=10_000)
    remove_all(qtbot, viewer)
    assert not review.reviewer.regions
    qtbot.waitUntil(lambda: not panel.project_state.labels.finishing, timeout=10_000)
    panel.cases.selectRow(0)
    click(panel.open)
    qtbot.waitUntil(lambda: len(review.reviewer.regions) == count, timeout=20_000)
    assert review.reviewer.states.count(REVIEWED) == 2
    assert review.reviewer.error_left == pytest.approx(left, rel=1e-3)
    assert "not in memory" in review.samples.note.text()


def test_a_skipped_region_comes_last(viewer, segmented, review):
    press(viewer, Qt.Key.Key_Period)
    press(viewer, Qt.Key.Key_J)
    assert review.reviewer.states[0] == SKIPPED and review.reviewer.current == 1
    rest = np.zeros(segmented[1].data.shape, bool)
    for region in review.reviewer.regions[2:]:
        rest |= mask_of(region, rest.shape)
    review.project_state.reviews.mark(segmented[1], np.nonzero(rest), True)
    click(review.regions.accept)
    assert review.reviewer.current == 0
    click(review.regions.accept)
    assert set(review.reviewer.states) == {REVIEWED}
    assert "All uncertain regions" in review.status.text()


def test_correct_takes_the_brush_with_the_other_class(viewer, segmented, review):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_Period)
    region = review.reviewer.region
    press(viewer, Qt.Key.Key_C)
    assert viewer.layers.selection.active is labels and labels.mode == "paint"
    assert labels.selected_label in region.classes
    assert labels.selected_label != labels.data[region.peak]


def test_the_view_stays_where_a_region_is_well_seen(viewer, segmented, review):
    seen, counts = [], Counter()
    for number, region in enumerate(review.reviewer.regions):
        counts[region.mask.shape] += 1
        if counts[region.mask.shape] > 2:  # two regions of each size; there are 200
            continue
        viewer.reset_view()
        before = viewer.scene.camera.center, viewer.scene.camera.zoom
        review.reviewer.go_to(number)
        stays = (viewer.scene.camera.center, viewer.scene.camera.zoom) == before
        seen.append((max(s.stop - s.start for s in region.box[-2:]), stays))
        assert viewer.dims.point[0] == segmented[1].data_to_world(region.peak)[0]
    assert {stays for size, stays in seen if size >= 5} == {True}
    assert {stays for size, stays in seen if size == 1} <= {False}


def test_the_brush_has_the_other_class_and_half_the_width_of_each_region(viewer, segmented, review):
    labels = segmented[1]
    for _ in range(3):
        press(viewer, Qt.Key.Key_Period)
        region = review.reviewer.region
        assert labels.selected_label in region.classes
        assert labels.selected_label != labels.data[region.peak]
        widest = ndimage.distance_transform_edt(
            np.pad(region.mask[region.peak[0] - region.box[0].start], 1)
        ).max()
        assert abs(labels.brush_size - widest) <= 1
    press(viewer, Qt.Key.Key_C)
    first = labels.selected_label
    press(viewer, Qt.Key.Key_C)
    assert {first, labels.selected_label} == set(review.reviewer.region.classes)
    labels.brush_size = mine = labels.brush_size + 7
    press(viewer, Qt.Key.Key_Period)
    assert labels.brush_size == mine and labels.mode == "paint"


def test_one_key_per_region_takes_the_alternative_shown(qtbot, viewer, segmented, review, folder):
    labels, alt = segmented[1], Qt.KeyboardModifier.AltModifier
    press(viewer, Qt.Key.Key_Period)
    region, box, before = review.reviewer.region, review.browser.box, labels.data.copy()
    qtbot.waitUntil(lambda: len(review.samples.buttons) == 2, timeout=10_000)
    press(viewer, Qt.Key.Key_Right, alt)
    assert review.browser.sample == review.browser.alternatives[0].medoid
    press(viewer, Qt.Key.Key_Right, alt)
    sample = review.browser.alternatives[1].medoid
    assert review.browser.sample == sample and review.samples.buttons[1].isChecked()
    expected = before.copy()
    expected[box] = review.browser.labels_of(sample)[box]
    assert (expected != before).any()
    press(viewer, Qt.Key.Key_Y)
    np.testing.assert_array_equal(labels.data, expected)
    assert review.reviewer.states[0] == REVIEWED and review.reviewer.current == 1
    assert review.browser.sample is None  # the next region shows the labels again
    settle(viewer)
    np.testing.assert_array_equal(
        only_case(folder).load().reviewed, mask_of(region, labels.data.shape)
    )
    press(viewer, Qt.Key.Key_Y)
    np.testing.assert_array_equal(labels.data, expected)


def test_the_list_ends_when_what_is_left_is_small(viewer, segmented, review):
    labels, reviewer = segmented[1], review.reviewer
    sizes = [region.expected for region in reviewer.regions]
    large = next(i for i in range(len(sizes)) if sum(sizes[i:]) <= SMALL * sum(sizes)) - 1
    seen = np.zeros(labels.data.shape, bool)
    for region in reviewer.regions[:large]:
        seen |= mask_of(region, seen.shape)
    review.project_state.reviews.mark(labels, np.nonzero(seen), True)
    reviewer.go_to(large)
    assert "small" not in review.status.text()
    press(viewer, Qt.Key.Key_Y)
    assert "small" in review.status.text() and 0 < reviewer.share_to_do <= SMALL
    count = reviewer.states.count(TO_DO)
    assert f"{count} regions" in review.status.text()
    press(viewer, Qt.Key.Key_Period)
    assert reviewer.states[reviewer.current] == TO_DO


def test_the_slider_and_keys_show_each_sample_as_outlines(qtbot, viewer, segmented, review):
    labels, samples = segmented[1], review.browser.part.samples
    review.samples.slider.setValue(1)
    shown = result_layer(viewer, "sample")
    np.testing.assert_array_equal(shown.data, samples.labels(0))
    np.testing.assert_allclose(shown.extent.world, labels.extent.world)
    press(viewer, Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier)
    assert review.browser.sample is None
    press(viewer, Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier)
    first = review.browser.alternatives[0].medoid
    np.testing.assert_array_equal(result_layer(viewer, "sample").data, samples.labels(first))
    review.samples.slider.setValue(2)
    shown = result_layer(viewer, "sample")
    np.testing.assert_array_equal(shown.data, samples.labels(1))
    review.samples.slider.setValue(0)
    qtbot.waitUntil(lambda: shown not in viewer.layers)


def test_using_a_sample_changes_only_this_region_and_nothing_protected(
    qtbot, viewer, segmented, review, folder
):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_Period)
    region = review.reviewer.region
    paint_at(viewer, labels, region.peak, (int(labels.data[region.peak]) + 1) % 3)
    mine = labels.data.copy()
    press(viewer, Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier)
    sample = review.browser.part.samples.labels(review.browser.sample)
    box = review.browser.box
    expected = mine.copy()
    expected[box] = sample[box]
    expected[region.peak] = mine[region.peak]
    assert (expected != mine).any()
    click(review.samples.use)
    np.testing.assert_array_equal(labels.data, expected)
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, expected)
    assert masks.edited.sum() == 1 and masks.edited[region.peak]
    chosen = only_case(folder).record().runs[-1]["chosen"]
    assert chosen["sample"] == review.browser.alternatives[0].medoid and chosen["of"] == 2
    labels.undo()
    np.testing.assert_array_equal(labels.data, mine)


def test_sorting_by_size_orders_the_samples(review):
    review.samples.everywhere.setChecked(True)
    review.samples.sorting.setCurrentText("by size")
    sizes = [np.count_nonzero(review.browser.labels_of(i)) for i in review.browser.order]
    assert sizes == sorted(sizes)


def test_alternatives_have_a_picture_and_a_share(qtbot, review):
    assert review.samples.buttons
    button = review.samples.buttons[0]
    assert button.text().endswith("of 2") and not button.icon().isNull()
    click(button)
    assert review.browser.sample == button.property("sample")
    assert "not the probability" in button.toolTip()
