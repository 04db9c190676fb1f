"""What goes wrong at a screen: each time one sentence, nothing of the user's lost, no traceback."""

import numpy as np
import pytest

from napari_ldseg.widgets.segment.widget import SegmentWidget

from ..keras_fixture import write_keras
from .conftest import click, paint_at, remove_all, result_layer

MANY = 1000


@pytest.fixture
def running(qtbot, viewer, widget, model_file):
    """A run in progress whose first labels are shown."""
    rng = np.random.default_rng(0)
    image = viewer.add_image(rng.integers(0, 250, (200, 200)).astype(np.uint8), name="scan")
    widget.model.choose(model_file(2, classes=3))
    widget.samples.setValue(MANY)
    click(widget.segment)
    qtbot.waitUntil(lambda: any(n.name.startswith("uncert") for n in viewer.layers), timeout=60_000)
    assert widget.session.running
    return image


def finish(qtbot, widget):
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=10_000)


def more_results(qtbot, widget, count=2):
    seen = []
    widget.session.progressed.connect(lambda s: seen.append(1) if s.result else None)
    qtbot.waitUntil(lambda: len(seen) >= count or not widget.session.running, timeout=20_000)


def test_renaming_hiding_and_opening_another_image_mid_run(qtbot, viewer, widget, running):
    running.name = "another name"
    result_layer(viewer, "labels").name = "mine"
    running.visible = False
    viewer.add_image(np.zeros((30, 30, 30)), name="other")
    more_results(qtbot, widget)
    finish(qtbot, widget)
    assert widget.status.text().startswith("Stopped")
    assert viewer.layers["mine"].metadata["napari_ldseg_result"]["samples"] > 1
    assert {"another name", "other"} <= {layer.name for layer in viewer.layers}


def test_deleted_results_stay_deleted_until_the_next_run(qtbot, viewer, widget, running):
    viewer.layers.remove(result_layer(viewer, "labels"))
    qtbot.wait(100)
    viewer.layers.remove(result_layer(viewer, "uncertainty"))
    more_results(qtbot, widget)
    finish(qtbot, widget)
    assert [layer.name for layer in viewer.layers if layer.visible] == ["scan"]
    widget.samples.setValue(2)
    click(widget.segment)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=20_000)
    assert result_layer(viewer, "labels") and result_layer(viewer, "uncertainty")


def test_deleting_the_image_stops_the_run_and_keeps_the_labels(qtbot, viewer, widget, running):
    labels = result_layer(viewer, "labels")
    viewer.layers.remove(running)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=10_000)
    assert "image was removed" in widget.status.text()
    assert labels in viewer.layers


def test_painting_mid_run_keeps_the_stroke_and_refines_in_a_new_layer(
    qtbot, viewer, widget, running
):
    labels = result_layer(viewer, "labels")
    value = (int(labels.data[100, 120]) + 1) % 3
    paint_at(viewer, labels, (100, 120), value)
    assert labels.data[100, 120] == value
    mine = labels.data.copy()
    more_results(qtbot, widget)
    finish(qtbot, widget)
    np.testing.assert_array_equal(labels.data, mine)
    assert result_layer(viewer, "labels") is not labels
    assert "Your labels were kept" in widget.status.text()
    assert viewer.layers.selection.active is labels


def test_running_again_never_overwrites_an_edit_even_one_undone(
    qtbot, viewer, widget, run, model_file
):
    viewer.add_image(np.random.default_rng(1).integers(0, 99, (30, 30)).astype(np.uint8))
    widget.model.choose(model_file(2, classes=3))
    run()
    labels = result_layer(viewer, "labels")
    value = (int(labels.data[9, 12]) + 1) % 3
    paint_at(viewer, labels, (9, 12), value)
    labels.undo()
    before = labels.data.copy()
    widget.seed.setValue(9)
    assert "Your labels were kept" in run()
    np.testing.assert_array_equal(labels.data, before)
    labels.redo()
    assert labels.data[9, 12] == value
    fresh = result_layer(viewer, "labels")
    assert fresh is not labels
    fresh.undo()
    assert fresh.data.shape == labels.data.shape


def test_closing_the_dock_or_the_window_mid_run_raises_nothing(qtbot, viewer, widget, running):
    viewer.window.remove_dock_widget(widget)
    qtbot.wait(300)
    assert not widget.session.running
    _, again = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    assert isinstance(again, SegmentWidget)
    again.model.choose(widget.model.path)
    again.samples.setValue(MANY)
    click(again.segment)
    assert again.session.running
    viewer.close()
    qtbot.wait(300)


