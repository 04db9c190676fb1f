"""The Worklist tab: cases of a results folder and of the project, opened, corrected and signed off."""

import json
import time
from threading import Event

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest

from napari_ldseg.batch.worklist import (
    CORRECTED,
    REVIEWED,
    SIGNED_OFF,
    TO_DO,
    Entry,
    entries_of_results,
    read_results,
)
from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.layers.geometry import grid_of, layer_scan
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.scan import Scan
from napari_ldseg.utils.colours import class_colour
from napari_ldseg.widgets.common.class_labels import classes_of
from napari_ldseg.widgets.common.thumbnails import case_thumbnail, representative_index
from napari_ldseg.widgets.project.state import project_of
from napari_ldseg.widgets.worklist import worklist
from napari_ldseg.widgets.worklist.case_list import ENTRY, CaseList
from napari_ldseg.widgets.worklist.thumbnails import Thumbnails

from .conftest import click, drag, label_layers, other_value, paint_at, settle


@pytest.fixture
def oblique_scans(oblique_file):
    """Three oblique volumes of the same grid."""
    path, array, affine = oblique_file
    paths = []
    for i in range(3):
        image = nib.Nifti1Image(np.roll(array, 3 * i, axis=1), affine, nib.load(path).header)
        paths.append(path.with_name(f"oblique{i}.nii.gz"))
        nib.save(image, paths[-1])
    return paths


RANKING = (
    "The expected error does not rank cases: its rank correlation with the true error was 0.25."
)


@pytest.fixture
def results(results_folder, oblique_scans):
    """Results of a model whose expected errors are in no order."""
    folder = results_folder(oblique_scans)
    for path in folder.glob("records/*.json"):
        record = json.loads(path.read_text()) | {"expected_error_ranking": RANKING}
        path.write_text(json.dumps(record))
    return folder


@pytest.fixture
def tab(viewer, qtbot):
    """The Worklist widget, docked."""
    _, tab = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Worklist")
    yield tab
    tab.thumbnails.shut_down()
    qtbot.waitUntil(lambda: not tab.worklist._workers and tab.thumbnails._worker is None)


@pytest.fixture
def listed(qtbot, tab, results):
    """The widget with the results listed, and their names in its order."""
    tab.worklist.show_results(results)
    qtbot.waitUntil(lambda: len(tab.worklist.entries) == 3 and not tab.worklist.busy)
    return [entry.name for entry in tab.worklist.entries]


def click_row(tab, name):
    """Click a case in the list."""
    index = tab.cases.entries.index(tab.cases.entries.row_of(name))
    place: QPoint = tab.cases.visualRect(index).center()
    none = Qt.KeyboardModifier.NoModifier
    QTest.mouseClick(tab.cases.viewport(), Qt.MouseButton.LeftButton, none, place)


def wait_open(qtbot, tab, name):
    """Wait until a case is open and nothing of another one is left."""
    qtbot.waitUntil(
        lambda: (
            tab.worklist.open_name == name
            and not tab.worklist._layers._closed
            and tab.worklist._reading is None
        ),
        timeout=20_000,
    )


def open_case(qtbot, tab, name):
    click_row(tab, name)
    wait_open(qtbot, tab, name)
    return tab.worklist._layers.labels


def status(tab, name):
    return tab.worklist.entry(name).status


