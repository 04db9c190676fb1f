"""Corrections in a real window: saved while painting, protected, reviewed, signed off, restored."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.layers.geometry import derived_attributes
from napari_ldseg.project.case import CaseFolder, Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.files import read_scan
from napari_ldseg.widgets.project.state import project_of

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

KILL = Path(__file__).parents[2] / "benchmarks" / "window_kill.py"
DIALOG = "napari_ldseg.widgets.project.widget.QFileDialog"


def states(panel):
    return [panel.cases.item(row, 1).text() for row in range(panel.cases.rowCount())]


def test_nothing_is_written_until_the_user_edits(viewer, segmented, folder):
    assert not folder.exists()


def test_a_stroke_is_on_the_disk_within_a_second_even_before_the_button_is_up(
    qtbot, viewer, segmented, folder
):
    labels = segmented[1]
    before = labels.data.copy()
    value = other_value(labels, (4, 10, 8))
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), value, release=False)
    qtbot.wait(1000)
    painted = labels.data != before
    assert painted.sum() >= 3
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, labels.data)
    np.testing.assert_array_equal(masks.edited, painted)
    native = viewer.window._qt_viewer.canvas.native
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton)


def test_undo_redo_and_fill_are_on_the_disk(qtbot, viewer, segmented, folder):
    labels = segmented[1]
    before = labels.data.copy()
    value = other_value(labels, (4, 10, 8))
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), value)
    stroke = labels.data.copy()
    native = viewer.window._qt_viewer.canvas.native
    settle(viewer)
    QTest.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(labels.data, before)
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, before)
    assert not masks.edited.any()
    labels.redo()
    settle(viewer)
    masks = only_case(folder).load()
    np.testing.assert_array_equal(masks.label, stroke)
    np.testing.assert_array_equal(masks.edited, stroke != before)
    labels.fill((2, 5, 5), 2)
    settle(viewer)
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)


def test_the_case_refers_to_its_image_and_lies_on_it(viewer, segmented, folder, scan_file):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)
    record = only_case(folder).record()
    assert record.image.path == "../images/patient01_mr.nii.gz"
    assert record.patient == "patient01" and record.values == ("class 0", "class 1", "class 2")
    assert record.runs[0]["provenance"]["seed"] == 0
    viewer.layers.remove(labels)
    deadline = time.monotonic() + 5
    while only_case(folder).journal.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    file = nib.load(only_case(folder).folder / "label.nii.gz")
    np.testing.assert_array_equal(file.affine, nib.load(scan_file).affine)
    np.testing.assert_array_equal(read_scan(file.get_filename()).array, labels.data)


def test_oblique_images_keep_their_exact_grid(
    viewer, widget, run, model_file, oblique_file, folder
):
    path, array, affine = oblique_file
    viewer.open(path, plugin="napari-ldseg")
    widget.model.choose(model_file(2, classes=3))
    run(samples=2)
    labels = result_layer(viewer, "labels")
    index = tuple(n // 2 for n in labels.data.shape)
    paint_at(viewer, labels, index, other_value(labels, index))
    assert project_of(viewer).labels.find(labels).recorder.close()
    file = nib.load(only_case(folder).folder / "label.nii.gz")
    edited = nib.load(only_case(folder).folder / "edited.nii.gz").get_fdata()
    assert file.shape == array.shape
    np.testing.assert_array_equal(file.affine, affine)
    scan = read_scan(path)
    there = np.linalg.inv(affine) @ scan.affine @ [*index, 1]
    assert np.argwhere(edited).tolist() == [np.rint(there[:3]).astype(int).tolist()]


def test_labels_made_without_a_model_are_saved_and_their_classes_followed(
    viewer, panel, scan_file, folder
):
    (image,) = viewer.open(scan_file, plugin="napari-ldseg")
    named = {1: ClassInfo(name="organ", colour="#ff0000")}
    labels = Labels(np.zeros(image.data.shape, np.uint8), name="mine", **derived_attributes(image))
    labels.metadata["napari_ldseg_classes"] = named
    viewer.add_layer(labels)
    paint_at(viewer, labels, (4, 10, 8), 1)
    settle(viewer)
    assert only_case(folder).record().image.path == "../images/patient01_mr.nii.gz"
    assert only_case(folder).record().values == ("background", "organ")
    labels.metadata["napari_ldseg_classes"] = named | {
        3: ClassInfo(name="tumour", colour="#00ff00")
    }
    labels.features = {"index": [0, 1, 3], "name": ["background", "organ", "tumour"]}
    settle(viewer)
    record = only_case(folder).record()
    assert record.names == {0: "background", 1: "organ", 3: "tumour"}
    assert len(project_of(viewer).project.classes_of(record)) == 3
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)


def test_reviewed_labels_are_protected_too_and_can_be_unmarked(
    qtbot, viewer, widget, panel, run, segmented, folder
):
    labels = segmented[1]
    viewer.layers.selection.active = labels
    viewer.dims.set_current_step(0, 3)
    assert panel.review.mark.isEnabled()
    panel.review.extent.setCurrentText("the slice shown")
    click(panel.review.mark)
    assert "is marked as reviewed" in panel.status.text()
    mine = labels.data.copy()
    settle(viewer)
    masks = only_case(folder).load()
    assert masks.reviewed[3].all() and masks.reviewed.sum() == masks.reviewed[3].size
    qtbot.waitUntil(lambda: states(panel) == ["12 % reviewed"], timeout=3000)
    widget.seed.setValue(5)
    run(samples=2)
    click(widget.update_notice.first)
    np.testing.assert_array_equal(labels.data[3], mine[3])
    assert not np.array_equal(labels.data, mine)
    viewer.layers.selection.active = labels
    panel.review.extent.setCurrentText("the whole case")
    click(panel.review.unmark)
    settle(viewer)
    assert not only_case(folder).load().reviewed.any()


def test_a_box_can_be_reviewed(qtbot, viewer, panel, segmented, folder):
    labels = segmented[1]
    corners = [labels.data_to_world(c) for c in ((2, 5, 6), (2, 5, 15), (2, 11, 15), (2, 11, 6))]
    viewer.add_shapes([corners], shape_type="rectangle", name="box")
    viewer.layers.selection.active = labels
    panel.review.extent.setCurrentText("inside box")
    click(panel.review.mark)
    settle(viewer)
    reviewed = only_case(folder).load().reviewed
    assert reviewed[2, 5:12, 6:16].all() and reviewed.sum() == 7 * 10 * (
        8 if reviewed[0].any() else 1
    )


def test_signing_off_needs_a_name_and_an_edit_withdraws_it(qtbot, viewer, panel, segmented, folder):
    labels = segmented[1]
    viewer.layers.selection.active = labels
    panel.review.name.setText("")
    click(panel.review.sign)
    assert "Enter your name" in panel.status.text() and not folder.exists()
    QTest.keyClicks(panel.review.name, "Dr. Gray")
    click(panel.review.sign)
    qtbot.waitUntil(lambda: states(panel) == ["signed off"], timeout=3000)
    signed = only_case(folder).record().sign_off
    assert signed.who == "Dr. Gray" and signed.verdict == "accepted"
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)
    record = only_case(folder).record()
    assert record.sign_off is None and record.earlier_sign_offs == (signed,)
    viewer.layers.selection.active = labels
    click(panel.review.sign)
    settle(viewer)
    assert only_case(folder).record().sign_off.verdict == "edited"


def crash(viewer, labels, folder):
    """Paint, then release the project without saving, as a crash does."""
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    settle(viewer)
    painted = labels.data.copy()
    case = only_case(folder)
    journal = case.journal.read_bytes()
    label = (case.folder / "label.nii.gz").read_bytes()
    record = (case.folder / "case.json").read_bytes()
    project_of(viewer).shut_down()
    case.journal.write_bytes(journal)
    (case.folder / "label.nii.gz").write_bytes(label)
    (case.folder / "case.json").write_bytes(record)
    (case.folder / "edited.nii.gz").unlink()
    return painted


@pytest.fixture
def crashed(qtbot, viewer, widget, segmented, folder):
    """A project whose last session was killed, an empty viewer, and what had been painted."""
    unedited = segmented[1].data.copy()
    painted = crash(viewer, segmented[1], folder)
    qtbot.wait(200)
    remove_all(qtbot, viewer)
    viewer.window.remove_dock_widget(widget)
    return unedited, painted


def test_restore_brings_the_strokes_back_with_their_image(qtbot, viewer, crashed, folder):
    unedited, painted = crashed
    _, panel = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Project")
    qtbot.waitUntil(panel.project_notice.isVisible, timeout=3000)
    assert "patient01_mr" in panel.project_notice.text.text()
    click(panel.project_notice.first)
    click(panel.project_notice.first)
    qtbot.waitUntil(lambda: len(label_layers(viewer)) == 1, timeout=5000)
    assert not panel.project_notice.isVisible()
    click(panel.project_notice.first)
    labels = result_layer(viewer, "labels")
    np.testing.assert_array_equal(labels.data, painted)
    np.testing.assert_allclose(viewer.layers[0].scale, labels.scale)
    qtbot.waitUntil(lambda: not panel.project_notice.isVisible(), timeout=3000)
    settle(viewer)
    assert len(label_layers(viewer)) == 1 and not only_case(folder).journal.exists()
    np.testing.assert_array_equal(only_case(folder).load().edited, painted != unedited)
    paint_at(viewer, labels, (2, 5, 5), other_value(labels, (2, 5, 5)))
    settle(viewer)
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)


def test_discard_keeps_the_corrections_in_a_file(qtbot, viewer, crashed, folder):
    unedited, _ = crashed
    _, panel = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Project")
    qtbot.waitUntil(panel.project_notice.isVisible, timeout=3000)
    click(panel.project_notice.second)
    assert not panel.project_notice.isVisible()
    assert list(only_case(folder).folder.glob("journal-discarded-*"))
    np.testing.assert_array_equal(only_case(folder).load().label, unedited)


def test_the_segment_widget_offers_to_restore_too(qtbot, viewer, crashed):
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    qtbot.waitUntil(widget.project_notice.isVisible, timeout=3000)
    assert widget.project_notice.first.text() == "Restore"


def test_a_restored_label_is_still_protected(qtbot, viewer, crashed, model_file):
    unedited, painted = crashed
    _, fresh = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    click(fresh.project_notice.first)
    qtbot.waitUntil(lambda: len(label_layers(viewer)) == 1, timeout=5000)
    labels = result_layer(viewer, "labels")
    fresh.model.choose(model_file(2, classes=3))
    fresh.seed.setValue(9)
    fresh.samples.setValue(2)
    click(fresh.segment)
    qtbot.waitUntil(lambda: not fresh.session.running, timeout=60_000)
    click(fresh.update_notice.first)
    edited = painted != unedited
    np.testing.assert_array_equal(labels.data[edited], painted[edited])
    assert not np.array_equal(labels.data, painted)


def test_closing_the_window_saves_everything(qtbot, viewer, segmented, folder):
    labels = segmented[1]
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    painted = labels.data.copy()
    viewer.close()
    qtbot.wait(300)
    assert not only_case(folder).journal.exists() and not (folder / ".lock").exists()
    np.testing.assert_array_equal(only_case(folder).load().label, painted)
    assert only_case(folder).record().state == "edited"


def test_a_window_killed_in_mid_stroke_offers_to_restore(tmp_path):
    done = subprocess.run(
        [sys.executable, str(KILL), "--kills", "1", "--longest", "2", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(KILL.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1" in done.stdout


def test_a_full_disk_is_reported_and_the_window_stays_open_once(
    qtbot, viewer, widget, segmented, folder, monkeypatch, assert_sentence
):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_ldseg.project.journal.os.write", full)
    monkeypatch.setattr("napari_ldseg.utils.atomic.os.replace", full)
    paint_at(viewer, labels, (4, 12, 8), other_value(labels, (4, 12, 8)))
    qtbot.waitUntil(widget.project_notice.isVisible, timeout=3000)
    assert_sentence(widget.project_notice.text.text(), "No space left", "kept in memory")
    viewer.window._qt_window.close()
    assert viewer.window._qt_window.isVisible()
    monkeypatch.undo()
    click(widget.project_notice.first)
    qtbot.waitUntil(lambda: not widget.project_notice.isVisible(), timeout=5000)
    settle(viewer)
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)


def test_a_project_open_elsewhere_is_reported_and_nothing_is_lost(
    qtbot, viewer, widget, panel, segmented, folder, tmp_path, assert_sentence, monkeypatch
):
    other = Project(folder, create=True)
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    qtbot.waitUntil(widget.project_notice.isVisible, timeout=3000)
    assert "open in another" in widget.project_notice.text.text()
    monkeypatch.setattr(f"{DIALOG}.getExistingDirectory", lambda *a, **k: str(tmp_path / "second"))
    click(panel.change)
    qtbot.waitUntil(lambda: not widget.project_notice.isVisible(), timeout=5000)
    settle(viewer)
    np.testing.assert_array_equal(only_case(tmp_path / "second").load().label, labels.data)
    other.close()


def test_cases_open_from_the_list_and_lost_images_can_be_located(
    qtbot, viewer, panel, segmented, scan_file, tmp_path, monkeypatch
):
    labels = segmented[1]
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), other_value(labels, (4, 10, 8)))
    painted = labels.data.copy()
    settle(viewer)
    remove_all(qtbot, viewer)
    qtbot.waitUntil(lambda: panel.cases.rowCount() == 1, timeout=5000)
    panel.cases.selectRow(0)
    moved = tmp_path / "moved.nii.gz"
    os.rename(scan_file, moved)
    click(panel.open)
    qtbot.waitUntil(panel.locate.isVisible, timeout=5000)
    assert "put it back or locate it" in panel.status.text()
    monkeypatch.setattr(f"{DIALOG}.getOpenFileName", lambda *a, **k: (str(moved), ""))
    click(panel.locate)
    qtbot.waitUntil(lambda: len(label_layers(viewer)) == 1, timeout=5000)
    np.testing.assert_array_equal(result_layer(viewer, "labels").data, painted)
    assert not panel.locate.isVisible()


def test_a_case_that_cannot_be_read_stays_in_the_list(
    qtbot, viewer, panel, segmented, folder, assert_sentence
):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)
    remove_all(qtbot, viewer)
    (folder / "cases" / "broken").mkdir()
    (folder / "cases" / "broken" / "case.json").write_text("{")
    panel.project_state.changed.emit()
    qtbot.waitUntil(lambda: states(panel) == ["edited", "cannot be read"], timeout=3000)
    panel.cases.selectRow(1)
    click(panel.open)
    qtbot.waitUntil(lambda: "not valid" in panel.status.text(), timeout=5000)
    assert_sentence(panel.status.text(), "case.json")


def test_import_and_export_by_clicks(
    qtbot, viewer, panel, segmented, folder, tmp_path, monkeypatch
):
    viewer.layers.selection.active = segmented[1]
    panel.review.extent.setCurrentText("the slice shown")
    click(panel.review.mark)
    qtbot.waitUntil(lambda: states(panel) == ["12 % reviewed"], timeout=5000)
    assert not panel.export.isEnabled() and "fully reviewed" in panel.export.toolTip()
    panel.review.extent.setCurrentText("the whole case")
    click(panel.review.mark)
    settle(viewer)
    qtbot.waitUntil(lambda: panel.export.isEnabled(), timeout=5000)
    monkeypatch.setattr(f"{DIALOG}.getExistingDirectory", lambda *a, **k: str(tmp_path / "out"))
    busy_when_reported = []
    panel.project_state.done.connect(
        lambda text: busy_when_reported.append(panel.project_state.busy)
    )
    panel.export.menu().actions()[0].trigger()
    qtbot.waitUntil(lambda: panel.status.text() == "Exported 1 case.", timeout=5000)
    assert busy_when_reported == [""] and panel.import_cases.isEnabled()
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["numTraining"] == 1
    click(panel.import_cases)
    qtbot.waitUntil(lambda: panel.status.text() == "Imported 1 case.", timeout=5000)
    qtbot.waitUntil(lambda: states(panel) == ["reviewed", "reviewed"], timeout=3000)


def test_correct_alone_saves_labels_made_without_a_model(qtbot, viewer, scan_file, folder):
    viewer.open(scan_file, plugin="napari-ldseg")
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    click(correct.new_labels)
    correct.dialog.table.item(0, 1).setText("organ")
    click(correct.dialog.ok)
    labels = result_layer(viewer, "labels")
    assert not correct.foreign.isVisible()
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), 1)
    qtbot.wait(1000)
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)
    assert only_case(folder).record().values == ("background", "organ")
    viewer.close()
    qtbot.wait(300)
    assert not only_case(folder).journal.exists() and not (folder / ".lock").exists()


def test_correct_alone_offers_to_restore(qtbot, viewer, crashed):
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    qtbot.waitUntil(correct.project_notice.isVisible, timeout=3000)
    assert correct.project_notice.first.text() == "Restore"


def test_labels_from_elsewhere_are_saved_once_their_classes_are_named(
    qtbot, viewer, scan_file, folder
):
    (image,) = viewer.open(scan_file, plugin="napari-ldseg")
    labels = viewer.add_labels(
        np.ones(image.data.shape, np.uint8), name="foreign", **derived_attributes(image)
    )
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    qtbot.waitUntil(correct.foreign.isVisible, timeout=2000)
    click(correct.edit_classes)
    correct.dialog.table.item(0, 1).setText("liver")
    click(correct.dialog.ok)
    assert not correct.foreign.isVisible()
    paint_at(viewer, labels, (4, 10, 8), 0)
    settle(viewer)
    assert only_case(folder).record().values == ("background", "liver")
    assert np.count_nonzero(labels.data == 0) == 1
    np.testing.assert_array_equal(only_case(folder).load().edited, labels.data == 0)


def test_a_recoloured_class_is_recoloured_in_the_project(qtbot, viewer, segmented, folder):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)
    _, correct = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    click(correct.edit_classes)
    correct.dialog._set_colour(0, "#123456")
    correct.dialog.table.item(0, 2).setText("10200004")
    click(correct.dialog.ok)
    settle(viewer)
    kept = Project.for_reading(folder).record.classes[1]
    assert (kept.name, kept.colour, kept.snomed) == ("class 1", "#123456", "10200004")


def test_the_list_shows_edited_from_the_first_stroke_on(qtbot, viewer, panel, segmented):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    qtbot.waitUntil(lambda: states(panel) == ["edited"], timeout=3000)


@pytest.mark.parametrize("name", ["Segment", "Correct"])
def test_a_restore_that_fails_is_explained_where_it_was_pressed(
    qtbot, viewer, crashed, scan_file, name, assert_sentence
):
    os.rename(scan_file, scan_file.with_name("elsewhere.nii.gz"))
    _, fresh = viewer.window.add_plugin_dock_widget("napari-ldseg", f"LDSeg: {name}")
    qtbot.waitUntil(fresh.project_notice.isVisible, timeout=3000)
    click(fresh.project_notice.first)
    qtbot.waitUntil(lambda: "put it back or locate it" in fresh.status.text(), timeout=5000)
    assert fresh.project_notice.isVisible()


def test_images_of_one_name_are_of_the_patients_of_their_folders(
    qtbot, viewer, widget, run, panel, model_file, tmp_path, folder
):
    widget.model.choose(model_file(2, classes=3))
    for patient in ("patient_0", "patient_1"):
        path = tmp_path / patient / "T1.nii.gz"
        path.parent.mkdir()
        noise = np.random.default_rng(0).integers(0, 99, (20, 18, 4)).astype(np.int16)
        nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
        widget.image.value = viewer.open(path, plugin="napari-ldseg")[0]
        run(samples=1)
        viewer.layers.selection.active = result_layer(viewer, "labels")
        click(panel.review.mark)
        settle(viewer)
    records = Project.for_reading(folder).records()
    assert {name: r.patient for name, r in records.items()} == {
        "T1": "patient_0",
        "T1-2": "patient_1",
    }


def test_the_review_summary_follows_the_slice_shown(qtbot, viewer, panel, segmented, folder):
    labels = segmented[1]
    viewer.layers.selection.active = labels
    panel.review.extent.setCurrentText("the slice shown")
    assert (
        "Nothing is reviewed yet" in panel.review.reviewing.text()
        and not panel.review.unmark.isEnabled()
    )
    for index in (1, 2, 3, 5):
        viewer.dims.set_current_step(0, index)
        click(panel.review.mark)
        if index == 1:
            assert "Slice 1 is reviewed. Reviewed: slice 1." in panel.review.reviewing.text()
    assert panel.status.text().startswith("Slice 5 of ")
    assert "Slice 5 is reviewed. Reviewed: slices 1 to 3, 5." in panel.review.reviewing.text()
    assert panel.review.unmark.isEnabled()
    viewer.dims.set_current_step(0, 6)
    assert "Slice 6 is not reviewed. Reviewed: slices 1 to 3, 5." in panel.review.reviewing.text()
    assert not panel.review.unmark.isEnabled()
    panel.review.extent.setCurrentText("the whole case")
    assert panel.review.unmark.isEnabled()
    click(panel.review.unmark)
    assert (
        "Nothing is reviewed yet" in panel.review.reviewing.text()
        and not panel.review.unmark.isEnabled()
    )


def test_unmarking_a_slice_reports_that_the_sign_off_is_withdrawn(
    qtbot, viewer, panel, segmented, folder
):
    viewer.layers.selection.active = segmented[1]
    panel.review.name.setText("Dr. Gray")
    click(panel.review.sign)
    qtbot.waitUntil(lambda: states(panel) == ["signed off"], timeout=3000)
    panel.review.extent.setCurrentText("the slice shown")
    click(panel.review.unmark)
    assert panel.status.text().endswith(", and Dr. Gray's sign-off is withdrawn.")
    settle(viewer)
    assert only_case(folder).record().sign_off is None


def test_a_value_without_a_class_is_not_reviewed_nor_used_for_training(
    qtbot, viewer, panel, segmented, folder, assert_sentence
):
    labels = segmented[1]
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), 7)
    panel.review.name.setText("Dr. Gray")
    viewer.dims.set_current_step(0, 4)
    for extent, button in (
        ("the whole case", panel.review.sign),
        ("the whole case", panel.review.mark),
        ("the slice shown", panel.review.mark),
    ):
        panel.review.extent.setCurrentText(extent)
        click(button)
        assert_sentence(panel.status.text(), labels.name, "the value 7", "Edit classes")
    settle(viewer)
    assert not only_case(folder).load().reviewed.any()
    labels.undo()
    click(panel.review.sign)
    qtbot.waitUntil(lambda: states(panel) == ["signed off"], timeout=3000)
    _, train = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Train")
    drag(viewer, labels, (4, 10, 8), (4, 10, 18), 7)
    cases = train.setup.cases.table
    qtbot.waitUntil(lambda: "the value 7" in cases.item(0, 0).toolTip(), timeout=3000)
    assert cases.item(0, 0).text() == cases.item(0, 0).toolTip().split("\n")[0]
    assert cases.item(0, 1).text() == "not usable" and not train.setup.start.isEnabled()
    remove_all(qtbot, viewer)
    qtbot.waitUntil(lambda: only_case(folder).record().unnamed_value == 7, timeout=5000)
    train.setup.refresh()
    assert cases.item(0, 1).text() == "not usable"


def test_undoing_every_stroke_shows_in_the_list(qtbot, viewer, panel, segmented):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    qtbot.waitUntil(lambda: states(panel) == ["edited"], timeout=3000)
    settle(viewer)
    labels.undo()
    qtbot.waitUntil(lambda: states(panel) == ["unreviewed"], timeout=3000)


@pytest.fixture
def pair(panel, folder, scan_file):
    """A project with cases of five patients, of which one is held out; returns their names."""
    panel.project_state.exchange("Adding …", lambda project: "")
    scan = read_scan(scan_file)
    classes = [ClassInfo(name=name, colour="#000000") for name in ("background", "organ")]
    masks = Masks.untouched(np.zeros(scan.shape, np.uint8))
    for i in range(5):
        panel.project_state.project.add_case(f"case_{i}", scan, scan_file, classes, masks)
    panel.project_state.changed.emit()
    splits = {r.split: name for name, r in panel.project_state.records().items()}
    return splits["training"], splits["validation"]


def test_the_patient_of_a_case_can_be_changed(qtbot, viewer, panel, pair):
    training, held_out = pair
    panel.cases.choose(training)
    assert panel.patient.text() == training
    panel.patient.selectAll()
    QTest.keyClicks(panel.patient, held_out)
    QTest.keyClick(panel.patient, Qt.Key.Key_Return)
    assert panel.status.text() == (
        f"{training} now belongs to {held_out}, whose images are all held out to compare models. Earlier "
        "models may have been trained on it."
    )
    record = panel.project_state.project.case(training).record()
    assert (record.patient, record.split) == (held_out, "validation")
    row = panel.cases.currentRow()
    assert panel.cases.item(row, 2).text() == "validation" and panel.patient.text() == held_out
    panel.patient.selectAll()
    QTest.keyClick(panel.patient, Qt.Key.Key_Backspace)
    QTest.keyClick(panel.patient, Qt.Key.Key_Return)
    assert "Name the patient" in panel.status.text() and panel.patient.text() == held_out
    # Of a case whose labels are open too, sign-off and label as they were.
    click(panel.open)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=5000)
    panel.review.name.setText("Dr. Gray")
    click(panel.review.sign)
    qtbot.waitUntil(lambda: states(panel)[row] == "signed off", timeout=3000)
    panel.patient.selectAll()
    QTest.keyClicks(panel.patient, "Miller")
    QTest.keyClick(panel.patient, Qt.Key.Key_Return)
    settle(viewer)
    record = panel.project_state.project.case(training).record()
    assert record.patient == "Miller" and record.sign_off.who == "Dr. Gray"


def answer(button):
    """Press the button labelled ``button`` of the next question; return a list with the question."""
    asked = []

    def press():
        box = QApplication.activeModalWidget()
        if box is None:
            QTimer.singleShot(50, press)
            return
        asked.append(box.informativeText())
        click(next(b for b in box.buttons() if b.text().replace("&", "") == button))

    QTimer.singleShot(50, press)
    return asked


def test_a_case_can_be_removed_and_its_layer_stays(qtbot, viewer, panel, segmented, folder):
    labels = segmented[1]
    paint_at(viewer, labels, (4, 10, 8), other_value(labels, (4, 10, 8)))
    settle(viewer)
    qtbot.waitUntil(lambda: states(panel) == ["edited"], timeout=3000)
    assert not panel.remove.isEnabled()
    panel.cases.selectRow(0)
    answer("Cancel")
    click(panel.remove)
    assert states(panel) == ["edited"]
    asked = answer("Remove")
    click(panel.remove)
    assert "removed" in asked[0]
    qtbot.waitUntil(lambda: panel.cases.rowCount() == 0, timeout=5000)
    assert "removed/patient01_mr" in panel.status.text()
    assert not list((folder / "cases").iterdir()) and labels in viewer.layers
    removed = CaseFolder(folder / "removed" / "patient01_mr")
    np.testing.assert_array_equal(removed.load().label, labels.data)
    assert not panel.project_state.problem
    stroke = labels.data != removed.load().label
    paint_at(viewer, labels, (2, 10, 8), other_value(labels, (2, 10, 8)))
    qtbot.waitUntil(lambda: states(panel) == ["edited"], timeout=5000)
    settle(viewer)
    assert not stroke.any() and only_case(folder).load().edited.sum() == 2
    np.testing.assert_array_equal(only_case(folder).load().label, labels.data)
