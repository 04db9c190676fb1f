"""A real napari window with the Segment widget, and what a user does to it."""

import gc
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from napari._qt.qthreading import wait_for_workers_to_quit
from napari.layers import Labels
from qtpy.QtCore import QEvent, QPoint, QPointF, QSettings, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from superqt import QCollapsible

from napari_ldseg.checkpoint.file import save_checkpoint
from napari_ldseg.project.case import CaseFolder
from napari_ldseg.widgets.project.state import project_of


@pytest.fixture(autouse=True, scope="session")
def finished_workers():
    """Wait for the workers at the end, as napari does when it quits; one that outlived Qt would abort."""
    yield
    wait_for_workers_to_quit()


@pytest.fixture(autouse=True, scope="session")
def kept_warning_filters():
    """Keep superqt's workers from changing the filters of the whole process while napari hides a warning."""
    quiet = SimpleNamespace(
        warn=warnings.warn, catch_warnings=nullcontext, filterwarnings=lambda *filters: None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("superqt.utils._qthreading.warnings", quiet)
        yield


@pytest.fixture(autouse=True)
def short_collections():
    """Keep what outlives a test out of the garbage collections, one per removed layer in napari.

    A window makes so many objects that Python would collect hundreds of times more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(autouse=True)
def bundled_models_not_compared(monkeypatch):
    """Leave out the images' distances from the bundled models, which only test_similarity.py looks at."""
    models = "napari_ldseg.widgets.common.model_distances.ModelDistances.ask"
    monkeypatch.setattr(models, lambda self, models: None)


@pytest.fixture(autouse=True)
def private_settings(tmp_path, tmp_path_factory):
    """Keep the recent files and the project of the tests away from the user's own."""
    settings = str(tmp_path_factory.mktemp("settings"))
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, settings)
    QSettings("napari-ldseg", "napari-ldseg").setValue("project_folder", str(tmp_path / "project"))


@pytest.fixture
def model_file(tiny_checkpoint, tmp_path):
    """Factory: save a tiny untrained checkpoint and return its path."""

    def make(*args, file_name="model.safetensors", **kwargs):
        return save_checkpoint(tiny_checkpoint(*args, **kwargs), tmp_path / file_name)

    return make


@pytest.fixture(scope="session")
def still_welcome():
    """Keep napari's welcome page, which no test shows, from being written anew at each of 170 shortcuts."""
    page = "napari._qt.widgets.qt_welcome.QtWelcomeWidget.refresh"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, lambda self, event=None: None)
        yield


@pytest.fixture
def viewer(known_plugins, still_welcome, make_napari_viewer):
    """A napari viewer in a real window."""
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1200, 900)
    return viewer


@pytest.fixture
def widget(viewer):
    """The Segment widget, docked as a user docks it."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    return widget


@pytest.fixture
def run(qtbot, widget):
    """Click Segment and wait until the run is over; return the widget's closing words."""

    def click_and_wait(samples=3, timeout=60_000):
        widget.samples.setValue(samples)
        click(widget.segment)
        qtbot.waitUntil(lambda: not widget.session.running, timeout=timeout)
        return widget.status.text()

    return click_and_wait


@pytest.fixture
def oblique_file(tmp_path):
    """A NIfTI volume with an oblique, anisotropic, axis-swapping affine, and its array and affine."""
    rng = np.random.default_rng(7)
    array = rng.integers(0, 1000, (14, 20, 17)).astype(np.int16)
    a, b = np.deg2rad(14), np.deg2rad(9)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    swap = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]])
    affine[:3, :3] = turn @ tilt @ swap @ np.diag([0.7, 1.1, 2.3])
    affine[:3, 3] = (-31.5, 12.25, 77.0)
    path = tmp_path / "oblique.nii.gz"
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 2)
    nib.save(image, path)
    return path, array, np.asarray(nib.load(path).affine)


@pytest.fixture
def panel(viewer):
    """The Project widget, docked."""
    _, panel = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Project")
    return panel


@pytest.fixture
def folder(tmp_path):
    """The project folder of the test's settings."""
    return tmp_path / "project"


@pytest.fixture
def scan_file(tmp_path):
    """A NIfTI volume on the disk."""
    array = np.random.default_rng(0).integers(0, 99, (30, 28, 8)).astype(np.int16)
    path = tmp_path / "images" / "patient01_mr.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.8, 2.5, 1])), path)
    return path


