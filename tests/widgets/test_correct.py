"""The Correct widget in a real window: keys, clicks, strokes, and undo that gives everything back."""

import re

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ldseg.layers.geometry import layer_scan
from napari_ldseg.widgets.correct.tools import TOOLS

from .conftest import canvas_position, click, paint_at, remove_all
from .test_geometry import assert_on, turned

SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier
SPACING = (2.0, 0.7, 1.1)


@pytest.fixture
def correct(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    return widget


@pytest.fixture
def press(qtbot, viewer, correct):
    """Press a key on the canvas and wait until the tool is done."""

    def key(text, modifiers=NONE):
        *shift, letter = text.split("+")
        modifiers = SHIFT if shift else modifiers
        native = viewer.window._qt_viewer.canvas.native
        QTest.keyClick(native, getattr(Qt.Key, f"Key_{letter}"), modifiers)
        qtbot.waitUntil(lambda: not correct.corrector.busy, timeout=10_000)

    return key


def scene():
    """Return labels in which every tool has something to do, and an image in step with them."""
    labels = np.zeros((16, 30, 30), np.uint8)
    labels[4:9, 5:20, 5:20] = 1
    labels[11, 5:20, 5:20] = 1  # a gap at 9 and 10
    labels[6, 10, 10] = 0  # a hole
    labels[5:8, 24:27, 24:27] = 1  # a second piece
    labels[4:9, 5:20, 20:23] = 2
    image = np.random.default_rng(0).integers(0, 100, labels.shape).astype(np.uint8)
    image[labels == 1] += 100
    return labels, image


@pytest.fixture
def volume(viewer, correct):
    labels, image = scene()
    viewer.add_image(image, scale=SPACING, units="mm", name="scan")
    layer = viewer.add_labels(labels.copy(), scale=SPACING, units="mm", name="mask")
    layer.selected_label = 1
    go_to(viewer, layer, (6, 10, 10))
    return layer


def go_to(viewer, layer, index):
    viewer.dims.point = layer.data_to_world(index)


def drag(viewer, layer, start, stop, button=Qt.MouseButton.LeftButton):
    """Drag the mouse over the canvas from one drawn voxel to another; the same one is a click."""
    native = viewer.window._qt_viewer.canvas.native
    ends = [canvas_position(viewer, layer.data_to_world(i)) for i in (start, stop)]
    QTest.mouseMove(native, ends[0])
    QTest.mousePress(native, button, NONE, ends[0])
    if start != stop:
        middle = (ends[0] + ends[1]) / 2
        for position in (middle, ends[1]):
            # QTest.mouseMove has no button pressed.
            where, none = QPointF(position), Qt.MouseButton.NoButton
            move = QMouseEvent(
                QEvent.Type.MouseMove, where, native.mapToGlobal(where), none, button, NONE
            )
            QTest.qWait(30)  # vispy leaves out moves in quick succession
            QApplication.sendEvent(native, move)
    QTest.qWait(30)
    QTest.mouseRelease(native, button, NONE, ends[1])


def undo_steps(layer):
    return len(layer._undo_history)


ONE_PRESS = [name for name, tool in TOOLS.items() if not tool.armed]


@pytest.mark.parametrize("name", ONE_PRESS)
def test_each_tool_is_a_key_and_one_exact_undo_step(viewer, correct, press, volume, name):
    correct.smoothing.setValue(1.5)
    correct.distance.setValue(1.1)
    before, events = volume.data.copy(), []
    volume.events.paint.connect(events.append)
    press(TOOLS[name].key)
    after = volume.data.copy()
    assert (after != before).any(), correct.status.text()
    np.testing.assert_array_equal(after == 2, before == 2)
    assert undo_steps(volume) == 1 and len(events) == 1
    assert correct.status.text().startswith(TOOLS[name].label)
    viewer.layers.selection.active = volume
    press("Z", CTRL)
    np.testing.assert_array_equal(volume.data, before)
    press("Z", CTRL | SHIFT)
    np.testing.assert_array_equal(volume.data, after)
    click(correct.undo)
    np.testing.assert_array_equal(volume.data, before)
    click(correct.redo)
    np.testing.assert_array_equal(volume.data, after)


def test_each_tool_is_a_button_that_does_what_the_key_does(qtbot, viewer, correct, press, volume):
    before = volume.data.copy()
    for name in ONE_PRESS:
        press(TOOLS[name].key)
        by_key = volume.data.copy()
        volume.undo()
        go_to(viewer, volume, (6, 10, 10))
        assert TOOLS[name].key in correct.buttons[name].toolTip()
        click(correct.buttons[name])
        qtbot.waitUntil(lambda: not correct.corrector.busy)
        np.testing.assert_array_equal(volume.data, by_key)
        volume.undo()
        go_to(viewer, volume, (6, 10, 10))
        np.testing.assert_array_equal(volume.data, before)


def test_undo_is_enabled_if_there_is_a_step_and_reported(viewer, correct, press, volume):
    assert not correct.undo.isEnabled() and not correct.redo.isEnabled()
    press("G")
    assert correct.undo.isEnabled() and "changed" in correct.status.text()
    press("Z", CTRL)
    assert correct.status.text() == "Undone."
    assert not correct.undo.isEnabled() and correct.redo.isEnabled()


def test_keys_collide_with_nothing_of_napari(viewer, correct):
    layer = viewer.add_labels(np.zeros((4, 4), np.uint8))
    from napari.utils.shortcuts import default_shortcuts

    ours = {str(coerce_keybinding(key)) for key in correct._keys()}
    theirs = {str(key) for key in (*Labels.class_keymap, *layer.keymap)}
    theirs |= {str(key) for key in type(viewer).class_keymap}
    # napari's actions name the layer they are for; those of other layers are off on labels.
    other = "points|shape|image|vectors|tracks|surface|vertex|plane|contrast|_add_|direct_mode"
    other += "|select_mode|select_all|select_append"
    for name, keys in default_shortcuts.items():
        if not re.search(other, name):
            theirs |= {str(key) for key in keys}
    assert {"P", "E", "Ctrl+Z", "V"} <= theirs
    assert not ours & theirs


def test_napari_s_digits_stay_its_own_and_ctrl_digits_choose_the_class(correct, press, volume):
    press("2", CTRL)
    assert volume.selected_label == 2
    press("1", CTRL)
    assert volume.selected_label == 1
    press("9", CTRL)
    assert "no class 9" in correct.status.text() and volume.selected_label == 1
    press("2")
    assert volume.mode == "paint" and volume.selected_label == 1


def test_clicking_a_class_in_the_list_chooses_it(correct, volume):
    item = correct.class_list.topLevelItem(1)
    place = correct.class_list.visualItemRect(item).center()
    QTest.mouseClick(correct.class_list.viewport(), Qt.MouseButton.LeftButton, NONE, place)
    assert volume.selected_label == 2


def test_a_clicked_piece_is_erased_then_another_given_this_class(
    qtbot, viewer, correct, press, volume
):
    before = volume.data.copy()
    viewer.reset_view()
    qtbot.wait(50)
    press("D")
    assert correct.buttons["erase_piece"].isChecked()
    drag(viewer, volume, (6, 25, 25), (6, 25, 25))
    qtbot.waitUntil(lambda: undo_steps(volume) == 1)
    assert not volume.data[5:8, 24:27, 24:27].any()
    np.testing.assert_array_equal(volume.data[:, :24], before[:, :24])
    press("R")
    assert not correct.buttons["erase_piece"].isChecked()
    drag(viewer, volume, (6, 10, 21), (6, 10, 21))
    qtbot.waitUntil(lambda: undo_steps(volume) == 2)
    assert not (volume.data == 2).any()
    volume.undo()
    volume.undo()
    np.testing.assert_array_equal(volume.data, before)
    press("R")
    drag(viewer, volume, (6, 10, 21), (6, 10, 21))
    qtbot.wait(100)
    np.testing.assert_array_equal(volume.data, before)


def test_dragging_with_a_click_tool_moves_the_camera_only(qtbot, viewer, press, volume):
    before = volume.data.copy()
    viewer.reset_view()
    qtbot.wait(50)
    press("D")
    drag(viewer, volume, (6, 25, 25), (6, 8, 8))
    qtbot.wait(100)
    np.testing.assert_array_equal(volume.data, before)


def test_a_piece_is_clicked_in_the_3d_view(qtbot, viewer, correct, press, volume):
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    qtbot.wait(200)
    volume.data_setitem(np.nonzero(volume.data == 2), 0)
    press("D")
    # The view is along the first axis: the small piece is alone on its line of sight.
    native = viewer.window._qt_viewer.canvas.native
    centre = np.array(volume.data_to_world((7.5, 14.5, 14.5)))
    there = np.array(volume.data_to_world((6, 25, 25)))
    zoom = viewer.scene.camera.zoom
    middle = np.array([native.width() / 2, native.height() / 2])
    pixel = middle + (there - centre)[[2, 1]] * zoom
    place = QPoint(*(round(p) for p in pixel))
    QTest.mouseMove(native, place)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, NONE, place)
    qtbot.waitUntil(lambda: undo_steps(volume) == 2)
    assert not volume.data[5:8, 24:27, 24:27].any() and volume.data[6, 8, 8] == 1