def paint(viewer, labels):
    index = tuple(n // 2 for n in labels.data.shape)
    paint_at(viewer, labels, index, other_value(labels, index))
    return index


def test_a_click_opens_a_case_exactly_on_its_oblique_image(
    viewer, qtbot, tab, listed, results, oblique_scans
):
    name = listed[0]
    assert tab.ranking.text() == RANKING and tab.ranking.isVisible()
    labels = open_case(qtbot, tab, name)
    (path,) = [p for p in oblique_scans if p.name.startswith(name)]
    image = tab.worklist._layers.image
    assert [layer.name for layer in viewer.layers] == [
        name,
        f"sample SD · {name}",
        f"uncertainty · {name}",
        f"labels · {name}",
    ]
    for layer in viewer.layers:
        assert grid_of(layer) == grid_of(image)
        np.testing.assert_allclose(layer_scan(layer).affine, layer_scan(image).affine)
    assert viewer.layers.selection.active == labels and labels.visible
    middle = labels.data_to_world((representative_index(labels.data)[0], 0, 0))[0]
    assert viewer.dims.point[0] == pytest.approx(middle, abs=1.2)
    (read,) = viewer.open(path, plugin="napari-ldseg")
    assert grid_of(read) == grid_of(image)
    np.testing.assert_array_equal(read.data, image.data)
    (written,) = viewer.open(results / "labels" / f"{name}.nii.gz", plugin="napari-ldseg")
    assert grid_of(written) == grid_of(labels)
    np.testing.assert_array_equal(written.data, labels.data)
    assert {v: (c.name, c.colour) for v, c in classes_of(labels).items()} == {
        v: (f"class {v}", class_colour(v)) for v in (1, 2)
    }


def test_the_next_case_takes_the_place_of_the_one_before(viewer, qtbot, tab, listed):
    own = viewer.add_points(np.zeros((1, 3)), name="mine", units=["mm"] * 3)
    open_case(qtbot, tab, listed[0])
    click(tab.next)
    wait_open(qtbot, tab, listed[1])
    assert own in viewer.layers and len(viewer.layers) == 5
    assert all(listed[1] in layer.name for layer in viewer.layers if layer is not own)
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_N)
    wait_open(qtbot, tab, listed[2])
    tab.cases.setFocus()
    QTest.keyClick(tab.cases, Qt.Key.Key_N)  # the first one is still to do
    wait_open(qtbot, tab, listed[0])
    assert tab.cases.chosen == listed[0] and len(viewer.layers) == 5
    (labels,) = label_layers(viewer)
    click_row(tab, listed[0])  # it is open already, and has no corrections
    assert tab.worklist._opening is None and label_layers(viewer) == [labels]


def test_the_next_case_is_read_before_it_is_opened(qtbot, tab, listed, monkeypatch):
    open_case(qtbot, tab, listed[0])
    qtbot.waitUntil(lambda: tab.worklist._ahead is not None)
    with monkeypatch.context() as patch:
        patch.setattr(worklist, "load_entry", None)
        click(tab.next)
        assert tab.worklist.open_name == listed[1]  # within the click
    wait_open(qtbot, tab, listed[1])


def test_a_case_that_was_read_ahead_is_read_again_when_its_label_has_changed(
    qtbot, tab, listed, results
):
    open_case(qtbot, tab, listed[0])
    qtbot.waitUntil(lambda: tab.worklist._ahead is not None)
    path = results / "labels" / f"{listed[1]}.nii.gz"
    image = nib.load(path)
    time.sleep(0.02)
    nib.save(nib.Nifti1Image(np.full(image.shape, 2, np.uint8), image.affine, image.header), path)
    click(tab.next)
    wait_open(qtbot, tab, listed[1])
    assert (tab.worklist._layers.labels.data == 2).all()


def test_painting_reviewing_and_signing_off_change_the_status(
    viewer, qtbot, tab, panel, listed, results, folder
):
    first, second, third = listed
    labels = open_case(qtbot, tab, first)
    index = paint(viewer, labels)
    qtbot.waitUntil(lambda: status(tab, first) == CORRECTED)
    painted = labels.data.copy()
    labels = open_case(qtbot, tab, second)
    viewer.layers.selection.active = labels
    click(panel.review.mark)
    qtbot.waitUntil(lambda: status(tab, second) == REVIEWED)
    labels = open_case(qtbot, tab, third)
    viewer.layers.selection.active = labels
    panel.review.name.setText("Ada")
    click(panel.review.sign)
    qtbot.waitUntil(lambda: status(tab, third) == SIGNED_OFF)
    assert not tab.next.isEnabled() and tab.next.text() == "Nothing to do"
    assert str(folder) in tab.kept.text().replace("\u200b", "")
    # Opened again, the correction is there, and so it is on the disk.
    labels = open_case(qtbot, tab, first)
    np.testing.assert_array_equal(labels.data, painted)
    assert project_of(viewer).labels.find(labels).recorder.case.name == first
    paint_at(viewer, labels, index, 0)
    settle(viewer)
    records = Project.for_reading(folder).records()
    entries = entries_of_results(read_results(results).cases, records)
    assert {e.name: e.status for e in entries} == {
        first: CORRECTED,
        second: REVIEWED,
        third: SIGNED_OFF,
    }


