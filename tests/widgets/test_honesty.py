"""The screen shows what the layers hold, also after partial and stopped runs and a moved image."""

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import Calibration

from .conftest import click, result_layer


@pytest.fixture
def volume(viewer, widget, model_file):
    widget.model.choose(model_file(2, classes=3))
    array = np.random.default_rng(0).integers(0, 99, (60, 40, 40)).astype(np.uint8)
    return viewer.add_image(array, units="mm", name="scan")


def shown_sizes(widget):
    table = widget.legend._table
    texts = [table.item(row, 1).text() for row in range(table.rowCount())]
    return [float(text.replace(",", "")) for text in texts]


def test_stopping_a_rerun_at_once_keeps_the_finished_result(qtbot, viewer, widget, run, volume):
    run(samples=2)
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    before, sd_before, sizes = labels.data.copy(), sd.data.copy(), shown_sizes(widget)
    widget.seed.setValue(4)
    widget.samples.setValue(1000)
    click(widget.segment)
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=20_000)
    assert "before the first sample was complete" in widget.status.text()
    np.testing.assert_array_equal(labels.data, before)
    np.testing.assert_array_equal(result_layer(viewer, "uncertainty").data, sd_before)
    assert shown_sizes(widget) == sizes


def test_a_slice_run_is_named_keeps_the_rest_and_every_run_is_recorded(viewer, widget, run, volume):
    run(samples=2)
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    before, sd_before = labels.data.copy(), sd.data.copy()
    viewer.dims.set_current_step(0, 7)
    widget.this_slice.setChecked(True)
    widget.seed.setValue(3)
    run(samples=1)
    rest = np.arange(60) != 7
    np.testing.assert_array_equal(labels.data[rest], before[rest])
    sd = result_layer(viewer, "uncertainty").data
    np.testing.assert_array_equal(sd[rest], sd_before[rest])
    assert not np.array_equal(sd[7], sd_before[7])
    spread = result_layer(viewer, "sample SD").data
    assert spread[rest].any() and not spread[7].any()  # of one sample
    assert "only the box or slice" in widget.legend._caption.text()
    runs = labels.metadata["napari_ldseg_runs"]
    assert [r["provenance"]["seed"] for r in runs] == [0, 3]
    assert runs[1]["provenance"]["region"][0] == (7, 0, 0)


def test_table_holds_the_label_layers_own_volumes(viewer, widget, run, volume):
    run(samples=3)
    labels = result_layer(viewer, "labels").data
    for row, size in enumerate(shown_sizes(widget), start=1):
        assert size == pytest.approx((labels == row).sum() / 1000, rel=0.01)
    assert "scan" in widget.legend._caption.text()


def test_a_moved_image_gets_new_layers(viewer, widget, run, volume):
    run(samples=2)
    old = result_layer(viewer, "labels")
    scale = old.scale.copy()
    volume.scale = (1.3, 1, 1)
    run(samples=2)
    new = result_layer(viewer, "labels")
    assert new is not old
    np.testing.assert_allclose(new.scale, volume.scale)
    np.testing.assert_allclose(old.scale, scale)


def test_turning_to_3d_at_once_does_not_lock_the_widget(qtbot, viewer, widget, model_file):
    widget.model.choose(model_file(3, classes=3))
    array = np.random.default_rng(0).integers(0, 99, (16, 16, 16)).astype(np.uint8)
    viewer.add_image(array, name="scan")
    widget.samples.setValue(30)
    click(widget.segment)
    viewer.mouse_over_canvas = True
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: not widget.session.running, timeout=30_000)
    assert widget.status.text() == "Done: 30 samples."
    assert widget.segment.isEnabled()


def test_sizes_of_a_4d_image_are_per_time_point(viewer, widget, run, model_file):
    widget.model.choose(model_file(3))
    array = np.random.default_rng(0).integers(0, 99, (16, 16, 16)).astype(np.uint8)
    viewer.add_image(np.stack([array] * 4), name="cine")
    run(samples=2)
    labels = result_layer(viewer, "labels").data
    assert shown_sizes(widget)[0] == pytest.approx((labels[0] == 1).sum(), rel=0.01)
    assert "mean of 4 time points" in widget.legend._caption.text()


def test_two_shapes_are_refused_and_the_table_goes_with_its_layers(
    qtbot, viewer, widget, run, volume
):
    run(samples=2)
    for layer in [x for x in viewer.layers if x is not volume]:
        viewer.layers.remove(layer)
        qtbot.wait(50)
    assert not widget.legend.isVisible()
    box = np.array([[3, 3, 3], [3, 3, 20], [3, 20, 20], [3, 20, 3]])
    viewer.add_shapes([box, box + 5], shape_type="rectangle", name="boxes")
    widget.region.value = viewer.layers["boxes"]
    assert "boxes holds 2 shapes" in run()


def test_it_is_shown_whether_the_volumes_are_calibrated(viewer, widget, run, model_file):
    found = Calibration(
        samples=3, steps=4, split="s", cases=40, temperature=1.5, volume_factors=(2.0, 2.0)
    )
    widget.model.choose(model_file(2, classes=3, calibration=found))
    image = np.random.default_rng(0).integers(0, 99, (40, 40)).astype(np.uint8)
    viewer.add_image(image, name="scan")
    table, text = widget.legend._table, widget.legend._calibration
    run(samples=3)
    assert text.isVisible() and text.text().startswith("Calibrated:")
    assert table.horizontalHeaderItem(2).text().startswith("interval")
    summary = result_layer(viewer, "labels").metadata["napari_ldseg_result"]
    for row in range(2):
        low, high = summary["classes"][f"class {row + 1}"]["interval"]
        assert table.item(row, 2).text() == f"{low:,.0f} – {high:,.0f}", "pixels are counted"
    run(samples=4)
    assert text.text().startswith("Not calibrated: the model was calibrated for 3 samples")
    assert table.horizontalHeaderItem(2).text().startswith("samples")