@pytest.mark.parametrize("edit_dimensions", [2, 3])
def test_threshold_brush_paints_only_in_range_in_one_undo_step(
    qtbot, viewer, correct, press, volume, edit_dimensions
):
    image = viewer.layers["scan"].data
    before, events = volume.data.copy(), []
    viewer.reset_view()
    qtbot.wait(50)
    press("T")
    assert volume.mode == "paint" and correct.buttons["threshold_brush"].isChecked()
    correct.range.setValue((20, 60))
    volume.brush_size, volume.n_edit_dimensions = 7, edit_dimensions
    volume.events.paint.connect(events.append)
    drag(viewer, volume, (6, 22, 4), (6, 24, 22))
    changed = volume.data != before
    assert changed.sum() > 10 and (volume.data[changed] == 1).all()
    assert ((image[changed] >= 20) & (image[changed] <= 60)).all() and not before[changed].any()
    assert changed.any(axis=(1, 2)).sum() == (1 if edit_dimensions == 2 else 3)
    assert undo_steps(volume) == 1 and len(events) == 1
    # The plain brush over the same way covers more, and exactly what was out of range.
    after = volume.data.copy()
    press("T")
    assert not correct.buttons["threshold_brush"].isChecked() and volume.mode == "paint"
    drag(viewer, volume, (6, 22, 4), (6, 24, 22))
    plain = (volume.data == 1) & (before == 0)
    assert (plain & ~changed).any()
    inside = (image >= 20) & (image <= 60)
    np.testing.assert_array_equal(plain & inside, changed)
    volume.undo()
    np.testing.assert_array_equal(volume.data, after)
    volume.undo()
    np.testing.assert_array_equal(volume.data, before)
    volume.redo()
    np.testing.assert_array_equal(volume.data, after)


