"""The four networks, the noise schedule, the forward process and both parametrisations."""

import math

import numpy as np
import pytest
import torch

from napari_ldseg.model.architecture import Architecture
from napari_ldseg.model.blocks import standardise, time_embedding
from napari_ldseg.model.ldseg import LDSeg
from napari_ldseg.model.parametrisation import PARAMETRISATIONS
from napari_ldseg.model.schedule import NoiseSchedule

ODD_SIZES = [
    pytest.param(2, 2, (16, 16), (4, 4), id="2D two classes"),
    pytest.param(2, 4, (13, 22), (4, 6), id="2D four classes, odd"),
    pytest.param(2, 2, (1, 5), (1, 2), id="2D one row"),
    pytest.param(3, 2, (8, 8, 8), (2, 2, 2), id="3D two classes"),
    pytest.param(3, 3, (7, 10, 13), (2, 3, 4), id="3D three classes, odd"),
]


def one_hot(rng, batch, classes, size):
    label = torch.from_numpy(rng.integers(0, classes, (batch, *size)))
    return torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("dims, classes, size, cells", ODD_SIZES)
def test_shapes_of_the_four_networks(tiny_checkpoint, dims, classes, size, cells):
    rng = np.random.default_rng(0)
    model = tiny_checkpoint(dims, classes, 3).model
    z = model.encode_label(one_hot(rng, 2, classes, size))
    z_i = model.encode_image(torch.rand(2, 3, *size))
    assert z.shape == (2, 2, *cells) and z_i.shape == (2, 1, *cells)
    assert model.architecture.latent_shape(size) == z.shape[1:]
    prediction = model.denoiser(z, z_i, torch.tensor([3.0, 700.5]))
    assert prediction.shape == z.shape and prediction.dtype == torch.float32
    logits = model.decode(z, size)
    assert logits.shape == (2, classes, *size) and logits.dtype == torch.float32
    assert all(torch.isfinite(x).all() for x in (z, z_i, prediction, logits))


@pytest.mark.parametrize("dims", [2, 3])
def test_every_input_reaches_the_output(tiny_checkpoint, dims):
    model = tiny_checkpoint(dims, 2).model
    size = (16,) * dims
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, *size, generator=generator)
    z = torch.randn(1, *model.architecture.latent_shape(size), generator=generator)
    z_i, t = model.encode_image(image), torch.tensor([500.0])
    base = model.denoiser(z, z_i, t)
    assert not torch.allclose(base, model.denoiser(z, model.encode_image(1 - image), t), atol=1e-4)
    assert not torch.allclose(base, model.denoiser(z, z_i, t - 400), atol=1e-4)
    assert not torch.allclose(base, model.denoiser(-z, z_i, t), atol=1e-4)
    assert not torch.allclose(model.decode(z, size), model.decode(-z, size), atol=1e-4)