def test_a_widget_docked_again_has_the_same_list_and_status(viewer, qtbot, tab, listed):
    labels = open_case(qtbot, tab, listed[0])
    paint(viewer, labels)
    qtbot.waitUntil(lambda: status(tab, listed[0]) == CORRECTED)
    viewer.window.remove_dock_widget(tab)
    _, again = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Worklist")
    qtbot.waitUntil(lambda: len(again.worklist.entries) == 3)
    assert again is not tab and status(again, listed[0]) == CORRECTED
    click_row(again, listed[0])  # it is open already
    assert len(label_layers(viewer)) == 1 and again.worklist._opening is None
    again.thumbnails.shut_down()
    qtbot.waitUntil(lambda: again.thumbnails._worker is None)


def test_strokes_are_saved_when_the_next_case_opens_at_once(viewer, qtbot, tab, listed, folder):
    labels = open_case(qtbot, tab, listed[0])
    middle = labels.data.shape[0] // 2
    value = other_value(labels, (middle, 5, 5))
    drag(viewer, labels, (middle, 5, 5), (middle, 5, 9), value)
    data = labels.data.copy()
    click(tab.next)
    wait_open(qtbot, tab, listed[1])
    qtbot.waitUntil(lambda: status(tab, listed[0]) == CORRECTED)
    case = Project.for_reading(folder).case(listed[0])
    qtbot.waitUntil(lambda: not project_of(viewer).labels.finishing)
    np.testing.assert_array_equal(case.load().label, data)


def test_a_case_left_a_moment_ago_opens_with_its_corrections(
    viewer, qtbot, tab, listed, monkeypatch
):
    add_case, asked = Project.add_case, Event()

    def slowly(*args, **options):
        assert asked.wait(60)
        return add_case(*args, **options)

    monkeypatch.setattr(Project, "add_case", slowly)
    labels = open_case(qtbot, tab, listed[0])
    middle = labels.data.shape[0] // 2
    value = other_value(labels, (middle, 5, 5))
    drag(viewer, labels, (middle, 5, 5), (middle, 5, 9), value)
    data = labels.data.copy()
    tab.worklist.open_next()
    wait_open(qtbot, tab, listed[1])
    QTimer.singleShot(300, asked.set)  # saved only after it was asked for
    again = open_case(qtbot, tab, listed[0])
    assert again is not labels and status(tab, listed[0]) == CORRECTED
    np.testing.assert_array_equal(again.data, data)


def test_the_projects_own_cases_open_and_are_read_ahead(viewer, qtbot, tab, listed):
    for name in listed[:2]:
        paint(viewer, open_case(qtbot, tab, name))
        qtbot.waitUntil(lambda name=name: status(tab, name) == CORRECTED)
    open_case(qtbot, tab, listed[2])
    click(tab.choose_project)
    assert [e.name for e in tab.worklist.entries] == listed[:2]
    assert all(e.expected_error is not None for e in tab.worklist.entries)
    labels = open_case(qtbot, tab, listed[1])
    assert [layer.name for layer in label_layers(viewer)] == [f"labels · {listed[1]}"]
    assert project_of(viewer).labels.find(labels).recorder.case.name == listed[1]