def test_threshold_brush_encircles_and_fills_in_one_undo_step(
    qtbot, viewer, correct, press, volume
):
    image = viewer.layers["scan"].data
    before = volume.data.copy()
    viewer.reset_view()
    qtbot.wait(50)
    press("T")
    correct.range.setValue((20, 60))
    volume.brush_size = 1
    corners = [(6, 22, 2), (6, 22, 22), (6, 28, 22), (6, 28, 2), (6, 22, 2)]
    native = viewer.window._qt_viewer.canvas.native
    start, *way = [canvas_position(viewer, volume.data_to_world(c)) for c in corners]
    QTest.mouseMove(native, start)
    QTest.mouseClick(native, Qt.MouseButton.RightButton, NONE, start)
    for corner in way:
        QTest.qWait(30)
        QTest.mouseMove(native, corner)
    QTest.qWait(50)
    changed = volume.data != before
    assert undo_steps(volume) == 1 and changed[6, 24:27, 5:20].any()
    ring = np.zeros_like(changed)
    ring[6, 22:29, 2:23] = True
    np.testing.assert_array_equal(changed, ring & (before == 0) & (image >= 20) & (image <= 60))
    volume.undo()
    np.testing.assert_array_equal(volume.data, before)


def test_threshold_brush_ends_with_the_paint_mode_and_with_the_selection(
    viewer, correct, press, volume
):
    press("T")
    press("6")
    assert volume.mode == "pan_zoom" and not correct.buttons["threshold_brush"].isChecked()
    assert "paint" not in vars(volume)
    press("T")
    other = viewer.add_labels(np.zeros((16, 30, 30), np.uint8), scale=SPACING, name="other")
    assert correct.corrector.target is other and "paint" not in vars(volume)


