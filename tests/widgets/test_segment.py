"""Segmenting by clicks: the layers, their position, and the messages."""

import threading

import dask.array as da
import numpy as np
import pytest
import torch
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QScrollArea, QStyle, QStyleOptionComboBox
from superqt import QCollapsible

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.header import read_metadata
from napari_ldseg.widgets.segment import sampling

from .conftest import canvas_position, click, paint_at, remove_all, result_layer


def image_2d(dtype=np.uint8, shape=(20, 28)):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def test_click_gives_labels_with_class_names_and_sd(viewer, widget, run, model_file):
    image = viewer.add_image(image_2d(), scale=(0.5, 2.0), translate=(3, -4))
    widget.model.choose(model_file(2, classes=3))
    assert run(samples=4) == "Done: 4 samples."
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    assert isinstance(labels, Labels) and isinstance(sd, Image)
    assert labels.data.shape == sd.data.shape == image.data.shape
    assert list(labels.features["name"]) == ["class 0", "class 1", "class 2"]
    np.testing.assert_allclose(labels.colormap.map(1)[:3], [0.902, 0.624, 0], atol=0.01)
    assert tuple(sd.contrast_limits) == (0.0, 0.5)
    assert sd.visible and 0 < sd.data.max() <= 0.5
    assert viewer.layers.selection.active is labels
    assert widget.legend.isVisible() and widget.legend._sd.isVisible()
    provenance = labels.metadata["napari_ldseg_result"]["provenance"]
    assert provenance["samples"] == 4 and provenance["seed"] == 0 and provenance["steps"] == 4


def test_the_image_opened_or_selected_last_is_the_one_segmented(viewer, widget, run, model_file):
    first = viewer.add_image(image_2d(), name="first")
    widget.model.choose(model_file())
    run(samples=2)
    second = viewer.add_image(image_2d(), name="second")
    assert widget.image.value == second
    run(samples=2)
    assert result_layer(viewer, "labels").name == "labels · second"
    viewer.layers.selection.active = result_layer(viewer, "uncertainty")
    assert widget.image.value == second
    viewer.layers.selection.active = first
    assert widget.image.value == first
    widget.image.value = second
    viewer.layers.selection.active = viewer.layers["labels · first"]
    run(samples=2)
    assert widget.image.value == second


def test_an_image_opened_during_a_run_is_the_next_one(qtbot, viewer, widget, model_file):
    first = viewer.add_image(image_2d(shape=(200, 200)), name="first")
    widget.model.choose(model_file())
    widget.samples.setValue(1000)
    click(widget.segment)
    second = viewer.add_image(image_2d(), name="second")
    assert widget.session.running and widget.image.value == first
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=20_000)
    assert widget.image.value == second


def colour_at(viewer, layer, index):
    """Return what the screen shows of a voxel: red, green and blue from 0 to 255."""
    place = canvas_position(viewer, layer.data_to_world(index))
    ratio = viewer.window._qt_viewer.canvas.native.devicePixelRatio()
    screenshot = viewer.screenshot(canvas_only=True, flash=False)
    return screenshot[int(place.y() * ratio), int(place.x() * ratio), :3].astype(int)


def test_labels_strokes_and_uncertainty_are_all_seen_where_the_model_is_unsure(
    viewer, widget, run, model_file
):
    image = viewer.add_image(image_2d())
    widget.model.choose(model_file(2, classes=3))
    run(samples=6)
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    index = tuple(int(i) for i in np.unravel_index(np.argmax(sd.data), sd.data.shape))
    assert sd.data[index] > 0.3
    before = colour_at(viewer, labels, index)
    paint_at(viewer, labels, index, (int(labels.data[index]) + 1) % 3)
    painted = colour_at(viewer, labels, index)
    assert np.abs(painted - before).max() > 20
    sd.visible = False
    assert np.abs(colour_at(viewer, labels, index) - painted).max() > 20
    sd.visible = True
    # The corrected labels, too, lie above the uncertainty of a new run.
    widget.model.choose(model_file(2, classes=3, name="other", file_name="other.safetensors"))
    run(samples=6)
    layers = list(viewer.layers)
    for layer in layers:
        if layer.name.startswith(("uncertainty", "sample SD")):
            assert layers.index(image) < layers.index(layer) < layers.index(labels)


