"""A result on an image far from the training images carries a warning and is never called calibrated."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from napari_ldseg.checkpoint.file import load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Calibration, Grid, TrainingSize
from napari_ldseg.cli import app
from napari_ldseg.datasets.case import Case
from napari_ldseg.inference.domain import (
    ImageFeatures,
    distance,
    far_from_training,
    features,
    fit_domain,
    look_at,
)
from napari_ldseg.inference.preprocessing import grid_map
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.domain import with_domain
from napari_ldseg.training.reporter import Reporter


def smooth(seed, dims=2):
    """An image like the training images: blobs."""
    noise = np.random.default_rng(seed).random((24,) * dims)
    return (255 * gaussian_filter(noise, 3)).astype(np.float32)


def noisy(seed, dims=2):
    """An image unlike them."""
    return np.random.default_rng(seed).random((24,) * dims).astype(np.float32)


def cases(seeds, dims):
    return [
        Case(f"case {i}", f"case {i}", lambda i=i: Scan(smooth(i, dims)), (lambda: None,))
        for i in seeds
    ]


@pytest.fixture(scope="module")
def fitted(tiny_checkpoint):
    """Factory of checkpoints that know their training images, stored and loaded again."""
    found = Calibration(samples=2, steps=4, split="s", cases=40, temperature=1.5)

    def make(folder, dims=2, **changes):
        reporter = Reporter(None, stop=lambda: False)
        checkpoint = with_domain(
            tiny_checkpoint(dims, 3, calibration=found, **changes),
            cases(range(40), dims),
            cases(range(100, 120), dims),
            "cpu",
            reporter,
        )
        return load_checkpoint(save_checkpoint(checkpoint, folder / "smooth.safetensors"))

    return make


@pytest.mark.parametrize("dims", [2, 3])
def test_an_image_unlike_the_training_images_is_not_calibrated_and_warns(fitted, tmp_path, dims):
    checkpoint = fitted(tmp_path, dims)
    alike = segment(checkpoint, Scan(smooth(7777, dims)), 2, device="cpu")
    assert alike.warning is None and alike.not_calibrated is None
    other = segment(checkpoint, Scan(noisy(0, dims)), 2, device="cpu")
    assert other.warning.startswith("This image is unlike the images that tiny")
    assert "distance" in other.warning and "usual up to" in other.warning
    summary = other.summary()
    assert summary["warning"] == other.warning and "unlike" in summary["calibrated"]["meaning"]
    provenance = summary["provenance"]
    assert provenance["distance"] > provenance["usual_distance"] and not provenance["calibrated"]
    json.dumps(summary)


def test_the_distance_before_a_run_is_that_of_the_run_and_a_stack_counts_by_its_median(
    fitted, tmp_path
):
    checkpoint = fitted(tmp_path)
    image = Scan(noisy(3))
    assert look_at(checkpoint, image).distance == pytest.approx(
        segment(checkpoint, image, 1, device="cpu").provenance["distance"], rel=0.01
    )
    border = np.zeros((24, 24), np.float32)
    stack = Scan(np.stack([border, smooth(1), smooth(2), smooth(3), noisy(1)]))
    assert segment(checkpoint, stack, 1, device="cpu").warning is None
    stack = Scan(np.stack([border, smooth(1), noisy(2), noisy(3)]))
    assert segment(checkpoint, stack, 1, device="cpu").warning is not None


def test_a_checkpoint_of_an_earlier_version_or_of_few_images_is_not_checked(
    fitted, tiny_checkpoint, tmp_path
):
    assert fit_domain([ImageFeatures(np.zeros(3), 1.0)] * 5, []) is None
    posterior = segment(tiny_checkpoint(2, 3), Scan(noisy(0)), 1, device="cpu")
    assert posterior.warning is None and "distance" not in posterior.provenance


def test_at_most_one_in_twenty_validation_images_is_flagged():
    rng = np.random.default_rng(0)
    training, validation = rng.normal(size=(60, 9)), 1.3 * rng.normal(size=(40, 9))
    domain = fit_domain(*([ImageFeatures(x, 2.0) for x in part] for part in (training, validation)))
    far = [distance(domain, values) > domain.limit for values in validation]
    assert sum(far) <= 2 and domain.images == 60
    assert distance(domain, np.full(9, 9.0)) > 3 * domain.limit
    assert distance(domain, np.zeros(8)) == np.inf, "the features of other networks"


def test_the_record_and_the_table_of_a_batch_have_the_warning(fitted, tmp_path):
    checkpoint = fitted(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for name, array in {"alike": smooth(7777), "other": 200 * noisy(0)}.items():
        Image.fromarray(array.astype(np.uint8)).save(images / f"{name}.png")
    arguments = ["segment", str(images), "-o", str(tmp_path / "results"), "--accelerator", "cpu"]
    arguments += ["--model", str(checkpoint.path), "-n", "2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "other: This image is unlike" in result.output, result.output
    record = json.loads((tmp_path / "results" / "records" / "other.json").read_text())
    assert record["warning"].endswith("check every contour.")
    table = (tmp_path / "results" / "volumes.csv").read_text().splitlines()
    assert [("unlike the images that tiny" in row) for row in table].count(True) == 1


@pytest.mark.slow
def test_a_large_image_in_tiles_warns_as_well_unless_only_its_background_is_unlike(
    fitted, tmp_path
):
    size = TrainingSize(smallest=(24, 24), largest=(24, 24))
    checkpoint = fitted(tmp_path, grid=Grid(spacing=(1.0, 1.0)), training_size=size)
    blobs = np.tile(smooth(7777), (6, 6))
    slide = blobs.min() + np.random.default_rng(0).random((288, 288), np.float32)
    slide[:144, :144] = blobs
    for image in (blobs, slide):
        alike = segment(checkpoint, Scan(image), 1, device="cpu")
        assert alike.provenance["tiles"] > 20 and alike.warning is None
    noise = np.random.default_rng(0).random(blobs.shape, np.float32)
    other = segment(checkpoint, Scan(noise), 1, device="cpu")
    assert other.warning.startswith("This image is unlike the images that tiny")
    assert other.provenance["distance"] > other.provenance["usual_distance"]


def test_a_model_of_crops_at_full_size_warns_of_an_image_that_is_resized():
    crops = [ImageFeatures(np.zeros(3) + i / 40, 1.0) for i in range(40)]
    domain = fit_domain(crops, [])
    assert far_from_training(domain, 0.5, 1.4) is None
    assert "resized 3.5 times" in far_from_training(domain, 0.5, 3.5)
    shrunk = [ImageFeatures(image.values, 1.75) for image in crops]
    assert far_from_training(fit_domain(shrunk, []), 0.5, 3.5) is None


def test_padding_does_not_count(tiny_checkpoint):
    metadata = tiny_checkpoint(3, grid=Grid(spacing=(1, 1, 1), minimum_size=(32, 32, 32))).metadata
    mapping = grid_map(metadata, (24, 24, 24), np.eye(4))
    grid, cells = torch.zeros(1, 32, 32, 32), torch.zeros(1, 2, 8, 8, 8)
    grid[:, 4:28, 4:28, 4:28], cells[:, :, 1:7, 1:7, 1:7] = 0.5, 0.25
    values = features(grid, cells, mapping.content)
    assert values[:2] == pytest.approx(0.25) and values[4:11] == pytest.approx(0.5)
