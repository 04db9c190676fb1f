"""The Review tab's display: outlines over one map, by keys, and the layers' own looks afterwards."""

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QSettings, Qt
from qtpy.QtTest import QTest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.review.surface import label_surface
from napari_ldseg.widgets.common.layers import PREVIEW_KEY
from napari_ldseg.widgets.common.map_colours import CLEAR, RAMPS, clearness, map_colormap, ramp_for
from napari_ldseg.widgets.review.display import Display
from napari_ldseg.widgets.review.surface_view import surface_layer

from .conftest import paint_at, result_layer


def press(viewer, key):
    """Press a key over the image."""
    native = viewer.window._qt_viewer.canvas.native
    native.setFocus()
    QTest.keyClick(native, key)


def visible_maps(viewer):
    return [layer for layer in viewer.layers[1:] if isinstance(layer, Image) and layer.visible]


def own_maps(viewer):
    """Return the layers of maps that no result has a layer of."""
    return [la for la in viewer.layers if PREVIEW_KEY in la.metadata and isinstance(la, Image)]


def test_outlines_over_the_uncertainty_and_back_when_the_tab_goes(viewer, segmented, qtbot):
    labels, sd = segmented[1], result_layer(viewer, "uncertainty")
    before = [(labels.contour, labels.opacity), (sd.colormap, sd.contrast_limits, sd.opacity)]
    dock, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    qtbot.waitUntil(lambda: labels.contour == 1)
    assert labels.opacity == 1
    assert visible_maps(viewer) == [sd]
    assert sd.colormap.map(np.array([0.05]))[0, 3] == 0  # below the threshold of 0.1 of the range
    assert sd.colormap.map(np.array([0.9]))[0, 3] > 0.5
    press(viewer, Qt.Key.Key_W)
    assert visible_maps(viewer) == [result_layer(viewer, "sample SD")]
    qtbot.waitUntil(lambda: review.browser.decoded)
    viewer.window.remove_dock_widget(dock)
    assert (labels.contour, labels.opacity) == before[0]
    assert (sd.colormap, sd.contrast_limits, sd.opacity) == before[1]
    assert visible_maps(viewer) == [sd]
    assert labels.visible


def test_a_key_steps_through_the_looks_and_painting_goes_on(viewer, segmented, review_tab):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_O)
    assert (labels.contour, labels.opacity, labels.visible) == (0, 0.5, True)
    press(viewer, Qt.Key.Key_O)
    assert not labels.visible
    review_tab.reviewer.go_to(0)
    press(viewer, Qt.Key.Key_C)
    assert labels.visible and labels.contour == 1
    assert review_tab.display_part.labels.currentText() == "outlines"
    index = (4, 10, 11)
    paint_at(viewer, labels, index, (int(labels.data[index]) + 1) % 3)
    assert labels.contour == 1 and labels.visible
    labels.visible = False  # as by a run on another image
    assert review_tab.display.labels == "outlines"
    labels.visible = True
    labels.contour = 0  # napari's own control
    assert review_tab.display_part.labels.currentText() == "filled"


def test_every_map_in_turn_each_on_the_grid_of_the_labels(
    viewer, widget, segmented, review_tab, qtbot
):
    image, labels = segmented
    names = ["sample SD", "error probability", "P(", "P(", None, "uncertainty"]
    for name in names:
        press(viewer, Qt.Key.Key_W)
        qtbot.waitUntil(lambda: not review_tab.display.busy)
        shown = visible_maps(viewer)
        assert [layer.name.startswith(name) for layer in shown] == [True] * (name is not None)
        for layer in shown:
            assert np.allclose(layer.scale, image.scale)
            assert np.allclose(layer.translate, image.translate)
            assert viewer.layers.index(layer) < viewer.layers.index(labels)
        own = name in ("error probability", "P(")
        qtbot.waitUntil(lambda own=own: len(own_maps(viewer)) == own)
        assert list(widget.image.choices) == [image]  # no map is offered for segmentation
    assert viewer.layers.selection.active is labels


def test_a_class_probability_is_that_of_the_result(viewer, segmented, review_tab, qtbot):
    review_tab.display.set_map("probability:2")
    qtbot.waitUntil(lambda: not review_tab.display.busy)
    (layer,) = visible_maps(viewer)
    samples = review_tab.browser.part.samples
    for number, frame in enumerate(samples.frames):
        mean = np.mean([samples.probabilities(s, number)[2] for s in range(samples.n)], axis=0)
        assert np.allclose(
            layer.data[frame], (mean + samples.estimate[2][frame].numpy()) / 2, atol=1e-3
        )
    assert layer.contrast_limits == [0, 1]