@pytest.mark.parametrize("dims, size", [(2, (13, 22)), (3, (7, 10, 13))])
def test_padding_repeats_the_border_symmetrically(tiny_checkpoint, dims, size):
    rng = np.random.default_rng(0)
    model = tiny_checkpoint(dims, 2).model
    image = rng.random((1, 1, *size)).astype(np.float32)
    missing = [-n % 4 for n in size]
    pads = [(m // 2, m - m // 2) for m in missing]
    padded = np.pad(image, [(0, 0), (0, 0), *pads], mode="edge")
    expected = model.encode_image(torch.from_numpy(padded))
    torch.testing.assert_close(
        model.encode_image(torch.from_numpy(image)), expected, rtol=0, atol=0
    )
    z = torch.randn(1, *model.architecture.latent_shape(size))
    uncropped = model.decode(z, padded.shape[2:])
    inside = (
        slice(None),
        slice(None),
        *(slice(p, p + n) for (p, _), n in zip(pads, size, strict=True)),
    )
    torch.testing.assert_close(model.decode(z, size), uncropped[inside], rtol=0, atol=0)


@pytest.mark.parametrize("dims, size", [(2, (24, 20)), (3, (12, 8, 16))])
def test_latent_is_standardised_per_sample(tiny_checkpoint, dims, size):
    rng = np.random.default_rng(0)
    model = tiny_checkpoint(dims, 3).model
    label = one_hot(rng, 3, 3, size)
    label[1] = label[1] * 10
    z = model.encode_label(label).flatten(1)
    np.testing.assert_allclose(z.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(1, correction=0), 1, atol=1e-3)
    single = model.encode_label(label[2:]).flatten(1)
    torch.testing.assert_close(z[2:], single, rtol=1e-4, atol=1e-4)


def test_standardise_by_hand():
    z = torch.tensor([[[1.0, 3.0]], [[5.0, 5.0]]])
    np.testing.assert_allclose(standardise(z), [[[-1, 1]], [[0, 0]]], atol=1e-4)


def test_time_embedding_by_hand():
    features = time_embedding(torch.tensor([0.0, 2.5]))
    assert features.shape == (2, 64)
    np.testing.assert_allclose(features[0], [0.0] * 32 + [1.0] * 32)
    for i in (0, 1, 31):
        angle = 2.5 * math.exp(-math.log(10000) * i / 31)
        assert features[1, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
        assert features[1, 32 + i].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize(
    "change, word",
    [
        ({"dims": 4}, "dims"),
        ({"classes": 1}, "classes"),
        ({"image_channels": 0}, "image_channels"),
        ({"label_widths": (8,) * 8, "image_widths": (8,) * 8}, "label_widths"),
        ({"label_widths": (8, 2000)}, "label_widths"),
        ({"label_widths": (8, 8)}, "same length"),
        ({"denoiser_attention": (3,)}, "denoiser_attention"),
        ({"denoiser_blocks": 9}, "denoiser_blocks"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_architecture_bounds(change, word):
    with pytest.raises(ValueError, match=word):
        Architecture(**{"dims": 2, "image_channels": 1, "classes": 2} | change)


def test_paper_sizes():
    knee = Architecture(3, 1, 3)
    assert knee.stride == 16 and knee.latent_shape((128, 128, 256)) == (1, 8, 8, 16)
    assert Architecture(2, 3, 2).latent_shape((512, 768)) == (1, 32, 48)


def test_schedule_ends_and_is_monotonic():
    schedule = NoiseSchedule()
    assert schedule.alpha_bar(0) == 1
    assert schedule.alpha_bar(999) == pytest.approx(2.43e-6, rel=5e-3)
    values = [schedule.alpha_bar(t) for t in np.linspace(0, 999, 4001)]
    assert np.all(np.diff(values) < 0)
    angle = (0.5 + 0.008) / 1.008 * math.pi / 2
    expected = math.cos(angle) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert schedule.alpha_bar(500) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(
        schedule.alpha_bars(torch.tensor([0, 500, 999])),
        [1, expected, schedule.alpha_bar(999)],
        rtol=1e-6,
    )


@pytest.mark.parametrize("steps", [2, 3, 7, 10, 50, 250, 1000])
def test_times_include_both_ends(steps):
    times = NoiseSchedule().times(steps)
    assert len(times) == steps and times[0] == 999 and times[-1] == 0
    np.testing.assert_allclose(np.diff(times), -999 / (steps - 1), rtol=1e-9)


def test_one_time_and_none():
    assert NoiseSchedule().times(1) == [999.0]
    with pytest.raises(ValueError, match="steps"):
        NoiseSchedule().times(0)
    with pytest.raises(ValueError, match="cosine"):
        NoiseSchedule(1000, "sigmoid")


def test_forward_process(tiny_checkpoint):
    model = tiny_checkpoint(2, 2).model
    z0, noise = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    t = torch.tensor([0, 400, 999])
    z_t = model.diffuse(z0, t, noise)
    torch.testing.assert_close(z_t[0], z0[0], rtol=0, atol=0)
    a = model.schedule.alpha_bar(400)
    torch.testing.assert_close(z_t[1], a**0.5 * z0[1] + (1 - a) ** 0.5 * noise[1])
    torch.testing.assert_close(z_t[2], noise[2], rtol=0, atol=0.01)


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize("t", [1.0, 111.5, 500.0, 998.0])
def test_a_perfect_network_recovers_noise_and_latent(name, t):
    """The training target as the network's output: ``estimate`` recovers z0 and the noise."""
    rule = PARAMETRISATIONS[name]
    z0, noise = torch.randn(2, 4, 6, 5, dtype=torch.float64).unbind(0)
    a = NoiseSchedule().alpha_bar(t)
    z_t = a**0.5 * z0 + (1 - a) ** 0.5 * noise
    target = rule.target(z0, noise, torch.tensor(a, dtype=torch.float64))
    estimate = rule.estimate(target, z_t, a)
    torch.testing.assert_close(estimate.noise, noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(estimate.z0, z0, rtol=0, atol=1e-9)


def test_latents_the_decoder_is_trained_on():
    z0, noise = torch.randn(2, 3, 2, 6, 5, dtype=torch.float64).unbind(0)
    a = torch.tensor(0.36, dtype=torch.float64)
    z_t = 0.6 * z0 + 0.8 * noise
    velocity = PARAMETRISATIONS["velocity"]
    torch.testing.assert_close(velocity.target(z0, noise, a), 0.6 * noise - 0.8 * z0)
    torch.testing.assert_close(velocity.training_latent(0.6 * noise - 0.8 * z0, z_t, a), z0)
    assert velocity.after_step(z_t) is z_t
    plain = PARAMETRISATIONS["plain-difference"]
    latent = plain.training_latent(0.25 * noise, z_t, a)
    torch.testing.assert_close(latent, standardise(z_t - 0.25 * noise))
    torch.testing.assert_close(plain.after_step(z_t), standardise(z_t))


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize("dims", [2, 3])
def test_sampling_end_to_end(tiny_metadata, name, dims):
    arch = tiny_metadata(dims).architecture
    model = LDSeg(arch, name).eval().requires_grad_(False)
    z_i = model.encode_image(torch.rand(3, 1, *(16,) * dims))
    noise = torch.randn(3, 2, *(4,) * dims, dtype=torch.float64)
    z = model.sample(z_i, noise, 5)
    assert z.shape == noise.shape and z.dtype == torch.float64 and torch.isfinite(z).all()
    torch.testing.assert_close(z, model.sample(z_i, noise, 5), rtol=0, atol=0)
    other = model.sample(z_i, noise, 5, "ddpm", lambda k: torch.ones_like(noise) * k)
    assert torch.isfinite(other).all() and not torch.allclose(z, other)
    with pytest.raises(ValueError, match="sampler"):
        model.sample(z_i, noise, 5, "euler")