def test_nan_constant_and_colour_images_get_a_sentence(qtbot, viewer, widget, run, model_file):
    widget.model.choose(model_file())
    holed = np.random.default_rng(0).random((20, 20))
    holed[3, 4] = np.nan
    viewer.add_image(holed, name="holed", contrast_limits=(0, 1))
    assert run() == (
        "holed holds values that are not numbers (NaN or infinity); replace them first, for example "
        "with numpy.nan_to_num."
    )
    remove_all(qtbot, viewer)
    viewer.add_image(np.ones((20, 20)), name="flat", contrast_limits=(0, 1))
    assert "same value everywhere" in run()
    remove_all(qtbot, viewer)
    viewer.add_image(np.zeros((20, 20, 3), np.uint8), rgb=True, name="photo")
    assert "photo is in colour" in run() and "Split RGB" in widget.status.text()
    assert widget.segment.isEnabled() and not widget.cancel.isEnabled()


def test_2d_image_for_a_3d_model(viewer, widget, run, model_file):
    widget.model.choose(model_file(3))
    viewer.add_image(np.random.default_rng(0).random((20, 20)), name="slice")
    assert "single 2D image" in run()


def test_broken_checkpoints_get_a_sentence_and_the_choice_stays(
    viewer, widget, run, model_file, tmp_path, monkeypatch
):
    good = model_file()
    widget.model.choose(good)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"PK\x03\x04 not a checkpoint")
    monkeypatch.setattr(
        "napari_ldseg.widgets.common.model_choice.QFileDialog.getOpenFileName",
        lambda *a, **k: (str(foreign), ""),
    )
    click(widget.model.browse)
    assert "foreign.safetensors is not an LDSeg checkpoint" in widget.status.text()
    assert widget.model.path == good
    viewer.add_image(np.random.default_rng(0).random((20, 20)))
    good.unlink()
    assert f"There is no checkpoint at {good}" in run()


def browse_to(monkeypatch, widget, path):
    monkeypatch.setattr(
        "napari_ldseg.widgets.common.model_choice.QFileDialog.getOpenFileName",
        lambda *a, **k: (str(path), ""),
    )
    click(widget.model.browse)


def test_browsing_to_a_keras_checkpoint_file_imports_its_folder(
    qtbot, viewer, widget, tmp_path, monkeypatch
):
    folder = tmp_path / "authors model"
    folder.mkdir()
    write_keras(folder, 2, channels=1)
    browse_to(monkeypatch, widget, folder / "denoiser.hdf5")
    assert not widget.model.browse.isEnabled()
    qtbot.waitUntil(widget.model.browse.isEnabled, timeout=60_000)
    assert widget.model.path == folder / "authors model.safetensors"
    assert widget.model.metadata.networks == "authors"
    # A second import does not write over another file of the user's.
    widget.model.path.write_bytes(b"something of the user's")
    browse_to(monkeypatch, widget, folder / "labelEncoder.hdf5")
    qtbot.waitUntil(widget.model.browse.isEnabled, timeout=60_000)
    assert widget.model.path == folder / "authors model-2.safetensors"
    assert (folder / "authors model.safetensors").read_bytes() == b"something of the user's"


def test_a_keras_checkpoint_that_does_not_fit_gets_a_sentence(
    qtbot, viewer, widget, model_file, tmp_path, monkeypatch
):
    good = model_file()
    widget.model.choose(good)
    folder = tmp_path / "incomplete"
    folder.mkdir()
    write_keras(folder, 2)
    (folder / "labelDecoder.hdf5").unlink()
    browse_to(monkeypatch, widget, folder / "denoiser.hdf5")
    qtbot.waitUntil(widget.model.browse.isEnabled, timeout=60_000)
    assert "labelDecoder.hdf5 is missing" in widget.status.text()
    assert widget.model.path == good and not list(folder.glob("*.safetensors"))


def test_browsed_checkpoints_are_remembered(viewer, widget, model_file):
    path = model_file()
    widget.model.choose(path)
    viewer.window.remove_dock_widget(widget)
    _, again = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Segment")
    listed = [again.model.combo.itemData(i) for i in range(again.model.combo.count())]
    assert path in listed


def test_hiding_the_dock_even_a_floating_one_lets_the_run_go_on(qtbot, viewer, widget, running):
    dock = next(d for d in viewer.window._wrapped_dock_widgets.values() if widget in d.children())
    for floating in (False, True):
        dock.setFloating(floating)
        dock.hide()
        qtbot.wait(100)
        assert widget.session.running
        dock.show()
    finish(qtbot, widget)
    assert widget.status.text().startswith("Stopped")
