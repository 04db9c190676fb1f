"""The faster copies of the networks give the same results; results record their precision."""

import gc
import weakref

import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.file import build_model
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.model import fast
from napari_ldseg.model.authors import TransposedConv, authors_networks
from napari_ldseg.model.authors_sizes import authors_architecture
from napari_ldseg.model.blocks import Upsample
from napari_ldseg.model.fast import (
    NEAREST_TAPS,
    TRANSPOSED_TAPS,
    PhaseConv,
    inference_copy,
)
from napari_ldseg.model.ldseg import LDSeg
from napari_ldseg.model.presets import FAST

SIZES = {2: (64, 96), 3: (32, 64, 32)}
SMALL_SIZES = {2: (32, 48), 3: (16, 24, 16)}


def randomise(model):
    """Give every weight and moment a value that matters."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value *= 2  # with torch's initial weights the signal vanishes
            continue
        noise = torch.randn(value.shape, generator=generator)
        value.copy_(noise.abs() + 0.5 if "running_var" in name else value + 0.2 * noise)
    return model.eval().requires_grad_(False)


@pytest.fixture(params=["authors 2D", "authors 3D", "own 2D", "own 3D", "half-size labels"])
def model(request, tiny_metadata):
    kind = request.param
    torch.manual_seed(0)
    dims = 3 if "3D" in kind else 2
    if "authors" in kind:
        architecture = authors_architecture(dims, 1, 3, (4, 8, 8, 8), (8, 8, 8, 8), (4, 8, 8))
        networks = authors_networks(architecture, SIZES[dims])
        return randomise(LDSeg(architecture, "plain-difference", networks=networks))
    changes = {"label_stride": 2, "label_widths": (4, 8)} if "half" in kind else {}
    return randomise(build_model(tiny_metadata(dims, 3, architecture=changes)))


def both(model, copy, image, z, size):
    with torch.inference_mode():
        return [(m.encode_image(image), m.decode(z, size).softmax(1)) for m in (model, copy)]


def inputs(model, batch=2, sizes=SIZES):
    size = sizes[model.architecture.dims]
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(batch, 1, *size, generator=generator)
    z = torch.randn(batch, *model.latent_shape(size), generator=generator)
    return image, z, size


def test_the_copy_computes_the_same(model):
    image, z, size = inputs(model)
    (z_i, p), (fast_z_i, fast_p) = both(model, inference_copy(model), image, z, size)
    assert p.std(0).max() > 0.01
    torch.testing.assert_close(fast_z_i, z_i, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fast_p, p, rtol=0, atol=1e-4)


def test_slabs_do_not_change_the_result(model, monkeypatch):
    image, z, size = inputs(model)
    monkeypatch.setitem(fast.SLAB_VOXELS, len(size), np.prod(size) // 4)
    (z_i, p), (fast_z_i, fast_p) = both(model, inference_copy(model), image, z, size)
    torch.testing.assert_close(fast_z_i, z_i, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fast_p, p, rtol=0, atol=1e-4)


def test_bfloat16_is_close_and_the_model_is_unchanged(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    # Small: without bfloat16 instructions a CPU emulates them.
    image, z, size = inputs(model, batch=1, sizes=SMALL_SIZES)
    copy = inference_copy(model, torch.bfloat16)
    (z_i, p), (fast_z_i, fast_p) = both(model, copy, image, z, size)
    assert fast_z_i.dtype == fast_p.dtype == torch.float32
    assert 0 < (fast_p - p).abs().mean() < 0.02
    assert (fast_z_i - z_i).pow(2).mean().sqrt() < 0.1 * z_i.std()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_copy_is_cached_until_the_weights_change(model):
    decoder = inference_copy(model).label_decoder
    assert inference_copy(model).label_decoder is decoder
    assert inference_copy(model, torch.bfloat16).label_decoder is not decoder
    _, z, size = inputs(model)
    weight = next(p for p in model.label_decoder.parameters() if p.ndim > 1)
    changes = [
        lambda: weight.mul_(1.5),
        lambda: model.load_state_dict({k: 0.8 * v for k, v in model.state_dict().items()}),
        lambda: setattr(weight, "data", 1.5 * weight),
    ]
    for change in changes:
        before = inference_copy(model).decode(z, size)
        change()
        after = inference_copy(model).decode(z, size)
        torch.testing.assert_close(after, model.decode(z, size), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(after, before, rtol=1e-3, atol=1e-4)
    model.requires_grad_(True)  # as in training
    assert inference_copy(model).label_decoder is not inference_copy(model).label_decoder


@pytest.mark.parametrize("dims", [2, 3])
def test_phases_equal_upsampling_and_convolution(dims):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *(5, 6, 4)[:dims])
    plain = Upsample(dims, 3, 4).requires_grad_(False)
    phases = PhaseConv(plain.conv.weight, plain.conv.bias, NEAREST_TAPS)
    torch.testing.assert_close(phases(x), plain(x))
    if dims == 2:
        plain = TransposedConv(2, 3, 4).requires_grad_(False)
        phases = PhaseConv(plain.conv.weight.transpose(0, 1), plain.conv.bias, TRANSPOSED_TAPS)
        torch.testing.assert_close(phases(x), plain(x))


def test_the_precision_is_recorded_and_reproducible(tiny_checkpoint, assert_sentence):
    checkpoint, image = tiny_checkpoint(2, 3), np.random.default_rng(0).random((24, 19))
    runs = {
        p: segment(checkpoint, image, 3, device="cpu", precision=p) for p in ("float32", "bfloat16")
    }
    for precision, posterior in runs.items():
        assert posterior.summary()["provenance"]["precision"] == precision
        again = segment(checkpoint, image, 3, device="cpu", precision=precision)
        assert np.array_equal(posterior.mean_probability, again.mean_probability)
    difference = runs["float32"].mean_probability - runs["bfloat16"].mean_probability
    assert 0 < np.abs(difference).mean() < 0.02
    small = segment(checkpoint, image, 1, device="cpu")
    assert small.provenance["precision"] == "float32"  # too small to gain from bfloat16
    with pytest.raises(LDSegError) as error:
        segment(checkpoint, image, 1, precision="float8")
    assert_sentence(error, "float8", "bfloat16")


def test_sampling_ahead_changes_no_sample(tiny_checkpoint, monkeypatch):
    """Latents are sampled in larger batches than they are decoded in."""
    checkpoint, image = tiny_checkpoint(2, 2), np.random.default_rng(0).random((24, 19))
    sampler = PosteriorSampler(checkpoint, image, device="cpu")
    sampler._batch = 2
    sizes, sample = [], sampler._sample
    monkeypatch.setattr(
        sampler, "_sample", lambda b, steps: sizes.append(len(b)) or sample(b, steps)
    )
    yields = [p.n for p in sampler.run(9)]
    # One latent more before the first sample is decoded: that of the label map.
    assert yields == [2, 4, 6, 8, 9] and sizes == [2, 1, 7]
    single = PosteriorSampler(checkpoint, image, device="cpu", steps=4)
    single._batch, single._shrunk = 1, True
    list(single.run(9))
    for key, latent in single.posterior.latents.items():
        torch.testing.assert_close(sampler.posterior.latents[key], latent, rtol=0, atol=2e-4)


def test_a_label_stride_keeps_the_sizes(tiny_metadata):
    model = build_model(
        tiny_metadata(
            2,
            2,
            latent_channels=4,
            architecture={k: v for k, v in FAST.items() if k != "latent_channels"},
        )
    )
    label = torch.zeros(1, 2, 64, 48)
    z = model.encode_label(label)
    assert z.shape == (1, 4, 4, 3) and model.decode(z, (64, 48)).shape == label.shape
    with pytest.raises(ValueError, match="shorter"):
        tiny_metadata(2, 2, architecture={"label_stride": 2})


def test_a_deleted_model_frees_its_copy(tiny_checkpoint):
    model = tiny_checkpoint(2, 2).model
    image_encoder = weakref.ref(inference_copy(model).image_encoder)
    assert image_encoder() is not None
    del model
    gc.collect()
    assert image_encoder() is None
