"""Details: image features at half size that the label decoder may see beside the latent."""

import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.inherit import inherit
from napari_ldseg.checkpoint.metadata import Grid, TrainingSize
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.tiled import TiledSampler
from napari_ldseg.model.fast import inference_copy
from napari_ldseg.scans.scan import Scan

DETAILS = {"detail_channels": 4}
SIZES = {2: (16, 24), 3: (8, 16, 12)}


@pytest.fixture
def detailed(tiny_checkpoint, tiny_metadata):
    """Factory of checkpoints with the weights of a tiny one and details whose weights are random, or zero at first."""

    def make(dims=2, *, random=True, **changes):
        start = tiny_checkpoint(dims, 3, **changes)
        metadata = tiny_metadata(dims, 3, architecture=DETAILS, **changes)
        torch.manual_seed(1)
        model = build_model(metadata)
        inherit(model, metadata, start)
        for weight in model.label_decoder.details.parameters() if random else ():
            torch.nn.init.normal_(weight)
        return Checkpoint(metadata, model.eval().requires_grad_(False))

    return make


def inputs(model, dims):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, *SIZES[dims], generator=generator)
    return image, torch.randn(2, *model.latent_shape(SIZES[dims]), generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
def test_new_details_change_nothing_until_they_are_trained(detailed, tiny_checkpoint, dims):
    before, after = tiny_checkpoint(dims, 3).model, detailed(dims, random=False).model
    image, z = inputs(before, dims)
    detail = after.encode_detail(image)
    assert detail.shape == (2, 4, *(n // 2 for n in SIZES[dims]))
    assert torch.equal(after.decode(z, SIZES[dims], detail), before.decode(z, SIZES[dims]))
    assert before.encode_detail(image) is None


@pytest.mark.parametrize("dims", [2, 3])
def test_details_reach_the_labels_in_the_fast_copy_as_well(detailed, dims):
    model = detailed(dims).model
    image, z = inputs(model, dims)
    fast = inference_copy(model)
    with torch.inference_mode():
        slow, quick = (m.decode(z, SIZES[dims], m.encode_detail(image)) for m in (model, fast))
        other = model.decode(z, SIZES[dims], model.encode_detail(1 - image))
    torch.testing.assert_close(quick, slow, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(slow, other, atol=1e-2)


def test_training_hides_the_details_of_some_images(detailed):
    network = detailed().model.detail_encoder
    images = torch.rand(200, 1, 16, 16)
    torch.manual_seed(0)
    hidden = (network.train()(images) == 0).flatten(1).all(1)
    assert 30 < hidden.sum() < 90
    assert not (network.eval()(images) == 0).flatten(1).all(1).any()


def test_a_checkpoint_with_details_is_the_same_when_it_is_loaded(detailed, tmp_path):
    checkpoint = detailed()
    loaded = load_checkpoint(save_checkpoint(checkpoint, tmp_path / "details.safetensors"))
    image = np.random.default_rng(0).random((20, 24))
    first, again = (PosteriorSampler(c, image) for c in (checkpoint, loaded))
    for sampler in (first, again):
        list(sampler.run(2))
    np.testing.assert_array_equal(first.posterior.labels, again.posterior.labels)


def test_each_slice_is_decoded_with_its_own_details(detailed):
    rng = np.random.default_rng(0)
    volume = rng.random((2, 20, 24))
    sampler = PosteriorSampler(detailed(), Scan(volume), keep_labels=True)
    list(sampler.run(3))
    samples = sampler.samples()
    for frame in (0, 1):
        alone = PosteriorSampler(detailed(), Scan(volume[frame]), keep_labels=True)
        list(alone.run(3))
        shown = sampler.posterior.mean_probability[:, frame]
        np.testing.assert_allclose(shown, alone.posterior.mean_probability, atol=1e-5)
        mean = torch.stack([samples.probabilities(i, frame) for i in range(3)]).mean(0)
        np.testing.assert_allclose(mean, shown, atol=1e-5)


def test_tiles_are_decoded_with_their_own_details(detailed):
    size = TrainingSize(smallest=(32, 32), largest=(32, 32))
    checkpoint = detailed(grid=Grid(spacing=(1.0, 1.0)), training_size=size)
    image = np.random.default_rng(0).random((96, 75))
    sampler = TiledSampler(checkpoint, Scan(image))
    list(sampler.run(2))
    samples = sampler.samples()
    mean = torch.stack([samples.probabilities(i, 0) for i in range(2)]).mean(0)
    np.testing.assert_allclose(mean, sampler.posterior.mean_probability, atol=1e-5)
    checkpoint.model.detail_encoder.halve.weight.data.neg_()
    other = TiledSampler(checkpoint, Scan(image))
    list(other.run(2))
    assert abs(other.posterior.mean_probability - sampler.posterior.mean_probability).max() > 0.01
