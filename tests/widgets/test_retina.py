"""Photographs of the retina in a real window: the model that is offered, and retraining on corrected ones."""

import re
import warnings

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import torch
from skimage.io import imsave

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.finetuning.comparison import read_comparison
from napari_ldseg.layers.files import reader_warning
from napari_ldseg.layers.geometry import grid_of
from napari_ldseg.project.case import Masks
from napari_ldseg.project.folder import Project
from napari_ldseg.scans.files import read_scan

from ..dicom_files import SECONDARY, dataset, save
from ..inference.test_diffdgss import FIELDS
from ..model.test_fast import randomise
from .conftest import result_layer
from .test_train import dock, rows, served_runs, short, wait_for  # noqa: F401

PATIENTS = 10


def photograph(number, size=90):
    """Return a photograph (size, size, 3) with a black surround, and its vessels."""
    columns, rows = np.meshgrid(np.arange(size * 1.2), np.arange(size))
    distance = np.hypot(rows - size / 2, columns - 0.6 * size) / size
    inside = distance < 0.46
    wave = size / 2 + size * 0.12 * np.sin(columns * 9 / size + number)
    vessel = inside & (np.abs(rows - wave) < max(2, size / 120))
    shade = (1 - distance)[..., None] * [200, 100, 60]
    image = np.where(inside[..., None], shade * (1 - 0.3 * vessel[..., None]), 8)
    noise = np.random.default_rng(number).normal(0, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), vessel.astype(np.uint8)


@pytest.fixture(autouse=True)
def bundled_models_not_compared():
    """Compare the photographs with the bundled models' training images here."""


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "eyes"
    folder.mkdir()
    for number in range(PATIENTS):
        imsave(folder / f"eye{number}.png", photograph(number)[0], check_contrast=False)
    return sorted(folder.iterdir())


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    metadata = Metadata.model_validate(FIELDS)
    made = Checkpoint(metadata, randomise(build_model(metadata)))
    return save_checkpoint(made, tmp_path / "vessels.safetensors")


@pytest.fixture
def project(tmp_path, files):
    """A project of ten corrected photographs of ten patients, two of them held out."""
    made = Project(tmp_path / "project", create=True)
    classes = Metadata.model_validate(FIELDS).classes
    for number, file in enumerate(files):
        label = photograph(number)[1]
        masks = Masks(label, np.zeros(label.shape, bool), np.ones(label.shape, bool))
        made.add_case(file.stem, read_scan(file), None, classes, masks)
    made.close()
    return made


def test_a_photograph_is_offered_a_model_of_the_retina_and_segmented_on_its_grid(
    qtbot, viewer, widget, run, tmp_path
):
    path = tmp_path / "eye.jpg"
    imsave(path, photograph(0, 500)[0], check_contrast=False)
    (image,) = viewer.open(path)
    qtbot.waitUntil(lambda: widget.model.path.stem.startswith("retina-"), timeout=20_000)
    widget.model.combo.setCurrentIndex(widget.model.combo.findText("retina-vessels"))
    assert run(samples=2) == "Done: 2 samples."
    for word in ("labels", "uncertainty", "sample SD"):
        layer = result_layer(viewer, word)
        assert layer.data.shape == (500, 600) and grid_of(layer) == grid_of(image)
    labels = result_layer(viewer, "labels").data
    assert labels.any() and not labels[:, :30].any()
    expert = photograph(0, 500)[1]
    assert (labels & expert).sum() > labels.sum() / 2  # where the vessel is, not at the rim


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_a_photograph_that_lies_on_its_side_has_a_warning(
    viewer, widget, run, base, tmp_path, suffix
):
    for name, orientation in (("upright", 1), ("turned", 6)):
        exif = PIL.Image.Exif()
        exif[PIL.ExifTags.Base.Orientation] = orientation
        path = tmp_path / f"{name}.{suffix}"
        PIL.Image.fromarray(photograph(0)[0]).save(path, exif=exif)
        viewer.open(path)
        widget.model.choose(base)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert run(samples=1) == "Done: 1 sample."
        told = [str(w.message) for w in caught if "EXIF" in str(w.message)]
        assert len(told) == (name == "turned")
    assert told[0].startswith(f"turned.{suffix} is shown and segmented as it is stored")


def test_a_dicom_file_in_napari_s_own_reader_has_a_warning(
    viewer, widget, run, model_file, tmp_path
):
    path = save(dataset(photograph(0)[0], SECONDARY, "OT", InstanceNumber=1), tmp_path / "eye.dcm")
    (ours,) = viewer.open(path, plugin="napari-ldseg")
    assert reader_warning(ours) is None
    viewer.layers.clear()
    viewer.open(path, plugin="napari")
    widget.model.choose(model_file())
    with pytest.warns(UserWarning, match=r"eye.dcm was opened with napari's own reader"):
        run(samples=1)


@pytest.mark.usefixtures("served_runs")
def test_ten_corrected_photographs_retrain_the_interpreter_alone(
    qtbot,
    project,
    base,
    dock,  # noqa: F811
    widget,
):
    trainer = dock()
    trainer.setup.model.choose(base)
    held_out = [c.name for c in trainer.setup.cases.chosen if c.split == "validation"]
    assert len(held_out) == 2
    trainer.setup.start.click()
    wait_for(qtbot, trainer, "finished")
    compared = read_comparison(trainer.state.run.folder / "comparison.json")
    shown = {row[0]: row[1:3] for row in rows(trainer.outcome.table)}
    assert sorted(shown) == sorted(held_out)
    for change in compared.changes:
        assert shown[change.case] == tuple(f"{dsc:.3f}" for dsc in change.means)
        assert all(re.fullmatch(r"[01]\.\d{3}", text) for text in shown[change.case])
    made = project.folder / "models" / "vessels-2.safetensors"
    before, after = (load_checkpoint(p).model.state_dict() for p in (base, made))
    changed = {n.split(".")[0] for n in before if not torch.equal(before[n], after[n])}
    assert changed == {"interpreter"}
    trainer.outcome.use.click()
    assert widget.model.path == made