def test_the_range_is_taken_from_the_class(correct, press, volume):
    press("T")
    low, high = correct.range.value()
    assert 100 <= low < 115 and 185 < high < 200


def test_tools_work_on_the_frame_shown_of_a_4d_series(qtbot, viewer, correct, press):
    labels, _image = scene()
    data = np.stack([labels, labels, labels])
    layer = viewer.add_labels(data.copy(), scale=(1, *SPACING), name="series")
    layer.selected_label = 1
    viewer.reset_view()
    go_to(viewer, layer, (1, 6, 10, 10))
    qtbot.wait(50)
    for name in ONE_PRESS:
        press(TOOLS[name].key)
        changed = layer.data != data
        assert changed[1].any() and not changed[[0, 2]].any(), name
        layer.undo()
        go_to(viewer, layer, (1, 6, 10, 10))
    press("D")
    drag(viewer, layer, (1, 6, 25, 25), (1, 6, 25, 25))
    qtbot.waitUntil(lambda: undo_steps(layer) == 1)
    changed = layer.data != data
    assert changed[1].sum() == 27 and not changed[[0, 2]].any()


def test_2d_images_have_all_tools_but_those_across_slices(viewer, correct, press):
    labels, image = scene()
    viewer.add_image(image[6], name="image")
    layer = viewer.add_labels(labels[6].copy(), name="mask")
    layer.selected_label = 1
    for name in ("keep_largest", "fill_holes", "smooth", "grow", "shrink"):
        press(TOOLS[name].key)
        assert undo_steps(layer) == 1, (name, correct.status.text())
        layer.undo()
    before = layer.data.copy()
    for name in ("fill_between", "copy_next", "copy_previous"):
        assert not correct.buttons[name].isEnabled()
        assert correct.buttons[name].toolTip() == "mask is a 2D image, which has no slices."
        press(TOOLS[name].key)
        assert correct.status.text() == "mask is a 2D image, which has no slices."
    np.testing.assert_array_equal(layer.data, before)
    assert not correct.scope_row.isVisible()


def test_slice_tools_follow_the_view_when_it_is_turned(viewer, correct, press, volume):
    before = volume.data.copy()
    viewer.dims.order = (2, 0, 1)
    go_to(viewer, volume, (6, 10, 23))
    press("N")
    assert "no label 1 to copy" in correct.status.text()
    go_to(viewer, volume, (6, 10, 19))
    press("N")
    np.testing.assert_array_equal(
        volume.data[:, :, 20] == 1, (before[:, :, 19] == 1) & (before[:, :, 20] == 0)
    )
    assert viewer.dims.point[2] == pytest.approx(20 * SPACING[2])


def test_the_slice_shown_alone_is_changed_if_asked(viewer, correct, press, volume):
    volume.data[6, 12, 5:20] = 0  # open at the sides
    volume.data[6, 12, 6:19] = 0
    volume.data[6, 12, 5] = volume.data[6, 12, 19] = 1
    volume.data[5:8, 12, 7] = 0
    volume.data[:, 12, 8] = 0  # a channel through all slices
    volume.refresh()
    before = volume.data.copy()
    press("H")
    assert volume.data[6, 12, 8] == 0
    volume.data[:] = before
    click(correct.slice_only)
    press("H")
    changed = np.argwhere(volume.data != before)
    assert len(changed) and set(changed[:, 0]) == {6} and volume.data[6, 12, 8] == 1
    viewer.dims.ndisplay = 3
    assert "3D view shows no slice" in correct.buttons["fill_holes"].toolTip()


@pytest.mark.parametrize("finest", [0.05, 0.6, 0.7, 1.2, 1.25])
def test_the_amount_offered_first_grows_by_a_voxel(correct, press, viewer, finest):
    data = np.zeros((5, 9, 9), np.uint8)
    data[2, 4, 4] = 1
    layer = viewer.add_labels(data, scale=(3.0, finest, 1.5 * finest), units="mm")
    press("G")
    assert [np.ptp(i) for i in np.nonzero(layer.data)] == [0, 2, 0]


def test_growing_honours_the_spacing(correct, press, viewer):
    data = np.zeros((9, 21, 21), np.uint8)
    data[4, 10, 10] = 1
    layer = viewer.add_labels(data, scale=(3.0, 1.0, 0.5), units="mm")
    correct.distance.setValue(3)
    press("G")
    extent = [np.ptp(i) for i in np.nonzero(layer.data)]
    assert extent == [2, 6, 12]
    assert correct.distance.suffix() == " mm"