def test_filter_and_search(qtbot, viewer, tab, listed):
    paint(viewer, open_case(qtbot, tab, listed[0]))
    qtbot.waitUntil(lambda: status(tab, listed[0]) == CORRECTED)
    open_case(qtbot, tab, listed[1])

    def shown():
        return [tab.cases.entries.index(row).data() for row in range(tab.cases.entries.rowCount())]

    tab.filter.setCurrentText("To do")
    assert shown() == listed[1:]
    tab.filter.setCurrentText("All")
    QTest.keyClicks(tab.search, listed[2].upper())
    assert shown() == [listed[2]]
    QTest.keyClicks(tab.search, "nothing like it")
    assert shown() == [] and tab.empty.isVisible() and not tab.cases.isVisible()


def test_a_folder_without_results_is_one_sentence(qtbot, tab, tmp_path, assert_sentence):
    tab.worklist.show_results(tmp_path)
    qtbot.waitUntil(lambda: "--output" in tab.status.text())
    assert_sentence(tab.status.text(), str(tmp_path))
    assert not tab.worklist.busy and tab.choose_folder.isEnabled()


def test_a_case_whose_image_is_gone_is_one_sentence_and_the_open_case_stays(
    viewer, qtbot, tab, listed, oblique_scans, assert_sentence
):
    open_case(qtbot, tab, listed[0])
    (path,) = [p for p in oblique_scans if p.name.startswith(listed[2])]
    path.unlink()
    click_row(tab, listed[2])
    qtbot.waitUntil(lambda: "no longer" in tab.status.text())
    assert_sentence(tab.status.text(), str(path))
    assert tab.worklist.open_name == listed[0] and len(viewer.layers) == 4
    open_case(qtbot, tab, listed[1])


def test_results_of_a_segmentation_close_with_their_case(
    viewer, qtbot, tab, listed, widget, run, model_file
):
    open_case(qtbot, tab, listed[0])
    widget.model.choose(model_file(3, classes=3))
    widget.image.value = tab.worklist._layers.image
    run(samples=2)
    assert len(label_layers(viewer)) == 2
    open_case(qtbot, tab, listed[1])
    assert all(listed[1] in layer.name for layer in viewer.layers)


def test_a_thumbnail_shows_the_outlines_in_the_classes_colours():
    label = np.zeros((5, 60, 40), np.uint8)
    label[3, 10:50, 10:30] = 1
    image = Scan(np.zeros(label.shape, np.uint8), np.diag([1.0, 2.0, 1.0, 1.0]))
    assert representative_index(label) == (3,) and representative_index(0 * label) == (2,)
    assert representative_index(label[3]) == ()
    classes = {0: ClassInfo(name="b", colour="#000000"), 1: ClassInfo(name="a", colour="#ff0000")}
    picture = case_thumbnail(image, label, classes, 60)
    assert (picture.height(), picture.width()) == (60, 20)  # a pixel is twice as high as wide
    reds = [picture.pixelColor(picture.width() // 2, y).red() for y in range(picture.height())]
    assert max(reds) > 200 and reds[picture.height() // 2] < 60 and reds[0] < 60


def test_three_hundred_cases_make_only_the_thumbnails_that_are_seen(qtbot):
    made = []

    def make(entry):
        made.append(entry.name)

    entries = [Entry(f"case{i:03}", 1 - i / 300, TO_DO, None) for i in range(300)]
    cases = CaseList(Thumbnails(make, None))
    qtbot.addWidget(cases)
    cases.resize(300, 600)
    cases.show_entries(entries, None)
    cases.show()
    qtbot.waitUntil(lambda: "case000" in made)
    start = time.process_time()
    bar = cases.verticalScrollBar()
    for value in range(0, bar.maximum(), 200):
        bar.setValue(value)
        cases.viewport().repaint()
    assert time.process_time() - start < 2
    bar.setValue(bar.maximum())
    qtbot.waitUntil(lambda: "case299" in made, timeout=10_000)
    assert made.index("case299") < 150  # the rows in view come before those passed by
    qtbot.waitUntil(lambda: cases.entries._thumbnails._worker is None, timeout=20_000)
    assert cases.entries.index(299).data(ENTRY) == entries[299]
