"""No model is offered, and nothing called calibrated, on images unlike those it was trained on."""

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtWidgets import QLabel
from scipy.ndimage import gaussian_filter

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Calibration, TrainingRecord
from napari_ldseg.datasets.case import Case
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.domain import with_domain
from napari_ldseg.training.reporter import Reporter
from napari_ldseg.widgets.common.model_choice import ModelChoice

from .conftest import result_layer


@pytest.fixture(autouse=True)
def bundled_models_not_compared():
    """Compare them here."""


def hounsfield(shape):
    return np.random.default_rng(0).integers(-150, 900, shape).astype(np.int16)


@pytest.fixture
def vertebra(tmp_path):
    """A CT of a vertebra in a file: 50 x 51 x 35 voxels of 1 mm."""
    path = tmp_path / "vertebra.nii.gz"
    image = nib.Nifti1Image(hounsfield((50, 51, 35)), np.eye(4))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


@pytest.fixture
def calibrated_file(tiny_checkpoint, tmp_path):
    """Factory: save a calibrated model of echocardiograms and return its path."""

    def make(name="echo", **changes):
        found = Calibration(
            samples=3, steps=4, split="s", cases=40, temperature=1.5, volume_factors=(2.0, 2.0)
        )
        checkpoint = tiny_checkpoint(2, classes=3)
        fields = {
            "channels": ("ultrasound",),
            "calibration": found,
            "description": "Chambers in echocardiograms.",
            "training": TrainingRecord(data="HEARTS (Who et al.), 2 views", licence="x", split="s"),
        }
        metadata = checkpoint.metadata.model_copy(update=fields | changes)
        return save_checkpoint(
            Checkpoint(metadata, checkpoint.model), tmp_path / f"{name}.safetensors"
        )

    return make


def purpose(widget):
    return " ".join(label.text() for label in widget.model.findChildren(QLabel))


def test_a_ct_volume_is_offered_no_model_of_other_images(viewer, widget, vertebra):
    viewer.open(vertebra, plugin="napari-ldseg")
    assert widget.model.path is None and not widget.segment.isEnabled()
    assert "None of these models was trained on images like vertebra" in purpose(widget)
    widget.model.combo.setCurrentIndex(widget.model.combo.findText("hippocampus"))
    assert "unlike vertebra: its values are from" in purpose(widget) and widget.segment.isEnabled()
    viewer.add_image(np.full((60, 50), 7, np.uint8), name="echo")
    assert "unlike" not in purpose(widget) and widget.model.path is not None


def test_a_ct_slice_is_not_offered_the_model_of_echocardiograms(viewer, widget):
    assert widget.model.path == bundled_checkpoints()["camus"]
    viewer.add_image(hounsfield((51, 35)), name="slice")
    assert widget.model.path == bundled_checkpoints()["lidc"]


def test_nothing_is_calibrated_on_other_images_than_those_of_the_training(
    viewer, widget, run, calibrated_file
):
    viewer.add_image(hounsfield((40, 36)), name="slice")
    widget.model.choose(calibrated_file())
    assert "unlike slice" in purpose(widget)
    run(samples=3)
    text = widget.legend._calibration.text()
    assert text.startswith("Not calibrated: the image is unlike those")
    assert "echocardiograms (HEARTS)" in text
    assert widget.legend._table.horizontalHeaderItem(2).text().startswith("samples")
    summary = result_layer(viewer, "labels").metadata["napari_ldseg_result"]
    assert summary["provenance"]["calibrated"] is False


def test_the_line_says_which_images_the_intervals_are_for(viewer, widget, run, calibrated_file):
    viewer.add_image(np.random.default_rng(0).integers(0, 99, (40, 36)).astype(np.uint8))
    widget.model.choose(calibrated_file())
    text = widget.legend._calibration
    run(samples=3)
    assert text.text().startswith("Calibrated:") and "echocardiograms (HEARTS)" in text.text()
    run(samples=4)
    assert text.text().startswith("Not calibrated:") and "echocardiograms (HEARTS)" in text.text()


def test_the_users_own_model_is_not_judged_by_its_first_channel_name(
    viewer, widget, run, calibrated_file
):
    record = TrainingRecord(
        data="HEARTS; then 3 cases", licence="x", split="s", cases={"a": "0" * 64}
    )
    widget.model.choose(calibrated_file("own", training=record))
    viewer.add_image(hounsfield((40, 36)), name="slice")
    run(samples=3)
    assert widget.legend._calibration.text().startswith("Calibrated:")
    assert "HEARTS and 3 cases" in widget.legend._calibration.text()


def blobs(seed):
    noise = np.random.default_rng(seed).random((40, 36))
    return (255 * gaussian_filter(noise, 3)).astype(np.float32)


@pytest.fixture
def blob_model(calibrated_file):
    """A model that knows that its training images were blobs."""
    checkpoint = load_checkpoint(calibrated_file("blobs"))
    cases = [Case(f"{i}", f"{i}", lambda i=i: Scan(blobs(i)), (lambda: None,)) for i in range(40)]
    reporter = Reporter(None, stop=lambda: False)
    fitted = with_domain(checkpoint, cases, [], "cpu", reporter)
    return save_checkpoint(fitted, checkpoint.path)


def test_a_result_far_from_the_training_images_warns_in_segment_and_review(
    viewer, widget, run, blob_model
):
    _, review = viewer.window.add_plugin_dock_widget("napari-ldseg", "LDSeg: Review")
    viewer.add_image(np.random.default_rng(0).random((40, 36)).astype(np.float32), name="noise")
    widget.model.choose(blob_model)
    run(samples=3)
    for warning in (widget.legend.warning, review.warning):
        assert "unlike the images that tiny" in warning.text() and not warning.isHidden()
    assert widget.legend._calibration.text().startswith("Not calibrated: the image is unlike")
    viewer.add_image(blobs(7777), name="blobs")
    run(samples=3)
    assert widget.legend.warning.isHidden() and review.warning.isHidden()
    assert widget.legend._calibration.text().startswith("Calibrated:")


def test_a_model_is_offered_only_for_images_near_its_training_images(
    qtbot, monkeypatch, blob_model
):
    monkeypatch.setattr(
        "napari_ldseg.widgets.common.model_choice.bundled_checkpoints",
        lambda: {"blobs": blob_model},
    )
    choice = ModelChoice()
    qtbot.addWidget(choice)
    noise = Scan(np.random.default_rng(0).random((40, 36)).astype(np.float32), name="noise")
    choice.suggest(noise)
    assert choice.path == blob_model, "until the distance is known"
    qtbot.waitUntil(lambda: choice.path is None, timeout=20_000)
    text = " ".join(label.text() for label in choice.findChildren(QLabel))
    assert "None of these models was trained on images like noise" in text
    choice.choose(blob_model)
    text = " ".join(label.text() for label in choice.findChildren(QLabel))
    assert "unlike noise: distance" in text
    choice._chosen = False
    choice.suggest(Scan(blobs(7777), name="alike"))
    qtbot.waitUntil(lambda: blob_model in choice._distances.unlike, timeout=20_000)
    assert choice.path == blob_model
    choice.shut_down()
