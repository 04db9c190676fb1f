"""Segmenting again after the user has edited labels: these stay selected, in the right colours."""

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_ldseg.widgets.common.class_labels import classes_of, set_classes
from napari_ldseg.widgets.common.style import breakable

from .conftest import (
    click,
    drag,
    label_layers,
    only_case,
    other_value,
    paint_at,
    remove_all,
    result_layer,
    settle,
)


def propose(viewer, widget, run, segmented, seed=7):
    """Edit a stroke, segment again; return the labels, their data, and the stroke's mask."""
    labels = segmented[1]
    before = labels.data.copy()
    value = other_value(labels, (4, 10, 8))
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), value, size=5)
    stroke = labels.data != before
    widget.seed.setValue(seed)
    message = run(samples=2)
    return labels, labels.data.copy(), stroke, message


def test_a_new_segmentation_shows_what_would_change_then_fills_only_the_rest(
    qtbot, viewer, widget, run, segmented, folder
):
    labels, mine, stroke, message = propose(viewer, widget, run, segmented)
    assert message == (
        "Done: 2 samples. Your labels were kept; see below what the new ones would change."
    )
    np.testing.assert_array_equal(labels.data, mine)
    preview = result_layer(viewer, "would change")
    new = result_layer(viewer, "labels")
    assert new is not labels and not new.visible
    fresh = new.data.copy()
    expected = np.where(stroke, mine, fresh)
    assert widget.update_notice.isVisible()
    text = widget.update_notice.text.text()
    assert f"would change {(expected != mine).sum():,} voxels" in text and "class 1 +" in text
    np.testing.assert_array_equal(preview.data != 0, expected != mine)
    assert viewer.layers.selection.active is labels
    click(widget.update_notice.first)
    np.testing.assert_array_equal(labels.data, expected)
    qtbot.waitUntil(lambda: new not in viewer.layers, timeout=2000)
    assert preview not in viewer.layers and not widget.update_notice.isVisible()
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, expected)
    np.testing.assert_array_equal(masks.edited, stroke)
    record = only_case(folder).record()
    assert [r["provenance"]["seed"] for r in record.runs] == [0, 7]
    labels.undo()
    np.testing.assert_array_equal(labels.data, mine)
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, mine)
    np.testing.assert_array_equal(masks.edited, stroke)


def test_what_is_painted_after_the_proposal_stays_too(viewer, widget, run, segmented):
    labels, _, _, _ = propose(viewer, widget, run, segmented)
    preview = result_layer(viewer, "would change")
    index = tuple(int(i) for i in np.argwhere(preview.data != 0)[0])
    third = ({0, 1, 2} - {int(labels.data[index]), int(preview.data[index]) % 3}).pop()
    paint_at(viewer, labels, index, third)
    assert labels.data[index] == third
    click(widget.update_notice.first)
    assert labels.data[index] == third


def test_keep_both_leaves_the_labels_and_shows_the_new_layer(qtbot, viewer, widget, run, segmented):
    labels, mine, _, _ = propose(viewer, widget, run, segmented)
    click(widget.update_notice.second)
    np.testing.assert_array_equal(labels.data, mine)
    new = result_layer(viewer, "labels")
    assert new is not labels and new.visible
    assert not [x for x in viewer.layers if x.name.startswith("would change")]


def test_a_slice_run_proposes_nothing_outside_its_slice(qtbot, viewer, widget, run, segmented):
    labels = segmented[1]
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    mine = labels.data.copy()
    viewer.dims.set_current_step(0, 4)
    widget.this_slice.setChecked(True)
    widget.seed.setValue(3)
    run(samples=2)
    click(widget.update_notice.first)
    rest = np.arange(8) != 4
    np.testing.assert_array_equal(labels.data[rest], mine[rest])
    assert not np.array_equal(labels.data[4], mine[4])


def test_running_again_withdraws_the_first_proposal(qtbot, viewer, widget, run, segmented):
    labels, mine, stroke, _ = propose(viewer, widget, run, segmented)
    qtbot.wait(100)
    widget.seed.setValue(11)
    run(samples=2)
    assert len([x for x in viewer.layers if x.name.startswith("would change")]) == 1
    click(widget.update_notice.first)
    np.testing.assert_array_equal(labels.data[stroke], mine[stroke])