def test_threshold_and_opacity_by_the_sliders_and_settings_stay(
    viewer, review_tab, segmented, qtbot
):
    part, sd = review_tab.display_part, result_layer(viewer, "uncertainty")
    part.threshold.setValue(10)
    assert sd.colormap.map(np.array([0.45]))[0, 3] == 0
    assert part.low.text() == "0.25"
    part.opacity.setValue(5)
    assert sd.opacity == 0.25
    press(viewer, Qt.Key.Key_O)
    settings = QSettings("napari-ldseg", "napari-ldseg")
    assert settings.value("review/labels") == "filled"
    assert float(settings.value("review/threshold")) == 0.5
    again = Display(viewer, review_tab.reviewer, review_tab.browser)
    assert (again.labels, again.threshold, again.opacity) == ("filled", 0.5, 0.25)


def test_a_deleted_map_layer_is_shown_again_only_by_choice(viewer, review_tab, segmented, qtbot):
    review_tab.display.set_map("error_probability")
    (own,) = visible_maps(viewer)
    viewer.layers.remove(own)
    review_tab.display.set_map("error_probability")
    assert len(visible_maps(viewer)) == 1
    review_tab.display.set_map("none")
    assert visible_maps(viewer) == []
    qtbot.waitUntil(lambda: not own_maps(viewer))


def test_outlines_are_clear_on_the_map_for_every_bundled_model():
    for path in bundled_checkpoints().values():
        colours = [c.colour for c in read_metadata(path).classes[1:]]
        assert clearness(colours, ramp_for(colours)) >= CLEAR


def test_maps_get_lighter_steadily():
    for ramp in RAMPS:
        light = map_colormap(ramp).colors[:, :3] @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(light) > -1e-3).all()


@pytest.mark.filterwarnings("ignore:Contours are not displayed")  # napari's, of the hidden labels
# napari says so to whoever edits outlined labels in 3D.
@pytest.mark.filterwarnings("ignore:Contours are not displayed:UserWarning")
def test_the_surface_is_where_the_labels_are_and_everything_comes_back(
    viewer, segmented, review_tab, qtbot
):
    labels, part = segmented[1], review_tab.display_part
    shown = [layer.visible for layer in viewer.layers]
    part.surface.click()
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 3)
    surface = result_layer(viewer, "surface")
    assert [layer for layer in viewer.layers if layer.visible] == [surface]
    inside = np.argwhere(labels.data > 0)
    low, high = labels.data_to_world(inside.min(0) - 0.5), labels.data_to_world(inside.max(0) + 0.5)
    np.testing.assert_allclose(surface.extent.world, [low, high], atol=1e-4)
    assert surface.data[2].min() >= 0 and surface.data[2].max() <= 0.5
    assert review_tab.display.labels == "outlines"
    labels.data_setitem(tuple(inside[inside[:, 0] == inside[:, 0].max()].T), 0)
    inside = np.argwhere(labels.data > 0)
    low, high = labels.data_to_world(inside.min(0) - 0.5), labels.data_to_world(inside.max(0) + 0.5)
    qtbot.waitUntil(lambda: np.allclose(surface.extent.world, [low, high], atol=1e-4))
    labels.undo()
    part.surface.click()
    assert viewer.dims.ndisplay == 2
    qtbot.waitUntil(lambda: [layer.visible for layer in viewer.layers] == shown)
    assert not part.surface.isChecked()


def test_the_surface_of_an_oblique_layer_is_in_its_place():
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    data = np.zeros((6, 7, 8), np.uint8)
    data[1:3, 2:5, 3:7] = 1
    sd = np.broadcast_to(np.linspace(0, 0.5, 8), data.shape)
    labels = Labels(data, scale=(2.5, 0.8, 0.6), translate=(-4, 3, 9), rotate=turn)
    vertices, faces, values = label_surface(data, sd)
    surface = surface_layer(labels, (), vertices, faces, values)
    corners = np.array(np.meshgrid((0.5, 2.5), (1.5, 4.5), (2.5, 6.5))).reshape(3, -1).T
    in_world = np.array([labels.data_to_world(c) for c in corners])
    np.testing.assert_allclose(
        np.array([surface.data_to_world(c) for c in corners]), in_world, atol=1e-6
    )
    np.testing.assert_allclose([vertices.min(0), vertices.max(0)], corners[[0, -1]])
    np.testing.assert_allclose(values, vertices[:, 2] * 0.5 / 7, atol=1e-6)
    bevels = 4 * (1 + 2 + 3) / 8 + 8 * 5 / 48  # of the box's edges and corners
    np.testing.assert_allclose(mesh_volume(vertices, faces), 2 * 3 * 4 - bevels, rtol=1e-5)


def mesh_volume(vertices, faces):
    """Return the volume of a closed mesh, by the divergence theorem."""
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    return abs((a * np.cross(b, c)).sum() / 6)
