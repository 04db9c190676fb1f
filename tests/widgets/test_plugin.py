"""What napari offers of the plugin: menus, samples, files."""

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMenu


def menu_texts(menu: QMenu) -> list[str]:
    texts = []
    for action in menu.actions():
        texts.append(action.text())
        if action.menu() is not None:
            texts += menu_texts(action.menu())
    return texts


def test_widgets_are_in_the_plugins_and_in_the_segment_menu(viewer):
    window = viewer.window
    for menu in (window.plugins_menu, window.layers_menu):
        menu.aboutToShow.emit()
    plugins, layers = menu_texts(window.plugins_menu), menu_texts(window.layers_menu)
    for name in ("LDSeg: Segment", "LDSeg: Correct", "LDSeg: Train", "LDSeg: Worklist"):
        assert any(name in text for text in plugins)
        assert any(name.lower() in text.lower() for text in layers)


@pytest.mark.parametrize("name", ["Segment", "Correct", "Train", "Worklist"])
def test_segment_menu_entry_docks_the_widget(viewer, qtbot, name):
    from napari._app_model import get_app_model

    command = f"napari-ldseg.open_{name.lower()}_widget"
    get_app_model().commands.execute_command(command).result()
    assert any(f"LDSeg: {name}" in dock for dock in viewer.window.dock_widgets)


@pytest.mark.parametrize(
    ("key", "ndim", "values"), [("echo_phantom", 2, {0, 1, 2, 3}), ("mri_phantom", 3, {0, 1, 2})]
)
def test_samples_open_with_their_hidden_ground_truth(viewer, key, ndim, values):
    image, truth = viewer.open_sample("napari-ldseg", key)
    assert image.ndim == truth.ndim == ndim and image.visible and not truth.visible
    assert set(np.unique(truth.data)) == values
    np.testing.assert_allclose(image.scale, truth.scale)
    np.testing.assert_allclose(image.translate, truth.translate)
    assert str(image.units[0]) == "millimeter"


def test_drag_and_drop_of_a_broken_file_gives_one_sentence(viewer, tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"\x1f\x8b garbage")
    from napari_ldseg.errors import LDSegError

    with pytest.raises(LDSegError, match=r"broken\.nii\.gz cannot be read"):
        viewer.open(path, plugin="napari-ldseg")


def test_the_widgets_share_a_dock_and_the_menu_brings_one_to_the_front(viewer, qtbot):
    from napari._app_model import get_app_model

    docks = {
        name: viewer.window.add_plugin_dock_widget("napari-ldseg", f"LDSeg: {name}")[0]
        for name in ("Segment", "Correct", "Project")
    }
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(docks["Segment"])) == 2)

    def in_front(name):
        return [n for n, dock in docks.items() if not dock.visibleRegion().isEmpty()] == [name]

    qtbot.waitUntil(lambda: in_front("Project"))
    get_app_model().commands.execute_command("napari-ldseg.open_correct_widget").result()
    qtbot.waitUntil(lambda: in_front("Correct"))


def test_opening_the_widgets_imports_no_torch_in_the_windows_thread():
    names = ("segment", "correct", "project", "train", "review", "worklist")
    imports = "".join(f"import napari_ldseg.widgets.{name}.widget\n" for name in names)
    code = f"{imports}import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_model_offered_fits_the_image_until_the_user_chooses(viewer, widget):
    """A 3D model for the volume, a 2D one for the 2D image; what was chosen by hand stays."""
    viewer.open_sample("napari-ldseg", "mri_phantom")
    assert widget.model.combo.currentText() == "mri-phantom"
    assert not widget.this_slice.isVisible()
    flat = viewer.add_image(np.random.default_rng(0).random((60, 60)), name="flat")
    widget.image.value = flat
    assert widget.model.metadata.architecture.dims == 2
    combo = widget.model.combo
    combo.setFocus()
    QTest.keyClick(combo, Qt.Key.Key_End)
    chosen = combo.currentText()
    widget.image.value = next(layer for layer in viewer.layers if layer.name == "MRI phantom")
    assert combo.currentText() == chosen