def open_corrected_case(qtbot, viewer, panel, labels):
    """Correct a stroke, close the layers and open the case from the list; return its labels."""
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    settle(viewer)
    remove_all(qtbot, viewer)
    qtbot.waitUntil(lambda: panel.cases.rowCount() == 1, timeout=5000)
    panel.cases.selectRow(0)
    click(panel.open)
    qtbot.waitUntil(lambda: len(label_layers(viewer)) == 1, timeout=5000)
    return result_layer(viewer, "labels")


def test_the_labels_of_an_opened_case_stay_selected_and_are_signed_off(
    qtbot, viewer, widget, panel, run, segmented, folder
):
    labels = open_corrected_case(qtbot, viewer, panel, segmented[1])
    widget.seed.setValue(7)
    run(samples=2)
    assert [x for x in viewer.layers if x.name.startswith("would change")]
    assert viewer.layers.selection.active is labels
    assert panel.review.reviewing.text().startswith(breakable(labels.name))
    panel.review.name.setText("Dr. Gray")
    click(panel.review.sign)
    settle(viewer)
    assert only_case(folder).record().sign_off.who == "Dr. Gray"


def test_another_model_leaves_the_corrected_labels_selected(
    viewer, widget, panel, run, segmented, folder, model_file
):
    labels = segmented[1]
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    widget.model.choose(model_file(2, classes=3, name="retrained", file_name="second.safetensors"))
    widget.seed.setValue(7)
    run(samples=2)
    assert result_layer(viewer, "labels").name.endswith("retrained")
    assert viewer.layers.selection.active is labels
    assert panel.review.reviewing.text().startswith(breakable(labels.name))
    hidden = result_layer(viewer, "labels")
    viewer.layers.selection.active = hidden
    panel.review.name.setText("Dr. Gray")
    for button in (panel.review.sign, panel.review.mark):
        click(button)
        assert f"{hidden.name} is hidden" in panel.status.text()
    settle(viewer)
    assert only_case(folder).record().sign_off is None


def test_the_tools_never_work_on_the_preview(qtbot, viewer, widget, run, segmented):
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    image, labels = segmented
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    viewer.layers.selection.active = image
    widget.seed.setValue(7)
    run(samples=2)
    preview = result_layer(viewer, "would change")
    assert viewer.layers.selection.active is image
    mine, shown = labels.data.copy(), preview.data.copy()
    viewer.layers.selection.active = preview
    assert correct.corrector.target is labels and not preview.editable
    native = viewer.window._qt_viewer.canvas.native
    QTest.keyClick(native, Qt.Key.Key_1, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(native, Qt.Key.Key_G)
    qtbot.waitUntil(lambda: not correct.corrector.busy, timeout=10_000)
    assert not np.array_equal(labels.data, mine)
    np.testing.assert_array_equal(preview.data, shown)


def test_the_preview_has_the_colours_of_the_labels_it_would_change(viewer, widget, run, segmented):
    labels = segmented[1]
    own = {
        v: c.model_copy(update={"colour": f"#0{v}{v}{v}0f"}) for v, c in classes_of(labels).items()
    }
    set_classes(labels, own)
    propose(viewer, widget, run, segmented)
    preview = result_layer(viewer, "would change")
    for value in own:
        np.testing.assert_array_equal(preview.get_color(value), labels.get_color(value))


def test_it_is_reported_if_there_is_nothing_left_to_update(viewer, widget, panel, run, segmented):
    labels, mine, _, _ = propose(viewer, widget, run, segmented)
    steps = len(labels._undo_history)
    panel.review.name.setText("Dr. Gray")
    click(panel.review.sign)
    click(widget.update_notice.first)
    assert widget.status.text().startswith("Nothing was updated")
    np.testing.assert_array_equal(labels.data, mine)
    assert len(labels._undo_history) == steps
    widget.seed.setValue(9)
    message = run(samples=2)
    assert "everything that was segmented" in message and "match yours" not in message
