"""A DiffDGSS checkpoint is saved, loaded and used like any other."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.preprocessing import grid_map
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment

FIELDS = {
    "name": "vessels",
    "description": "Vessels in photographs of the retina",
    "architecture": {"dims": 2, "image_channels": 3, "classes": 2},
    "networks": "diffdgss",
    "diffdgss": {"widths": (8, 8, 12), "times": (1, 50, 500), "expert_width": 8, "kernel_width": 4},
    "channels": ("red", "green", "blue"),
    "classes": (
        {"name": "background", "colour": "#000000"},
        {"name": "vessel", "colour": "#ff0000"},
    ),
    "grid": {"size": (64, 64), "keep_shape": True},
    "intensity": {"method": "fundus"},
    "schedule_length": 4000,
    "label_steps": 1,
    "posterior_steps": 2,
    "training": {"data": "none", "licence": "CC0", "split": "none"},
}


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    torch.manual_seed(0)
    metadata = Metadata.model_validate(FIELDS)
    made = Checkpoint(metadata, build_model(metadata))
    return load_checkpoint(save_checkpoint(made, tmp_path / "vessels.safetensors"))


@pytest.fixture
def photograph() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:90, :120]
    disc = (rows - 45) ** 2 + (columns - 60) ** 2 < 40**2
    image = np.full((90, 120, 3), 12, np.uint8)
    image[disc] = (120 + 30 * np.sin(columns / 5.0)[..., None] * [1, 0.6, 0.2])[disc]
    return image, disc


def test_a_photograph_is_segmented_on_its_own_grid_with_the_surround_as_background(
    checkpoint, photograph
):
    image, disc = photograph
    posterior = segment(checkpoint, image, n=4)
    assert posterior.labels.shape == (90, 120)
    assert (posterior.labels[:, :10] == 0).all()
    assert posterior.sample_sd[:, :10].max() < 1e-3
    assert posterior.sample_sd[disc].mean() > 1e-4
    again = segment(checkpoint, image, n=4)
    np.testing.assert_array_equal(posterior.mean_probability, again.mean_probability)


def test_each_sample_is_one_of_the_times_and_the_label_map_that_of_all_of_them(
    checkpoint, photograph
):
    sampler = PosteriorSampler(checkpoint, photograph[0])
    samples = sampler.latents(12)
    distinct = {tuple(sample.flatten()[::97].tolist()) for sample in samples}
    assert 2 <= len(distinct) <= 3
    one = segment(checkpoint, photograph[0], n=1)
    np.testing.assert_array_equal(one.labels, segment(checkpoint, photograph[0], n=5).labels)


def test_a_wide_photograph_is_not_distorted(checkpoint):
    mapping = grid_map(checkpoint.metadata, (90, 120), np.eye(4))
    assert mapping.inner == (48, 64)
    assert mapping.size == (64, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diffdgss": None}, "sizes in diffdgss"),
        ({"networks": "ldseg"}, "sizes in diffdgss"),
        ({"diffdgss": FIELDS["diffdgss"] | {"classes": 5}}, "classes"),
        ({"diffdgss": FIELDS["diffdgss"] | {"inversion": "noised"}}, "noised"),
        ({"grid": {"spacing": (1, 1), "keep_shape": True}}, "keep_shape"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Metadata.model_validate(FIELDS | changes)


def test_a_file_that_asks_for_huge_networks_is_refused_before_memory_is_taken(checkpoint, tmp_path):
    with safe_open(checkpoint.path, framework="np") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = dict(file.metadata())
    (key,) = (k for k, v in header.items() if "diffdgss" in v)
    described = json.loads(header[key])
    described["diffdgss"]["widths"] = [2048] * 8
    save_file(weights, tmp_path / "huge.safetensors", header | {key: json.dumps(described)})
    with pytest.raises(LDSegError, match="damaged"):
        load_checkpoint(tmp_path / "huge.safetensors")
