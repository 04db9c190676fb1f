"""The Review tab's display: outlines over one map, by keys, and the layers' own looks afterwards."""

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import QSettings, Qt
from qtpy.QtTest import QTest

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.widgets.common.layers import PREVIEW_KEY
from napari_ldseg.widgets.review.map_colours import CLEAR, RAMPS, clearness, map_colormap, ramp_for

from .conftest import click, paint_at, result_layer


@pytest.fixture
def review(viewer, widget, segmented, qtbot):
    """The Review widget on a segmented volume."""
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    qtbot.waitUntil(lambda: not review.reviewer.busy and review.browser.decoded)
    qtbot.waitUntil(review.isVisible)
    return review


def press(viewer, key):
    """Press a key on the canvas."""
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, key)


def visible_maps(viewer):
    return [layer for layer in viewer.layers[1:] if isinstance(layer, Image) and layer.visible]


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
    assert visible_maps(viewer) == [result_layer(viewer, "predictive SD")]
    qtbot.waitUntil(lambda: review.browser.decoded)
    viewer.window.remove_dock_widget(dock)
    assert (labels.contour, labels.opacity) == before[0]
    assert (sd.colormap, sd.contrast_limits, sd.opacity) == before[1]
    assert visible_maps(viewer) == [sd]
    assert labels.visible


def test_a_key_steps_through_the_looks_and_painting_goes_on(viewer, segmented, review):
    labels = segmented[1]
    press(viewer, Qt.Key.Key_O)
    assert (labels.contour, labels.opacity, labels.visible) == (0, 0.5, True)
    press(viewer, Qt.Key.Key_O)
    assert not labels.visible
    review.reviewer.go_to(0)
    press(viewer, Qt.Key.Key_C)
    assert labels.visible and labels.contour == 1
    assert review.display_part.labels.currentText() == "outlines"
    index = (4, 10, 11)
    paint_at(viewer, labels, index, (int(labels.data[index]) + 1) % 3)
    assert labels.contour == 1 and labels.visible
    labels.contour = 0  # napari's own control
    assert review.display_part.labels.currentText() == "filled"


def test_every_map_in_turn_each_on_the_grid_of_the_labels(viewer, segmented, review, qtbot):
    image, labels = segmented
    names = ["predictive SD", "error probability", "P(", "P(", None, "uncertainty"]
    for name in names:
        press(viewer, Qt.Key.Key_W)
        qtbot.waitUntil(lambda: not review.display.busy)
        shown = visible_maps(viewer)
        assert [layer.name.startswith(name) for layer in shown] == [True] * (name is not None)
        for layer in shown:
            assert np.allclose(layer.scale, image.scale)
            assert np.allclose(layer.translate, image.translate)
            assert viewer.layers.index(layer) < viewer.layers.index(labels)
        own = [layer for layer in viewer.layers if PREVIEW_KEY in layer.metadata]
        assert len([layer for layer in own if isinstance(layer, Image)]) == (
            name in ("error probability", "P(")
        )
        assert image not in (viewer.layers.selection.active, *own)
        assert widget_images(review) == []
    assert viewer.layers.selection.active is labels


def widget_images(review):
    """Return the maps of ours that the Segment widget would offer as images."""
    return [
        layer
        for layer in review.viewer.layers
        if PREVIEW_KEY in layer.metadata
        and isinstance(layer, Image)
        and "napari_ldseg_result" not in layer.metadata
    ]


def test_a_class_probability_is_the_mean_of_the_samples(viewer, segmented, review, qtbot):
    review.display.set_map("probability:2")
    qtbot.waitUntil(lambda: not review.display.busy)
    (layer,) = visible_maps(viewer)
    samples = review.browser.part.samples
    for number, frame in enumerate(samples.frames):
        mean = np.mean([samples.probabilities(s, number)[2] for s in range(samples.n)], axis=0)
        assert np.allclose(layer.data[frame], mean, atol=1e-6)
    assert layer.contrast_limits == [0, 1]


def test_threshold_and_opacity_by_the_sliders_and_settings_stay(viewer, review, segmented, qtbot):
    part, sd = review.display_part, result_layer(viewer, "uncertainty")
    part.threshold.setValue(10)
    assert sd.colormap.map(np.array([0.45]))[0, 3] == 0
    assert part.low.text() == "0.25"
    part.opacity.setValue(5)
    assert sd.opacity == 0.25
    click(review.display_part.labels)
    QTest.keyClick(review.display_part.labels.view(), Qt.Key.Key_Escape)
    press(viewer, Qt.Key.Key_O)
    settings = QSettings("napari-ldseg", "napari-ldseg")
    assert settings.value("review/labels") == "filled"
    assert float(settings.value("review/threshold")) == 0.5
    from napari_ldseg.widgets.review.display import Display

    again = Display(viewer, review.reviewer, review.browser)
    assert (again.labels, again.threshold, again.opacity) == ("filled", 0.5, 0.25)


def test_a_deleted_map_layer_is_shown_again_only_by_choice(viewer, review, segmented, qtbot):
    review.display.set_map("error_probability")
    (own,) = visible_maps(viewer)
    viewer.layers.remove(own)
    review.display.set_map("error_probability")
    assert len(visible_maps(viewer)) == 1
    review.display.set_map("none")
    assert visible_maps(viewer) == []
    assert not [
        la for la in viewer.layers if PREVIEW_KEY in la.metadata and not isinstance(la, Labels)
    ]


def test_outlines_are_clear_on_the_map_for_every_bundled_model():
    for path in bundled_checkpoints().values():
        colours = [c.colour for c in read_metadata(path).classes[1:]]
        assert clearness(colours, ramp_for(colours)) >= CLEAR


def test_maps_get_lighter_steadily():
    for ramp in RAMPS:
        light = map_colormap(ramp).colors[:, :3] @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(light) > -1e-3).all()