def test_a_long_name_pushes_nothing_out_of_the_widget(viewer, request, model_file):
    """The image is open before the widget is, as it mostly is."""
    viewer.add_image(image_2d(), name="sub_001_session_02_acquisition_T1w_space_native_denoised")
    widget, run = (request.getfixturevalue(name) for name in ("widget", "run"))
    widget.model.choose(model_file())
    run(samples=2)
    area = widget.findChild(QScrollArea)
    assert area.widget().width() <= area.viewport().width()
    for part in (widget.cancel, widget.model.browse, widget.legend._caption):
        right = part.mapTo(area.viewport(), part.rect().topRight()).x()
        assert part.isVisible() and right < area.viewport().width()


def test_an_accelerator_with_a_long_name_is_offered_in_full(qtbot, viewer, request, monkeypatch):
    """No machine that runs the tests has one, so torch is told of it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    name = "NVIDIA RTX 6000 Ada Generation Laptop GPU (driver 580)"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    viewer.add_image(image_2d())
    widget = request.getfixturevalue("widget")
    qtbot.waitUntil(lambda: widget.device.count() == 4)
    widget.findChild(QCollapsible).expand(animate=False)
    listed = [widget.device.itemText(i) for i in range(4)]
    assert listed == ["automatic", "CPU", f"GPU: {name}", "a server"]
    widget.device.setCurrentIndex(2)
    assert widget.device.name == "cuda:0"
    area = widget.findChild(QScrollArea)
    qtbot.waitUntil(lambda: widget.device.isVisible())
    assert area.widget().width() <= area.viewport().width()
    assert widget.device.width() > area.viewport().width() / 2


def test_the_classes_of_a_result_can_be_read_in_full(viewer, widget, run):
    widget.model.choose(bundled_checkpoints()["camus"])
    viewer.add_image(image_2d(shape=(64, 64)))
    run(samples=2)
    table = widget.legend._table
    assert table.rowCount() == 3 and table.item(1, 0).text() == "myocardium"
    assert table.sizeHintForColumn(0) <= table.columnWidth(0)
    assert table.horizontalHeader().length() <= table.viewport().width()


def test_one_sample_has_an_uncertainty_and_takes_an_old_spread_away(
    viewer, widget, run, model_file
):
    viewer.add_image(image_2d())
    widget.model.choose(model_file())
    run(samples=3)
    before = result_layer(viewer, "uncertainty").data.copy()
    assert result_layer(viewer, "sample SD")
    assert run(samples=1) == "Done: 1 sample."
    assert not [layer for layer in viewer.layers if layer.name.startswith("sample SD")]
    now = result_layer(viewer, "uncertainty")
    assert now.visible and not np.array_equal(now.data, before)
    assert widget.legend._sd.isVisible()


def test_the_map_that_finds_the_most_errors_is_shown_from_the_first_sample_on(
    qtbot, viewer, widget, model_file
):
    viewer.add_image(image_2d(), name="image")
    widget.model.choose(model_file())
    widget.samples.setValue(1000)
    click(widget.segment)
    qtbot.waitUntil(lambda: "labels · image" in viewer.layers, timeout=20_000)
    assert widget.session.running
    shown = result_layer(viewer, "uncertainty")
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=20_000)
    np.testing.assert_array_equal(shown.data, widget.session.results.latest.predictive_sd)
    assert shown.visible and not result_layer(viewer, "sample SD").visible
    layers = list(viewer.layers)
    assert layers.index(result_layer(viewer, "sample SD")) < layers.index(shown)


def test_same_seed_gives_same_result_and_another_seed_another(viewer, widget, run, model_file):
    viewer.add_image(image_2d())
    widget.model.choose(model_file())
    run()
    first = result_layer(viewer, "uncertainty").data.copy()
    run()
    np.testing.assert_array_equal(result_layer(viewer, "uncertainty").data, first)
    widget.seed.setValue(5)
    run()
    assert not np.array_equal(result_layer(viewer, "uncertainty").data, first)
    assert len([layer for layer in viewer.layers if layer.name.startswith("labels")]) == 1


def test_sampling_runs_in_its_own_thread_and_the_window_stays_live(
    qtbot, viewer, widget, model_file, monkeypatch
):
    threads, ticks = set(), []
    result = sampling._result
    monkeypatch.setattr(
        sampling, "_result", lambda *a: (threads.add(threading.get_ident()), result(*a))[1]
    )
    viewer.add_image(image_2d())
    widget.model.choose(model_file())
    widget.samples.setValue(300)
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(widget.session.running))
    timer.start(20)
    click(widget.segment)
    assert widget.session.running and not widget.segment.isEnabled() and widget.cancel.isEnabled()
    qtbot.waitUntil(lambda: not widget.session.running, timeout=60_000)
    assert threads and threading.get_ident() not in threads
    assert sum(ticks) >= 5


def test_labels_appear_before_the_end_and_refine(qtbot, viewer, widget, model_file):
    viewer.add_image(image_2d(shape=(300, 300)))
    widget.model.choose(model_file())
    widget.samples.setValue(1000)
    seen = []
    widget.session.progressed.connect(
        lambda s: seen.append(s.result.summary["samples"]) if s.result else None
    )
    click(widget.segment)
    qtbot.waitUntil(lambda: len(seen) >= 2, timeout=60_000)
    assert widget.session.running and 1 <= seen[0] < seen[1] < 1000
    assert result_layer(viewer, "labels")
    assert "left" in widget.progress.format()
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=10_000)
    n = result_layer(viewer, "labels").metadata["napari_ldseg_result"]["samples"]
    assert widget.status.text() == f"Stopped: {n} samples." and 1 <= n < 1000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_every_intensity_type(viewer, widget, run, model_file, dtype):
    viewer.add_image(image_2d(dtype))
    widget.model.choose(model_file())
    assert run(samples=1) == "Done: 1 sample."


def test_rgb_dask_and_multiscale_images(qtbot, viewer, widget, run, model_file):
    widget.model.choose(model_file(2, channels=3))
    viewer.add_image(
        np.random.default_rng(1).integers(0, 255, (24, 20, 3), dtype=np.uint8), rgb=True
    )
    assert run(samples=2).startswith("Done")
    assert result_layer(viewer, "labels").data.shape == (24, 20)
    remove_all(qtbot, viewer)
    widget.model.choose(model_file(2, file_name="grey.safetensors"))
    viewer.add_image(da.from_array(image_2d(), chunks=8))
    assert run(samples=2).startswith("Done")
    remove_all(qtbot, viewer)
    full = image_2d(shape=(64, 48))
    viewer.add_image([full, full[::2, ::2], full[::4, ::4]], multiscale=True)
    assert run(samples=2).startswith("Done")
    assert result_layer(viewer, "labels").data.shape == (64, 48)


def test_2d_model_on_a_volume_slice_by_slice_and_one_slice(viewer, widget, run, model_file):
    volume = np.random.default_rng(2).integers(0, 99, (5, 18, 22)).astype(np.uint8)
    viewer.add_image(volume)
    widget.model.choose(model_file())
    assert widget.this_slice.isVisible()
    widget.this_slice.setChecked(True)
    for shown in (1, 3):
        viewer.dims.set_current_step(0, shown)
        run(samples=3)
    sd = result_layer(viewer, "uncertainty").data
    assert [bool(plane.any()) for plane in sd] == [False, True, False, True, False]
    one_by_one = sd[3].copy()
    widget.this_slice.setChecked(False)
    run(samples=3)
    sd = result_layer(viewer, "uncertainty").data
    assert all(plane.any() for plane in sd)
    np.testing.assert_allclose(sd[3], one_by_one, atol=1e-4)


def test_box_limits_the_run_and_results_lie_in_it(viewer, widget, run, model_file):
    viewer.add_image(image_2d(shape=(40, 50)), scale=(2, 2))
    viewer.add_shapes(
        [[[10, 20], [10, 59], [49, 59], [49, 20]]], shape_type="rectangle", name="box"
    )
    widget.model.choose(model_file())
    widget.region.value = viewer.layers["box"]
    assert run(samples=4).startswith("Done")
    rows, columns = np.nonzero(result_layer(viewer, "uncertainty").data)
    assert rows.min() >= 5 and rows.max() <= 25 and columns.min() >= 10 and columns.max() <= 30
    assert len(rows) > 50


def test_in_too_large_a_scan_the_region_is_searched_and_a_box_in_one_slice_is_enough(
    viewer, widget, run, model_file
):
    from napari_ldseg.checkpoint.metadata import FieldOfView, Grid

    fov = FieldOfView(smallest=(10.0,) * 3, largest=(16.0,) * 3)
    path = model_file(3, field_of_view=fov, grid=Grid(spacing=(1.0,) * 3, minimum_size=(16,) * 3))
    widget.model.choose(path)
    volume = np.random.default_rng(3).integers(0, 99, (40, 44, 48)).astype(np.uint8)
    viewer.add_image(volume, units="mm", name="head")
    assert widget.region.current_choice == "find the region"
    corners = [[20, 8, 9], [20, 8, 22], [20, 21, 22], [20, 21, 9]]
    viewer.add_shapes([corners], shape_type="rectangle", name="box", units="mm")
    widget.region.value = viewer.layers["box"]
    assert run().startswith("Done")
    where = np.nonzero(result_layer(viewer, "uncertainty").data)
    assert where[0].min() >= 11 and where[0].max() <= 29
    assert where[1].min() >= 7 and where[2].max() <= 23
    widget.region.value = None
    assert run(samples=2).startswith("Done")
    summary = result_layer(viewer, "labels").metadata["napari_ldseg_result"]
    assert summary["provenance"]["larger_image"] == "find"


def test_a_large_lazy_image_is_segmented_in_tiles_and_its_samples_can_be_browsed(
    viewer, widget, run, model_file
):
    from napari_ldseg.checkpoint.metadata import Grid, TrainingSize

    size = TrainingSize(smallest=(24, 24), largest=(24, 24))
    widget.model.choose(model_file(2, grid=Grid(spacing=(1.0, 1.0)), training_size=size))
    image = np.random.default_rng(3).integers(0, 99, (90, 70)).astype(np.uint8)
    viewer.add_image(da.from_array(image, chunks=32), name="slide")
    assert widget.region.current_choice == "whole image"
    progress = []
    widget.session.progressed.connect(lambda snapshot: progress.append(snapshot.message))
    assert run(samples=2).startswith("Done")
    assert any("tiles, about" in message for message in progress)
    assert result_layer(viewer, "uncertainty").data.min() > 0
    part = widget.session.results.sampled_part()
    assert part.samples.n == 2 and part.samples.labels(1).shape == (90, 70)


def test_a_flat_box_layer_counts_in_the_slice_that_is_shown(viewer, widget, run, model_file):
    from napari_ldseg.checkpoint.metadata import FieldOfView, Grid

    fov = FieldOfView(smallest=(6.0,) * 3, largest=(8.0,) * 3)
    path = model_file(3, field_of_view=fov, grid=Grid(spacing=(1.0,) * 3, minimum_size=(8,) * 3))
    widget.model.choose(path)
    volume = np.random.default_rng(3).integers(0, 99, (60, 30, 30)).astype(np.uint8)
    viewer.add_image(volume, units="mm")
    viewer.dims.set_current_step(0, 45)
    viewer.add_shapes([[[8, 9], [8, 16], [15, 16], [15, 9]]], shape_type="rectangle", name="box")
    widget.region.value = viewer.layers["box"]
    assert run().startswith("Done")
    slices = np.nonzero(result_layer(viewer, "uncertainty").data)[0]
    assert slices.min() >= 41 and slices.max() <= 49


def test_the_bundled_models_names_can_be_read_in_full(widget):
    combo, option = widget.model.combo, QStyleOptionComboBox()
    combo.initStyleOption(option)
    parts = QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField
    room = combo.style().subControlRect(*parts, combo).width()
    for name in bundled_checkpoints():
        assert combo.fontMetrics().horizontalAdvance(name) <= room, name


def test_the_purpose_and_accuracy_of_a_model_are_shown(qtbot, widget, model_file):
    shown = [label for label in widget.model.findChildren(QLabel) if label.text()]
    path = bundled_checkpoints()["camus"]
    widget.model.choose(path)
    (purpose,) = shown
    quick = [m for m in read_metadata(path).metrics if (m.name, m.samples) == ("DSC", 1)]
    mean = sum(m.value for m in quick) / len(quick)
    assert f"echocardiograms. Mean DSC {mean:.2f} on 320 held-out cases." in purpose.text()
    widget.model.choose(model_file())
    assert purpose.text() == "Untrained networks for tests. Its accuracy has not been measured."
