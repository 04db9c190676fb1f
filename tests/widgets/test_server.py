"""Segmenting on a server from the window, by clicks: the same layers as here, and what happens when it fails."""

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QSettings
from qtpy.QtTest import QTest
from superqt import QCollapsible

from napari_ldseg import load_checkpoint, read_scan, save_checkpoint, segment
from napari_ldseg.remote import server as server_module
from napari_ldseg.server import guard as guard_module
from napari_ldseg.widgets.common import device_choice
from napari_ldseg.widgets.segment import widget as widget_module
from napari_ldseg.widgets.segment.widget import SERVER

from ..server.running import running
from .conftest import click, result_layer

PASSWORD = "a long password"


@pytest.fixture
def models(tiny_checkpoint, tmp_path):
    """A folder with a model that only the server has."""
    folder = tmp_path / "models"
    folder.mkdir()
    save_checkpoint(tiny_checkpoint(3, 3), folder / "nuclei.safetensors")
    return folder


@pytest.fixture
def served(models, tmp_path):
    with running(models, tmp_path / "sessions", PASSWORD) as found:
        yield found


@pytest.fixture
def connect(qtbot, widget, monkeypatch):
    """Choose a server under Device, type its address, and press Connect; return the words that are shown."""
    monkeypatch.setattr(guard_module, "SECONDS_AFTER_WRONG_PASSWORD", 0)
    monkeypatch.setattr(server_module, "SECONDS_BEFORE_RETRY", 0)

    def do(url, password=""):
        widget.findChild(QCollapsible).expand(animate=False)
        widget.device.setCurrentIndex(widget.device.findData(SERVER))
        part = widget.server
        for field, text in ((part.address, url), (part.password, password)):
            field.clear()
            QTest.keyClicks(field, text)
        click(part.connect_button)
        qtbot.waitUntil(part.connect_button.isEnabled, timeout=20_000)
        return part._state.text() or widget.status.text()

    return do


def test_a_scan_is_segmented_on_the_server_exactly_as_here(
    viewer, widget, run, connect, served, models, oblique_file
):
    assert connect(served[1].url) == f"{served[1].url.removeprefix('http://')} needs a password."
    assert widget.server.password.isVisible() and not widget.segment.isEnabled()
    assert connect(served[1].url, PASSWORD) == "Connected: 1 model."
    path, *_ = oblique_file
    (image,) = viewer.open(path, plugin="napari-ldseg")
    assert [widget.model.combo.itemText(i) for i in range(widget.model.combo.count())] == ["nuclei"]
    widget.model.combo.setCurrentIndex(0)
    assert run(samples=3) == "Done: 3 samples."
    labels, sd = result_layer(viewer, "labels"), result_layer(viewer, "uncertainty")
    local = segment(
        load_checkpoint(models / "nuclei.safetensors"), read_scan(path), 3, device="cpu"
    )
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(labels.data, local.labels)
    np.testing.assert_array_equal(sd.data, local.predictive_sd)
    np.testing.assert_array_equal(result_layer(viewer, "sample SD").data, local.sample_sd)
    assert (
        labels.data.flags.writeable and labels.extent.world.tolist() == image.extent.world.tolist()
    )
    provenance = labels.metadata["napari_ldseg_result"]["provenance"]
    assert provenance["server"] == served[1].url and provenance["seed"] == 0
    # The result is saved on the file's own grid.
    saved = path.parent / "labels.nii.gz"
    labels.save(str(saved), plugin="napari-ldseg")
    np.testing.assert_array_equal(read_scan(saved).affine, read_scan(path).affine)
    assert run(samples=2) == "Done: 2 samples." and served[0].sent == 1
    settings = QSettings("napari-ldseg", "napari-ldseg")
    stored = str([settings.value(key) for key in settings.allKeys()])
    assert served[1].url in stored and PASSWORD not in stored
    viewer.window.remove_dock_widget("all")
    assert not list(served[0].folder.iterdir())


def test_cancel_keeps_the_samples_and_a_lost_server_keeps_the_layers(
    qtbot, viewer, widget, run, connect, served
):
    connect(served[1].url, PASSWORD)
    viewer.add_image(np.random.default_rng(0).integers(0, 99, (12, 16, 16)).astype(np.uint8))
    widget.samples.setValue(1000)
    widget.model.combo.setCurrentIndex(0)
    click(widget.segment)
    assert not widget.device.isEnabled()
    qtbot.waitUntil(lambda: len(viewer.layers) > 1, timeout=20_000)
    click(widget.cancel)
    qtbot.waitUntil(lambda: not widget.session.running, timeout=20_000)
    assert widget.status.text().startswith("Stopped: ")
    labels = result_layer(viewer, "labels")
    before = labels.data.copy()
    qtbot.waitUntil(lambda: served[0].jobs.load == 0, timeout=20_000)
    served[1].close()
    assert "does not answer; check the address" in run(samples=2)
    assert result_layer(viewer, "labels") is labels
    np.testing.assert_array_equal(labels.data, before)
    # This computer can still be used.
    widget.device.setCurrentIndex(0)
    assert widget.model.browse.isEnabled() and widget.model.combo.findText("hippocampus") >= 0


def test_without_torch_only_a_server_is_offered(qtbot, viewer, monkeypatch, request):
    """As if PyTorch were not installed."""
    for module in (device_choice, widget_module):
        monkeypatch.setattr(module, "can_compute", lambda: False)
    widget = request.getfixturevalue("widget")
    assert [widget.device.itemText(i) for i in range(widget.device.count())] == ["a server"]
    qtbot.waitUntil(widget.server.address.isVisible)
    assert not widget.segment.isEnabled()


def test_an_address_that_is_not_encrypted_is_refused(viewer, widget, connect):
    assert "not encrypted" in connect("http://10.0.0.7:8000", PASSWORD)
    assert not widget.segment.isEnabled()
