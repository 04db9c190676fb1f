"""The numbers of the Review tab: of the labels as they are, exact where they are known."""

import csv
import io

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ldseg.review.measurements import COLUMNS, OF_SAMPLES, measure_classes

from .conftest import open_section, other_value, paint_at, result_layer, settle

VOXEL = 0.8 * 0.8 * 2.5
DIALOG = "napari_ldseg.widgets.review.numbers_part.QFileDialog.getSaveFileName"


@pytest.fixture
def measured(qtbot, review_tab):
    """Return the measurements once they are of the labels as they are."""
    assert review_tab.numbers.measured is None  # nothing is measured while nobody looks
    open_section(review_tab, "Numbers")

    def wait():
        qtbot.waitUntil(lambda: not review_tab.numbers.busy, timeout=20_000)
        return review_tab.numbers.measured

    return wait


def with_samples(numbers):
    """Return whether the labels are measured with their samples."""
    measured = numbers.measured
    return not numbers.busy and measured is not None and bool(measured.sizes[0].sample_sizes)


def test_the_numbers_are_those_of_the_labels_and_the_samples(segmented, review_tab, measured):
    labels, part = segmented[1], review_tab.numbers_part
    samples = [review_tab.browser.labels_of(i) for i in range(2)]
    expected = measure_classes(
        labels.data,
        ["background", "class 1", "class 2"],
        (2.5, 0.8, 0.8),
        samples,
        None,
        review_tab.reviewer.maps["sample_sd"],
    )
    for found, wanted in zip(measured().sizes, expected, strict=True):
        assert found.name == wanted.name and found.interval.meaning == OF_SAMPLES
        ends = (found.size, found.interval.low, found.interval.high, found.mean_sd)
        right = (wanted.size, wanted.interval.low, wanted.interval.high, wanted.mean_sd)
        np.testing.assert_allclose(ends, right, rtol=1e-6)
        np.testing.assert_allclose(found.sample_sizes, wanted.sample_sizes, rtol=1e-6)
        assert found.diameters.at == wanted.diameters.at
        lengths = (found.diameters.longest, found.diameters.perpendicular)
        right = (wanted.diameters.longest, wanted.diameters.perpendicular)
        np.testing.assert_allclose(lengths, right, rtol=1e-6)
    assert [card.name.text() for card in part.cards] == ["class 1", "class 2"]
    for card, value in zip(part.cards, (1, 2), strict=True):
        ml = np.count_nonzero(labels.data == value) * VOXEL / 1000
        assert f"{ml:#.3g} ml" in card.total.text()
        assert "mm · slice" in card.more.text() and "· SD 0." in card.interval.text()
    assert "not calibrated" in part.note.text()


def test_a_stroke_is_measured_after_a_pause_and_reviewed_voxels_are_exact(
    qtbot, viewer, segmented, review_tab, measured
):
    labels = segmented[1]
    before = measured().sizes
    index = (4, 10, 11)
    old, new = int(labels.data[index]), other_value(labels, index)
    paint_at(viewer, labels, index, new)
    assert review_tab.numbers.busy and review_tab.numbers_part.note.text() == "Measuring …"
    after = measured().sizes
    for one, other in zip(before, after, strict=True):
        change = (one.value == new) - (one.value == old)
        assert other.size - one.size == pytest.approx(change * VOXEL)
    labels.undo()
    qtbot.waitUntil(lambda: review_tab.numbers.measured.sizes == before, timeout=20_000)
    paint_at(viewer, labels, index, new)
    review_tab.project_state.reviews.mark(
        labels, tuple(slice(0, n) for n in labels.data.shape), True
    )
    settle(viewer)
    for one in measured().sizes:
        assert one.interval.low == one.interval.high == pytest.approx(one.size)
        assert one.sample_sizes == (one.size,) * 2


def test_the_numbers_are_copied_and_saved(
    segmented, review_tab, measured, tmp_path, monkeypatch, assert_sentence
):
    part, rows = review_tab.numbers_part, measured().rows()
    part.copy.click()
    copied = list(csv.DictReader(io.StringIO(QApplication.clipboard().text()), delimiter="\t"))
    assert [row["measurement"] for row in copied] == [row["measurement"] for row in rows]
    monkeypatch.setattr(DIALOG, lambda *a: (str(tmp_path / "numbers"), ""))
    part.save.click()
    with open(tmp_path / "numbers.csv", encoding="utf-8-sig", newline="") as file:
        saved = list(csv.DictReader(file))
    assert saved == copied and tuple(saved[0]) == COLUMNS
    assert {row["unit"] for row in saved} >= {"mm3", "ml", "mm"}
    assert float(saved[0]["value"]) == pytest.approx(measured().sizes[0].size, abs=1e-3)
    (tmp_path / "blocked").write_text("")
    monkeypatch.setattr(DIALOG, lambda *a: (str(tmp_path / "blocked" / "numbers.csv"), ""))
    part.save.click()
    assert_sentence(review_tab.status.text(), "numbers.csv")


def test_a_loop_has_a_curve_that_leads_to_its_frames(
    qtbot, viewer, widget, run, model_file, tmp_path
):
    array = np.random.default_rng(0).integers(0, 99, (32, 40, 1, 6)).astype(np.int16)
    image = nib.Nifti1Image(array, np.diag([0.5, 0.5, 1, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "loop.nii.gz")
    viewer.open(tmp_path / "loop.nii.gz", plugin="napari-ldseg")
    widget.model.choose(model_file(2, classes=3))
    run(samples=3)
    labels = result_layer(viewer, "labels")
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    open_section(review, "Numbers")
    qtbot.waitUntil(lambda: with_samples(review.numbers), timeout=20_000)
    loops = review.numbers.measured.loops
    assert [loop.name for loop in loops] == ["class 1", "class 2"]
    for loop in loops:
        own = [np.count_nonzero(frame == loop.value) * 0.25 for frame in labels.data]
        assert loop.areas == pytest.approx(own)
        assert len(loop.bands) == 6
    curve = review.numbers_part.curve
    QTest.mouseClick(
        curve, Qt.MouseButton.LeftButton, pos=QPoint(curve.width() - 5, curve.height() // 2)
    )
    assert viewer.dims.current_step[0] == 5 and curve.frame == 5
    viewer.dims.set_current_step(0, 2)
    assert curve.frame == 2


def test_pixels_without_units(qtbot, viewer, widget, run, model_file):
    viewer.add_image(
        np.random.default_rng(0).integers(0, 99, (40, 32)).astype(np.uint8), name="scan"
    )
    widget.model.choose(model_file(2, classes=3))
    run(samples=1)
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    open_section(review, "Numbers")
    qtbot.waitUntil(lambda: with_samples(review.numbers), timeout=20_000)
    part, data = review.numbers_part, result_layer(viewer, "labels").data
    assert part.cards[0].total.text() == f"<b>{np.count_nonzero(data == 1):,} pixels</b>"
    assert part.cards[0].interval.isHidden()
    assert "need the samples" in part.note.text()
