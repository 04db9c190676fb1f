"""The View tab: volumes the right way up, letters, positions in mm, and windows, by clicks and keys."""

import gc
from weakref import ref

import nibabel as nib
import numpy as np
import pytest
from dicom_series import write_ct_series
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QImage, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_ldseg.layers.geometry import derived_attributes
from napari_ldseg.widgets.common.canvas import scale_bar_of
from napari_ldseg.widgets.common.canvas_text import canvas_text_of

from .conftest import canvas_position, click, drag, paint_at

LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom


@pytest.fixture
def view(viewer):
    """The View tab, docked."""
    _, view = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: View")
    return view


@pytest.fixture
def ct_file(tmp_path):
    """A volume in Hounsfield units, in RAS, with air around it."""
    array = np.full((24, 20, 12), -1000, np.int16)
    array[4:-4, 4:-4] = np.random.default_rng(0).integers(-50, 1200, (16, 12, 12))
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 5.0, 1])), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


def edges(viewer):
    """Return the letters that are shown: left, right, top, bottom."""
    labels = canvas_text_of(viewer).edges
    shown = [labels[edge] for edge in ("left", "right", "top", "bottom")]
    return "".join(label.text() for label in shown if label.isVisible())


def test_every_plane_is_right_way_up_with_its_letters_and_the_brush_on_the_drawn_voxel(
    qtbot, viewer, view, oblique_file
):
    (image,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    labels = viewer.add_labels(np.zeros(image.data.shape, np.uint8), **derived_attributes(image))
    low = image.data_to_world((2, 3, 4))
    high = image.data_to_world((9, 12, 10))  # more superior, posterior and left
    for plane, index in (("coronal", (4, 5, 8)), ("sagittal", (9, 12, 4)), ("axial", (3, 5, 8))):
        click(view.planes[plane])
        qtbot.wait(50)
        assert view.planes[plane].isChecked() and edges(viewer) == LETTERS[plane]
        first, second = canvas_position(viewer, low), canvas_position(viewer, high)
        assert first.x() < second.x()  # towards the left, or posterior
        assert (first.y() > second.y()) == (plane != "axial")  # superior is up, posterior down
        before = labels.data.copy()
        paint_at(viewer, labels, index, 1)
        assert np.argwhere(labels.data != before).tolist() == [list(index)]
    click(view.radiological)
    click(view.planes["coronal"])
    assert canvas_position(viewer, low).y() < canvas_position(viewer, high).y()
    assert edges(viewer) == "RLIS"
    click(view.letters)
    assert edges(viewer) == ""


def test_napari_s_roll_and_transpose_keep_every_plane_upright(qtbot, viewer, view, oblique_file):
    viewer.open(oblique_file[0], plugin="napari-ldseg")
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    shown = []
    for _ in range(4):
        QTest.keyClick(native, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)  # roll
        shown.append(edges(viewer))
    assert shown == [LETTERS[p] for p in ("sagittal", "coronal", "axial", "sagittal")]
    QTest.keyClick(native, Qt.Key.Key_T, Qt.KeyboardModifier.ControlModifier)  # transpose
    assert edges(viewer) == LETTERS["sagittal"]
    viewer.dims.ndisplay = 3
    assert edges(viewer) == ""
    viewer.dims.ndisplay = 2
    assert edges(viewer) == LETTERS["sagittal"]


def test_pictures_and_plain_arrays_have_no_letters_and_are_drawn_as_napari_does(
    viewer, view, oblique_file
):
    viewer.add_image(np.zeros((6, 8, 10)), name="array")
    viewer.dims.order = (1, 0, 2)
    assert edges(viewer) == "" and not canvas_text_of(viewer).position.isVisible()
    assert canvas_position(viewer, (0, 0, 0)).y() < canvas_position(viewer, (5, 0, 0)).y()
    assert not view.windows.presets["Lung"].isVisible()
    (volume,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    assert edges(viewer) == ""  # both are visible
    viewer.layers["array"].visible = False
    assert edges(viewer) == LETTERS["coronal"]
    volume.visible = False
    assert edges(viewer) == ""


def test_the_cursor_and_the_slice_are_in_mm_of_the_patient(qtbot, viewer, view, oblique_file):
    (image,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    qtbot.wait(50)
    index = (5, 7, 9)
    world = image.data_to_world(index)
    viewer.dims.point = world
    QTest.mouseMove(viewer.window._qt_viewer.canvas.native, canvas_position(viewer, world))
    x, y, z = (image.metadata["affine"] @ [*index, 1])[:3]
    text = canvas_text_of(viewer).position
    qtbot.waitUntil(lambda: abs(float(text.text().split()[-6]) - abs(x)) < 1.2, timeout=10_000)
    plane, cursor = text.text().split("\n")
    assert plane.startswith("Axial slice 5 · ") and plane.endswith(" mm")
    found = [float(word) for word in cursor.split() if word[0].isdigit()]
    pixel = 2.3  # the mouse is within a pixel of the canvas, a fraction of a voxel
    np.testing.assert_allclose(found, np.abs((x, y, z)), atol=pixel / 2)
    assert scale_bar_of(viewer).visible and viewer.layers.extent.units[-1] == "millimeter"


def test_a_ct_has_its_windows_and_every_image_numbers(qtbot, viewer, view, ct_file):
    (image,) = viewer.open(ct_file, plugin="napari-ldseg")
    windows = view.windows
    qtbot.waitUntil(windows.presets["Lung"].isVisible)
    for name, limits in (("Lung", (-1350, 150)), ("Brain", (0, 80)), ("Bone", (-800, 2000))):
        click(windows.presets[name])
        assert tuple(image.contrast_limits) == limits
        assert windows.width_field.value() == limits[1] - limits[0]
    windows.level_field.selectAll()
    QTest.keyClicks(windows.level_field, "100")
    QTest.keyClick(windows.level_field, Qt.Key.Key_Return)
    assert tuple(image.contrast_limits) == (-1300, 1500)
    click(windows.full)
    assert tuple(image.contrast_limits) == (image.data.min(), image.data.max())
    click(windows.auto)
    low, high = image.contrast_limits
    assert -50 <= low < 0 and 1150 < high <= 1200  # the air does not count
    assert windows.level_field.value() == pytest.approx((low + high) / 2, abs=1)
    mri = viewer.add_image(np.random.default_rng(0).random((4, 5, 6)), name="mri")
    assert windows.layer is mri and not windows.presets["Lung"].isVisible()


def drawn_colour(plane, world):
    """Return the colour of a plane's widget at a world point."""
    at = plane.pixel_of(world).toPoint()
    return plane.grab().toImage().pixelColor(at).getRgb()[:3]


def click_plane(plane, world):
    """Click a plane's widget at a world point."""
    QTest.mouseClick(plane, Qt.MouseButton.LeftButton, pos=plane.pixel_of(world).toPoint())


@pytest.fixture
def planes(qtbot, viewer, view, oblique_file):
    """The layers of an oblique volume and its label map, shown in three planes."""
    (image,) = viewer.open(oblique_file[0], plugin="napari-ldseg")
    labels = viewer.add_labels(
        np.zeros(image.data.shape, np.uint8), opacity=1, **derived_attributes(image)
    )
    viewer.dims.point = image.data_to_world((5, 8, 8))
    click(view.three)
    qtbot.waitUntil(
        lambda: view.three_planes.isVisible() and view.three_planes.views[0].width() > 99
    )
    return image, labels


def test_three_planes_are_upright_in_mm_and_a_click_moves_all(qtbot, viewer, view, planes):
    three, image = view.three_planes, planes[0]
    axial, coronal, _ = three.views
    low, high = (np.array(image.data_to_world(i)) for i in ((2, 3, 4), (9, 12, 10)))
    for plane in three.views:
        first, second = plane.pixel_of(low), plane.pixel_of(high)
        assert first.x() < second.x()
        assert (first.y() > second.y()) == (plane is not axial)
        mm = (high - low)[[plane.columns, plane.rows]]
        pixels = np.abs([second.x() - first.x(), second.y() - first.y()])
        assert pixels[0] / pixels[1] == pytest.approx(mm[0] / mm[1])
        shown = "".join(plane.edges[e] for e in ("left", "right", "top", "bottom"))
        assert shown == LETTERS[plane.name]
    target = image.data_to_world((9, 12, 4))
    click_plane(coronal, (target[0], 0, target[2]))
    click_plane(axial, (0, target[1], target[2]))
    np.testing.assert_allclose(viewer.dims.point, target, atol=0.6)
    index = image.world_to_data(viewer.dims.point)
    assert np.rint(index).astype(int).tolist() == [9, 12, 4]
    for plane in three.views:
        # A voxel away from the lines has the grey value of the slice through the point.
        away = [9, 12, 4]
        away[plane.rows] -= 3
        away[plane.columns] += 3
        low_limit, high_limit = image.contrast_limits
        grey = 255 * (image.data[tuple(away)] - low_limit) / (high_limit - low_limit)
        np.testing.assert_allclose(drawn_colour(plane, image.data_to_world(away)), grey, atol=3)
    native = viewer.window._qt_viewer.canvas.native
    viewer.reset_view()
    qtbot.wait(50)
    there = canvas_position(viewer, image.data_to_world((9, 6, 11)))
    QTest.mouseMove(native, there)
    qtbot.wait(50)
    assert np.rint(image.world_to_data(viewer.dims.point)).astype(int).tolist() == [9, 12, 4]
    move = QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(there),
        QPointF(native.mapToGlobal(there)),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.ShiftModifier,
    )
    QApplication.sendEvent(native, move)
    qtbot.waitUntil(
        lambda: np.rint(image.world_to_data(viewer.dims.point)).astype(int).tolist() == [9, 6, 11],
        timeout=10_000,
    )


def test_painting_undo_and_the_looks_of_layers_show_in_all_planes(qtbot, viewer, view, planes):
    image, labels = planes
    drag(viewer, labels, (5, 4, 4), (5, 4, 9), 1, size=3)
    colour = np.rint(255 * labels.colormap.map(1))[:3]

    def coloured():
        """Return which planes show the label somewhere."""
        return [plane.name for plane in view.three_planes.views if has_colour(plane, colour)]

    qtbot.waitUntil(lambda: coloured() == ["axial", "coronal", "sagittal"], timeout=10_000)
    labels.undo()
    qtbot.waitUntil(lambda: not coloured(), timeout=10_000)
    labels.redo()
    qtbot.waitUntil(lambda: len(coloured()) == 3, timeout=10_000)
    labels.visible = False
    qtbot.waitUntil(lambda: not coloured(), timeout=10_000)
    high = image.contrast_limits[1]
    image.contrast_limits = (high, high + 1)
    away = image.data_to_world((3, 2, 12))
    qtbot.waitUntil(
        lambda: all(drawn_colour(p, away) == (0, 0, 0) for p in view.three_planes.views),
        timeout=10_000,
    )


def has_colour(plane, colour):
    """Return whether a plane's widget has a pixel of ``colour``."""
    image = plane.grab().toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    pixels = np.frombuffer(bits, np.uint8).reshape(-1, 4)[:, :3]
    return bool((pixels == colour).all(axis=1).any())


def test_closed_planes_leave_nothing_behind(qtbot, viewer, view, planes):
    three = ref(view.three_planes)

    def listeners():
        emitters = [e for x in planes for e in x.events.emitters.values()]
        emitters += [*viewer.dims.events.emitters.values(), *viewer.layers.events.emitters.values()]
        return sum(len(e.callbacks) for e in emitters if e is not None)

    with_planes, moving = listeners(), len(viewer.mouse_move_callbacks)
    click(view.three)
    assert view.three_planes is None and len(viewer.mouse_move_callbacks) == moving - 1
    assert listeners() < with_planes
    without = listeners()
    qtbot.waitUntil(lambda: gc.collect() >= 0 and three() is None, timeout=5000)
    click(view.three)
    dock = view.three_planes.parent()
    while not isinstance(dock, QDockWidget):
        dock = dock.parent()
    dock.destroyOnClose()  # napari's own button
    assert view.three_planes is None and not view.three.isChecked()
    assert listeners() == without


def test_a_dicom_series_is_the_right_way_up_with_letters_and_ct_windows(
    qtbot, viewer, view, tmp_path
):
    array = np.random.default_rng(0).integers(0, 90, (24, 20, 6)).astype(np.int16)  # no air
    affine = np.diag([-0.8, -0.8, 5.0, 1])  # columns to the left, rows to posterior
    write_ct_series(tmp_path, array, affine)
    (image,) = viewer.open(tmp_path, plugin="napari-ldseg")
    assert image.data.shape == (6, 20, 24)
    assert view.windows.presets["Brain"].isVisible()
    click(view.planes["coronal"])
    qtbot.wait(50)
    assert edges(viewer) == LETTERS["coronal"]
