"""Every 16-bit label value can have a class; what cannot is said when the classes are edited."""

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.project.case import CaseFolder
from napari_ldseg.widgets.common.class_labels import classes_of, labels_on, set_classes

from .conftest import click


@pytest.fixture
def correct(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Correct")
    return widget


def atlas(viewer, values, dtype=np.int32):
    """Return labels with two voxels of each of ``values``, on an image."""
    side = int(np.ceil(np.sqrt(2 * len(values)))) + 4
    data = np.zeros((side, side), dtype)
    data.reshape(-1)[: 2 * len(values)] = np.repeat(values, 2)
    viewer.add_image(np.zeros(data.shape, np.float32), name="scan")
    return viewer.add_labels(data, name="atlas")


def test_painted_values_get_a_class_although_others_have_one_already(
    qtbot, viewer, correct, folder, assert_sentence
):
    layer = atlas(viewer, [17, 300, 1035, 65535, 70_000])
    set_classes(layer, {17: ClassInfo(name="thalamus", colour="#00ff00")})
    click(correct.edit_classes)
    dialog = correct.dialog
    assert_sentence(dialog.message.text(), "the label value 70000 of atlas", "up to 65535")
    assert dialog._values() == [17, 300, 1035, 65535]
    dialog.table.item(2, 1).setText("cortex")
    click(dialog.ok)
    assert classes_of(layer)[1035].name == "cortex" and classes_of(layer)[17].name == "thalamus"
    layer.data_setitem((np.array([3]), np.array([3])), 1035)
    qtbot.waitUntil(lambda: bool(list(folder.glob("cases/*/case.json"))), timeout=10_000)
    (file,) = folder.glob("cases/*/case.json")
    assert CaseFolder(file.parent).record().names[1035] == "cortex"


def test_a_class_that_cannot_be_kept_is_not_accepted(viewer, correct, assert_sentence):
    layer = atlas(viewer, [1, 70_000])
    layer.selected_label = 70_000
    click(correct.edit_classes)
    dialog = correct.dialog
    click(dialog.ok)
    assert_sentence(dialog.message.text(), "Class 70000 cannot be kept")
    dialog.table.selectRow(dialog._values().index(70_000))
    click(dialog.remove)
    click(dialog.give)
    click(dialog.ok)
    assert set(np.unique(layer.data)) == {0, 1} and list(classes_of(layer)) == [1]


def test_more_classes_than_a_project_holds_are_reported(viewer, correct, assert_sentence):
    layer = atlas(viewer, range(1, 1201))
    click(correct.edit_classes)
    dialog = correct.dialog
    assert_sentence(dialog.message.text(), "201 label values of atlas", "up to 999 classes")
    assert dialog.table.rowCount() == 999
    click(dialog.add)
    assert_sentence(dialog.message.text(), "room for 999 classes")
    click(dialog.ok)
    assert len(classes_of(layer)) == 999


@pytest.mark.parametrize("dtype, highest", [(np.uint8, 255), (np.uint16, 65535)])
def test_a_class_after_the_highest_value_takes_a_free_one(viewer, correct, dtype, highest):
    atlas(viewer, [1, highest], dtype)
    click(correct.edit_classes)
    click(correct.dialog.add)
    assert correct.dialog._values() == [1, highest, 2]


def test_new_labels_can_store_the_values_of_all_their_classes(viewer):
    image = viewer.add_image(np.zeros((8, 8)))
    classes = {v: ClassInfo(name=f"c{v}", colour="#00ff00") for v in range(1, 301)}
    labels = labels_on(image, classes)
    labels.data_setitem((np.array([1]), np.array([1])), 300)
    assert labels.data[1, 1] == 300