def test_reasons_are_one_sentence_and_shown(qtbot, viewer, correct, press, assert_sentence):
    assert correct.layer_name.text().startswith("Select a labels layer")
    assert not any(button.isEnabled() for button in correct.buttons.values())
    press("K")
    assert_sentence(correct.status.text(), "Select a labels layer")
    layer = viewer.add_labels(np.ones((4, 6, 6), np.uint8), name="mask")
    layer.visible = False
    assert_sentence(correct.note.text(), "mask is hidden")
    layer.visible = True
    layer.selected_label = 0
    assert_sentence(correct.note.text(), "background")
    layer.selected_label = 1
    assert not correct.note.isVisible()
    assert_sentence(correct.buttons["threshold_brush"].toolTip(), "no grey image")
    press("G")
    assert_sentence(correct.status.text(), "not in this volume")
    press("Shift+G")
    assert_sentence(correct.status.text())
    np.testing.assert_array_equal(layer.data, 1)
    viewer.dims.ndisplay = 3
    assert_sentence(correct.buttons["copy_next"].toolTip(), "2D/3D button")
    viewer.dims.ndisplay = 2
    remove_all(qtbot, viewer)
    assert correct.layer_name.text().startswith("Select a labels layer")


@pytest.mark.parametrize("first", ["sample", "widget"])
def test_a_sample_s_hidden_ground_truth_is_corrected_only_once_it_is_shown(viewer, first):
    if first == "sample":
        viewer.open_sample("napari-ldseg", "echo_phantom")
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    if first == "widget":
        viewer.open_sample("napari-ldseg", "echo_phantom")
    truth = viewer.layers["echo phantom – ground truth"]
    assert correct.layer_name.text().startswith("Select a labels layer")
    assert not correct.note.isVisible() and correct.new_labels.isEnabled()
    truth.visible = True
    assert "ground truth" in correct.layer_name.text()
    correct.corrector.shut_down()
    truth.visible = False
    truth.visible = True
    assert correct.corrector.target is None


def test_shrinking_away_everything_is_refused(correct, press, volume):
    before = volume.data.copy()
    correct.distance.setValue(50)
    press("Shift+G")
    assert "leave nothing" in correct.status.text()
    np.testing.assert_array_equal(volume.data, before)


def test_the_last_layer_corrected_stays_the_target_when_an_image_is_selected(
    viewer, correct, press, volume
):
    other = viewer.add_labels(np.zeros(volume.data.shape, np.uint8), scale=SPACING, name="other")
    viewer.layers.selection.active = volume
    viewer.layers.selection.active = viewer.layers["scan"]
    assert correct.corrector.target is volume
    press("K")
    assert undo_steps(volume) == 1 and undo_steps(other) == 0


def test_what_is_painted_while_a_tool_computes_stays(qtbot, viewer, correct, volume):
    correct.corrector.use("fill_between")
    assert correct.corrector.busy
    volume.data_setitem((np.array([9]), np.array([10]), np.array([10])), 2)
    qtbot.waitUntil(lambda: not correct.corrector.busy)
    assert volume.data[9, 10, 10] == 2 and volume.data[9, 11, 11] == 1
    volume.undo()
    assert volume.data[9, 10, 10] == 2 and not volume.data[10].any()


def test_keys_pressed_quickly_all_take_effect(qtbot, viewer, correct, volume):
    correct.distance.setValue(0.7)
    before = (volume.data == 1).sum()
    native = viewer.window._qt_viewer.canvas.native
    for _ in range(3):
        QTest.keyClick(native, Qt.Key.Key_G)
    qtbot.waitUntil(lambda: undo_steps(volume) == 3 and not correct.corrector.busy)
    assert (volume.data == 1).sum() > before


def test_a_closed_widget_releases_keys_and_layers(qtbot, viewer, correct, volume):
    click(correct.buttons["threshold_brush"])
    dock = correct.parent()
    while not hasattr(dock, "destroyOnClose"):
        dock = dock.parent()
    dock.destroyOnClose()
    before = volume.data.copy()
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_K)
    qtbot.wait(100)
    np.testing.assert_array_equal(volume.data, before)
    assert "paint" not in vars(volume)


