"""The pixel size of a picture: entered once, by number or by a line, kept with its results and its case."""

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage.io import imsave

from napari_ldseg.layers.geometry import grid_of, layer_scan
from napari_ldseg.widgets.common.sizes import Unit
from napari_ldseg.widgets.project.case_layers import read_case, show_case
from napari_ldseg.widgets.project.state import project_of

from .conftest import (
    canvas_position,
    click,
    only_case,
    open_section,
    other_value,
    paint_at,
    result_layer,
    settle,
)

SIZE = 0.25


@pytest.fixture
def picture(viewer, widget, model_file, tmp_path):
    """A picture from its file, as napari opens it, and a model for it."""
    array = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
    imsave(tmp_path / "echo.png", array, check_contrast=False)
    (image,) = viewer.open(tmp_path / "echo.png", plugin="napari")
    widget.model.choose(model_file(2, classes=3))
    return image


def enter(widget, mm):
    """Type the pixel size in the Segment tab."""
    part = widget.pixel_size
    if not part.enter.isChecked():
        click(part.enter)
    part.mm.selectAll()
    QTest.keyClicks(part.mm, str(mm))
    QTest.keyClick(part.mm, Qt.Key.Key_Tab)
    click(part.set_size)


def test_a_picture_gets_its_pixel_size_once_for_its_results_and_its_case(
    qtbot, viewer, widget, run, picture, folder
):
    part = widget.pixel_size
    assert part.isVisible() and part.text.text() == "Pixel size: unknown"
    run(samples=2)
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    paint_at(viewer, labels, (10, 12), other_value(labels, (10, 12)))
    settle(viewer)
    before, pixels = labels.data.copy(), np.count_nonzero(labels.data == 1)
    enter(widget, SIZE)
    assert part.text.text() == f"Pixel size: {SIZE:g} mm"
    assert layer_scan(picture).calibrated and layer_scan(picture).spacing[1:] == (SIZE, SIZE)
    assert grid_of(labels) == grid_of(sd) == grid_of(picture)
    settle(viewer)
    qtbot.waitUntil(lambda: widget.legend._table.item(0, 1).text() != "", timeout=3000)
    assert widget.legend._table.horizontalHeaderItem(1).text() == "labels\nmm²"
    shown = widget.legend._table.item(0, 1).text()
    assert shown == Unit("mm²", 1).text(pixels * SIZE**2)
    run(samples=2)  # the next result is in mm2 too, on the same layers' grid
    newest = result_layer(viewer, "labels")
    assert grid_of(newest) == grid_of(picture)
    summary = newest.metadata["napari_ldseg_result"]
    assert summary["unit"] == "mm2"
    record = only_case(folder).record()
    assert record.geometry.calibrated and record.runs[-1]["unit"] == "mm2"
    loaded = read_case(project_of(viewer).project, only_case(folder).name)
    image, again = show_case(ViewerModel(), loaded)  # as it is reopened
    assert layer_scan(again).spacing[1:] == (SIZE, SIZE) and layer_scan(again).calibrated
    assert grid_of(image) == grid_of(again) == grid_of(picture)
    np.testing.assert_array_equal(again.data, before)


def test_a_line_of_known_length_gives_the_pixel_size(
    qtbot, viewer, widget, picture, assert_sentence
):
    part = widget.pixel_size
    click(part.enter)
    click(part.set_length)
    assert_sentence(widget.status.text(), "Draw a line")
    click(part.draw)
    native = viewer.window._qt_viewer.canvas.native
    qtbot.wait(50)
    first, last = (canvas_position(viewer, point) for point in ((20, 10), (20, 50)))
    none = Qt.KeyboardModifier.NoModifier
    QTest.mouseMove(native, first)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, none, first)
    for share in np.linspace(0.2, 1, 5):
        place = QPointF(first) + share * (QPointF(last) - QPointF(first))
        move = QMouseEvent(
            QEvent.Type.MouseMove,
            place,
            QPointF(native.mapToGlobal(place)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            none,
        )
        QApplication.sendEvent(native, move)
        qtbot.wait(20)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, none, last)
    part.known_length.selectAll()
    QTest.keyClicks(part.known_length, "20")
    QTest.keyClick(part.known_length, Qt.Key.Key_Tab)
    click(part.set_length)
    assert layer_scan(picture).spacing[2] == pytest.approx(0.5, rel=0.03)
    line = viewer.layers["line of known length"]
    ends = [line.data_to_world(end) for end in line.data[-1]]
    assert np.linalg.norm(np.subtract(*ends)) == pytest.approx(20, rel=0.01)


def test_a_stack_of_frames_without_a_header_becomes_a_clip_with_a_curve(
    qtbot, viewer, widget, run, model_file
):
    clip = np.random.default_rng(0).integers(0, 99, (5, 32, 40)).astype(np.uint8)
    image = viewer.add_image(clip, name="clip")
    part = widget.pixel_size
    assert part.clip.isVisible() and not part.enter.isVisible()
    click(part.clip)
    enter(widget, 0.5)
    assert layer_scan(image).flat and tuple(image.scale) == (1, 0.5, 0.5)
    widget.model.choose(model_file(2, classes=3))
    run(samples=2)
    labels = result_layer(viewer, "labels")
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    open_section(review, "Numbers")
    qtbot.waitUntil(
        lambda: review.numbers.measured is not None and not review.numbers.busy, timeout=20_000
    )
    areas = review.numbers.measured.loops[0].areas
    assert areas == pytest.approx([np.count_nonzero(frame == 1) * 0.25 for frame in labels.data])
    curve = review.numbers_part.curve
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    viewer.dims.set_current_step(0, 2)
    QTest.keyClick(native, Qt.Key.Key_Right)  # the next frame
    assert viewer.dims.current_step[0] == 3 and curve.frame == 3


def test_images_with_a_size_are_not_asked_for_one(viewer, widget, scan_file):
    assert not widget.pixel_size.isVisible()
    viewer.open(scan_file, plugin="napari-ldseg")
    assert not widget.pixel_size.isVisible()