@pytest.fixture
def segmented(viewer, widget, run, model_file, scan_file):
    """The scan from its file, segmented; returns the image and the labels layers."""
    (image,) = viewer.open(scan_file, plugin="napari-ldseg")
    widget.model.choose(model_file(2, classes=3))
    run(samples=2)
    return image, result_layer(viewer, "labels")


@pytest.fixture
def review(qtbot, viewer, segmented):
    """The Review tab on a segmented volume, its regions found and its samples decoded."""
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    qtbot.waitUntil(lambda: not review.reviewer.busy and review.browser.decoded, timeout=20_000)
    qtbot.waitUntil(lambda: bool(review.browser.alternatives), timeout=20_000)
    return review


def press(viewer, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key over the image."""
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    QTest.keyClick(native, key, modifier)


def open_section(tab, title):
    """Unfold a section of the Review tab by a click."""
    (folded,) = [f for f in tab.findChildren(QCollapsible) if f.text() == title]
    click(folded.toggleButton())
    assert folded.isExpanded()


def click(button):
    """Click a native Qt button."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def canvas_position(viewer, world):
    """Return the canvas pixel where the displayed axes of ``world`` are drawn."""
    canvas = viewer.window._qt_viewer.canvas
    shown = [world[axis] for axis in viewer.dims.displayed]
    transform = canvas.view.scene.transform
    x, y = transform.map([shown[1], shown[0], 0, 1])[:2]
    return QPointF(float(x), float(y)).toPoint()


def paint_at(viewer, layer: Labels, index, value):
    """Select ``layer`` and click its brush on the drawn voxel ``index``, with the mouse."""
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.selected_label = value
    layer.brush_size = 1
    world = layer.data_to_world(index)
    viewer.dims.point = world
    native = viewer.window._qt_viewer.canvas.native
    position: QPoint = canvas_position(viewer, world)
    QTest.mouseMove(native, position)
    QTest.mousePress(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, position)
    QTest.mouseRelease(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, position)
    layer.mode = "pan_zoom"


def drag(viewer, layer: Labels, start, stop, value, size=3, release=True, pause=0):
    """Paint with the mouse from voxel ``start`` to ``stop`` of the slice they lie in.

    vispy drops moves that follow each other within 10 ms; with a ``pause`` (ms) between them they all count.
    """
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.selected_label = value
    layer.brush_size = size
    viewer.dims.point = layer.data_to_world(start)
    native = viewer.window._qt_viewer.canvas.native
    ways = np.linspace(start, stop, 12)
    places = [canvas_position(viewer, layer.data_to_world(way)) for way in ways]
    none = Qt.KeyboardModifier.NoModifier
    QTest.mouseMove(native, places[0])
    QTest.mousePress(native, Qt.MouseButton.LeftButton, none, places[0])
    for place in places[1:]:
        move = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(place),
            QPointF(native.mapToGlobal(place)),
            Qt.MouseButton.NoButton,
            Qt.MouseButton.LeftButton,
            none,
        )
        QTest.qWait(pause)
        QApplication.sendEvent(native, move)
    if release:
        QTest.mouseRelease(native, Qt.MouseButton.LeftButton, none, places[-1])
        layer.mode = "pan_zoom"


def remove_all(qtbot, viewer):
    """Remove the layers one by one, each time drawing once.

    vispy 0.16 crashes on Mesa when the visual it drew last goes together with another one.
    """
    drawn = []
    viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(drawn.append)
    for layer in list(viewer.layers):
        if layer not in viewer.layers:  # went with another one
            continue
        viewer.layers.remove(layer)
        drawn.clear()
        qtbot.waitUntil(lambda: bool(drawn))


def label_layers(viewer):
    """Return the labels layers; a case brings its image and its uncertainty too."""
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def result_layer(viewer, word):
    """Return the newest layer whose name starts with ``word``."""
    return [layer for layer in viewer.layers if layer.name.startswith(word)][-1]


def other_value(labels, index):
    """Return a class that the voxel is not, of three."""
    return (int(labels.data[index]) + 1) % 3


def settle(viewer):
    """Wait until every correction is on the disk."""
    for own in project_of(viewer).labels._tracked:
        if own.recorder is not None:
            assert own.recorder.flush(10)


def only_case(folder):
    """Return the only case of the project in ``folder``."""
    (file,) = (folder / "cases").glob("*/case.json")
    return CaseFolder(file.parent)


@pytest.fixture
def review_tab(qtbot, viewer, segmented):
    """The Review tab on a segmented volume, its regions found and its samples decoded."""
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    qtbot.waitUntil(lambda: not review.reviewer.busy and review.browser.decoded, timeout=20_000)
    qtbot.waitUntil(review.isVisible)
    return review