def oblique_layers(viewer, ndim=3):
    """Add an oblique, anisotropic, sheared image and labels layer as another plugin might."""
    rng = np.random.default_rng(2)
    shape = (14, 20, 17)
    tilt = np.eye(3)
    c, s = np.cos(0.35), np.sin(0.35)
    tilt[:2, :2] = [[c, -s], [s, c]]
    attributes = {
        "scale": (2.5, 0.6, 0.8),
        "translate": (10, -20, 30),
        "rotate": tilt @ turned(0.2, 3),
        "shear": [0.05, 0, 0.02],
        "units": "mm",
    }
    labels = np.zeros(shape, np.uint8)
    labels[4:10, 5:15, 4:12] = 1
    image = viewer.add_image(rng.integers(0, 99, shape).astype(np.uint8), name="scan", **attributes)
    layer = viewer.add_labels(labels, name="mask", **attributes)
    return image, layer


def test_an_oblique_layer_is_straightened_and_saved_as_it_was(
    qtbot, viewer, correct, press, tmp_path, assert_sentence
):
    image, layer = oblique_layers(viewer)
    assert_sentence(correct.note.text(), "mask is oblique", "Straighten")
    before = layer.data.copy()
    press("K")
    np.testing.assert_array_equal(layer.data, before)
    layer.save(str(tmp_path / "oblique.nii.gz"), plugin="napari-ldseg")
    click(correct.straighten)
    straight_image, straight = viewer.layers[-2:]
    assert straight is correct.corrector.target and not correct.note.isVisible()
    assert isinstance(straight_image, Image) and not image.visible and not layer.visible
    assert_on(straight, straight_image)
    np.testing.assert_array_equal(straight.rotate, np.eye(3))
    assert not np.any(straight.shear)
    # Every voxel is where it truly was, in the world.
    scan, old = layer_scan(straight), layer_scan(layer)
    for index in np.random.default_rng(0).integers(0, straight.data.shape, (30, 3)):
        there = np.linalg.inv(old.affine) @ scan.affine @ [*index, 1]
        there = tuple(np.rint(there[:3]).astype(int))
        assert straight.data[tuple(index)] == layer.data[there]
        assert straight_image.data[tuple(index)] == image.data[there]
    straight.save(str(tmp_path / "straight.nii.gz"), plugin="napari-ldseg")
    a, b = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("oblique", "straight"))
    np.testing.assert_allclose(a.affine, b.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
    # And the brush now lands in the slice that is shown.
    viewer.reset_view()
    qtbot.wait(50)
    was = straight.data.copy()
    paint_at(viewer, straight, (2, 3, 3), 1)
    assert np.argwhere(straight.data != was).tolist() == [[2, 3, 3]]
    correct.distance.setValue(straight.scale[2])
    press("G")
    assert undo_steps(straight) == 2


def test_labels_turned_within_the_slice_need_no_straightening(viewer, correct):
    layer = viewer.add_labels(np.ones((5, 6, 7), np.uint8), rotate=turned(0.4, 3), name="mask")
    assert not correct.note.isVisible()
    viewer.dims.order = (1, 0, 2)
    assert "mask is oblique" in correct.note.text()
    assert layer.data.all()


def define(correct, *names, codes=()):
    """Fill the dialog as a user does: click New labels, Add class, type names, press Create."""
    click(correct.new_labels)
    dialog = correct.dialog
    for _ in names[1:]:
        click(dialog.add)
    for row, name in enumerate(names):
        dialog.table.item(row, 1).setText(name)
    for row, code in enumerate(codes):
        dialog.table.item(row, 2).setText(code)
    click(dialog.ok)
    return dialog


@pytest.mark.parametrize("kind", ["oblique file", "4D", "RGB", "2D", "multiscale"])
def test_new_labels_lie_on_the_image_and_are_ready_to_paint(
    qtbot, viewer, correct, oblique_file, kind
):
    rng = np.random.default_rng(0)
    if kind == "oblique file":
        (image,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    elif kind == "4D":
        image = viewer.add_image(rng.random((3, 8, 20, 20)), scale=(1, *SPACING), units="mm")
    elif kind == "RGB":
        image = viewer.add_image(rng.random((8, 20, 20, 3)), rgb=True, scale=SPACING, units="mm")
    elif kind == "2D":
        image = viewer.add_image(rng.random((20, 20)), scale=(0.5, 2), rotate=30, units="mm")
    else:
        big = rng.random((40, 40))
        image = viewer.add_image([big, big[::2, ::2]], multiscale=True)
    define(correct, "ventricle", "atrium", codes=["21814001"])
    layer = correct.corrector.target
    assert layer in viewer.layers and layer.data.shape == layer_scan(image).shape
    assert not layer.data.any() and layer.mode == "paint" and layer.selected_label == 1
    assert_on(layer, image)
    assert viewer.layers.selection.active == layer
    np.testing.assert_allclose(layer_scan(layer).affine, layer_scan(image).affine)
    viewer.reset_view()
    qtbot.wait(50)
    middle = tuple(n // 2 for n in layer.data.shape)
    paint_at(viewer, layer, middle, 2)
    assert np.argwhere(layer.data == 2).tolist() == [list(middle)]
    status = layer.get_status(layer.data_to_world(middle), world=True)
    assert "name: atrium" in status["coordinates"]
    names = [correct.class_list.topLevelItem(i).text(0) for i in range(2)]
    assert names == ["ventricle", "atrium"]
    assert correct.corrector.classes[1].snomed == "21814001"


def test_the_dialog_reports_what_is_wrong_with_a_row(viewer, correct, assert_sentence):
    viewer.add_image(np.zeros((8, 8)))
    dialog = define(correct, "a", "a")
    assert_sentence(dialog.message.text(), "Two classes are called a")
    dialog.table.item(1, 1).setText("")
    click(dialog.ok)
    assert_sentence(dialog.message.text(), "has no name")
    # Exports would take its voxels for the background.
    dialog.table.item(1, 1).setText("Background")
    click(dialog.ok)
    assert_sentence(dialog.message.text(), "give class 2 another name")
    dialog.table.item(1, 1).setText("b")
    dialog.table.item(1, 2).setText("heart")
    click(dialog.ok)
    assert_sentence(dialog.message.text(), "heart is not a SNOMED CT code")
    dialog.table.selectRow(1)
    click(dialog.remove)
    click(dialog.ok)
    assert list(correct.corrector.classes) == [1]


@pytest.mark.parametrize("choice", ["erase", "give", "keep"])
def test_a_class_in_use_is_not_removed_silently(viewer, correct, choice, assert_sentence):
    viewer.add_image(np.zeros((8, 8)))
    define(correct, "liver", "spleen", "cyst")
    layer = correct.corrector.target
    layer.data_setitem((np.array([1, 2]), np.array([3, 3])), 2)
    before = layer.data.copy()
    click(correct.edit_classes)
    dialog = correct.dialog
    dialog.table.selectRow(1)
    click(dialog.remove)
    assert_sentence(
        dialog.message.text(), "spleen is in use (2 voxels)", "what to do with its voxels"
    )
    assert dialog.table.rowCount() == 3 and not dialog.ok.isEnabled()
    dialog.receiver.setCurrentText("cyst")
    click(getattr(dialog, choice))
    click(dialog.ok)
    expected = {"erase": 0, "give": 3, "keep": 2}[choice]
    np.testing.assert_array_equal(layer.data, np.where(before == 2, expected, 0))
    assert (2 in correct.corrector.classes) == (choice == "keep")
    if choice != "keep":
        layer.undo()
        np.testing.assert_array_equal(layer.data, before)
        # The voxels are back, and visible although their class has no name any more.
        assert layer.get_color(2)[3] > 0


def test_classes_are_renamed_and_recoloured_without_touching_a_voxel(viewer, correct):
    viewer.add_image(np.zeros((8, 8)))
    define(correct, "liver", "spleen")
    layer = correct.corrector.target
    layer.data_setitem((np.array([1]), np.array([3])), 2)
    click(correct.edit_classes)
    dialog = correct.dialog
    dialog.table.item(1, 1).setText("tumour")
    dialog._set_colour(1, "#123456")
    click(dialog.add)
    click(dialog.ok)
    assert [c.name for c in correct.corrector.classes.values()] == [
        "liver",
        "tumour",
        "structure 3",
    ]
    np.testing.assert_allclose(
        layer.get_color(2)[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-3
    )
    assert undo_steps(layer) == 1 and layer.data[1, 3] == 2
