"""The authors' networks, schedules, sampler and preprocessing against independent references.

Parity with the authors' own outputs needs their files, in LDSEG_OFFICIAL (default ../shared/official from
the repository); without them these tests are skipped.
"""

import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from napari_ldseg.checkpoint.file import Checkpoint, build_model, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.keras import import_keras
from napari_ldseg.checkpoint.metadata import Grid, Intensity
from napari_ldseg.inference.preprocessing import grid_map, preprocess
from napari_ldseg.model.architecture import Architecture
from napari_ldseg.model.ldseg import LDSeg
from napari_ldseg.model.parametrisation import Estimate
from napari_ldseg.model.presets import PRESETS, preset
from napari_ldseg.model.samplers import ddim, ddpm
from napari_ldseg.model.schedule import NoiseSchedule
from napari_ldseg.scans.scan import default_affine
from napari_ldseg.training.loop import train  # noqa: F401  (training must import with the new parts)

PARITY = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "authors_parity.py"))
OFFICIAL, DATA = PARITY["OFFICIAL"], PARITY["DATA"]
needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason=f"the authors' weights are not at {OFFICIAL} (LDSEG_OFFICIAL)"
)
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the real labels are not at {DATA} (LDSEG_DATA)"
)


@pytest.fixture(scope="module")
def official():
    """Return the imported checkpoint of 2 or 3 dimensions, made once."""
    made = {}

    def get(dims):
        if dims not in made:
            made[dims] = import_keras(OFFICIAL, dims)
        return made[dims]

    return get


@needs_official
@pytest.mark.parametrize("dims", [2, 3])
def test_components_match_the_original_code(official, dims):
    maxima = PARITY["component_maxima"](official(dims), full=False)
    assert {"label encoder", "image encoder", "reconstruction", "denoiser t=999"} <= set(maxima)
    for name, value in maxima.items():
        assert value < (5e-5 if name == "image encoder" else 2e-5), (name, value)


@needs_official
@needs_data
def test_the_autoencoder_reconstructs_real_labels(official):
    labels = PARITY["real_labels"](2, (512, 512), limit=3)
    for name, label in labels.items():
        assert PARITY["reconstruction_dice"](official(2), label) > 0.97, name


def reference_sampling(predict, noise, steps, sampler, step_noise, abar, length=1000):
    """The authors' sampler in numpy float64: every latent, the initial one first."""

    def normed(z):
        return (z - z.mean()) / (z.std() + 1e-5)

    times = np.linspace(0, length - 1, steps)
    a = abar(times)
    z = normed(noise)
    trajectory = [z]
    for k in range(steps):
        i = steps - 1 - k
        e = predict(z, times[i])
        clean = (z - np.sqrt(1 - a[i]) * e) / np.sqrt(a[i])
        if i == 0:
            z = clean + np.sqrt(1 - a[0]) * step_noise[k]
        else:
            s2 = (1 - a[i - 1]) / (1 - a[i]) * (1 - a[i] / a[i - 1]) if sampler == "ddpm" else 0.0
            z = np.sqrt(a[i - 1]) * clean + np.sqrt(1 - a[i - 1] - s2) * e
            z = z + np.sqrt(s2) * step_noise[k]
        z = normed(z)
        trajectory.append(z)
    return trajectory


def cosine(t):
    def f(t):
        return np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2

    return f(t) / f(np.zeros_like(t))


@needs_official
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [2, 15])
def test_the_sampler_with_given_noise(official, dims, sampler, steps):
    model = official(dims).model
    stored = np.load(OFFICIAL / f"ref{dims}d_components.npz")["z_image"][:1]
    z_i = torch.from_numpy(np.moveaxis(stored, -1, 1).copy())
    rng = np.random.default_rng(steps)
    noise = rng.normal(size=z_i.shape)
    step_noise = rng.normal(size=(steps, *z_i.shape))

    @torch.inference_mode()
    def predict(z, t):
        times = torch.full((1,), t, dtype=torch.float32)
        return model.denoiser(torch.from_numpy(z).float(), z_i, times).numpy()

    expected = reference_sampling(predict, noise, steps, sampler, step_noise, cosine)
    trajectory = []
    with torch.inference_mode():
        z = model.sample(
            z_i,
            torch.from_numpy(noise),
            steps,
            sampler,
            step_noise=lambda k: torch.from_numpy(step_noise[k]),
            on_latent=trajectory.append,
        )
    assert len(trajectory) == steps + 1 and torch.equal(trajectory[-1], z)
    for mine, theirs in zip(trajectory, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "quadratic"])
@pytest.mark.parametrize("sampler", [ddim, ddpm])
def test_other_schedules_against_cumulative_products(name, sampler):
    power = {"linear": 1, "quadratic": 2}[name]
    betas = np.linspace(1e-4 ** (1 / power), 0.02 ** (1 / power), 1000) ** power
    products = np.cumprod(1 - betas)
    schedule = NoiseSchedule(1000, name)
    np.testing.assert_allclose([schedule.alpha_bar(t) for t in range(1000)], products, rtol=1e-10)
    assert products[501] < schedule.alpha_bar(500.25) < products[500]
    np.testing.assert_allclose(schedule.alpha_bars(torch.tensor([0.0, 999.0])), products[[0, -1]])

    def abar(t):
        return np.exp(np.interp(t, np.arange(1000), np.log(products)))

    def noise_of(z, t):
        return 0.9 * z + 0.001 * t * np.sin(z)

    def predict(z, t):
        e, a = torch.from_numpy(noise_of(z.numpy(), t)), schedule.alpha_bar(t)
        return Estimate(e, (z - (1 - a) ** 0.5 * e) / a**0.5)

    rng = np.random.default_rng(0)
    noise, step_noise = rng.normal(size=(1, 1, 8, 8)), rng.normal(size=(7, 1, 1, 8, 8))
    expected = reference_sampling(noise_of, noise, 7, sampler.__name__, step_noise, abar)[-1]
    z = sampler(
        predict,
        torch.from_numpy(noise),
        schedule,
        7,
        lambda z: (z - z.mean()) / (z.std(correction=0) + 1e-5),
        step_noise=lambda k: torch.from_numpy(step_noise[k]),
    )
    np.testing.assert_allclose(z, expected, atol=1e-8)
    # The last step's noise counts: abar is below 1 at the last time.
    step_noise[-1] = 0
    other = reference_sampling(noise_of, noise, 7, sampler.__name__, step_noise, abar)[-1]
    assert np.abs(other - expected).max() > 1e-3


def test_each_sample_is_standardised_separately(tiny_checkpoint):
    model = tiny_checkpoint(parametrisation="plain-difference", latent_channels=1).model
    generator = torch.Generator().manual_seed(0)
    z_i, noise = (torch.randn(2, 1, 4, 4, generator=generator) for _ in range(2))
    noise[1] = 5 * noise[1] + 3
    with torch.inference_mode():
        together = model.sample(z_i, noise, 3)
        single = [model.sample(z_i[i : i + 1], noise[i : i + 1], 3) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(single), atol=1e-5, rtol=1e-4)


def authors(tiny_metadata, **changes):
    dims = changes.setdefault("dims", 2)
    wide = {"label_widths": (2, 4, 4), "image_widths": (8, 8, 8), "denoiser_widths": (4, 8, 8)}
    fixed = {"denoiser_blocks": 2, "denoiser_attention": (1, 2), "image_attention": dims == 2}
    return tiny_metadata(
        architecture=wide | fixed,
        latent_channels=1,
        networks="authors",
        parametrisation="plain-difference",
        grid=Grid(size=(32,) * dims, resampling="nearest" if dims == 2 else "corners"),
        **changes,
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_a_checkpoint_of_the_authors_is_saved_and_loaded(tiny_metadata, tmp_path, dims):
    metadata = authors(tiny_metadata, dims=dims)
    model = build_model(metadata).eval()
    path = save_checkpoint(Checkpoint(metadata, model), tmp_path / "authors.safetensors")
    loaded = load_checkpoint(path)
    assert loaded.metadata == metadata
    label = torch.zeros(1, 2, *(32,) * dims)
    label[:, 0] = 1
    with torch.inference_mode():
        z = loaded.model.encode_label(label)
        torch.testing.assert_close(z, model.encode_label(label))
        assert loaded.model.decode(z, (32,) * dims).shape == label.shape
    with pytest.raises(ValueError, match="size must be"):
        model.encode_label(label[..., :16])


@pytest.mark.parametrize(
    "change",
    [
        {"grid": Grid(size=(32, 24))},
        {"grid": Grid(spacing=(1, 1))},
        {"architecture": Architecture(2, 1, 2, (4, 8), (4, 8), (4, 8, 8))},
    ],
)
def test_metadata_of_the_authors_that_cannot_be_built(tiny_metadata, change):
    valid = authors(tiny_metadata)
    with pytest.raises(ValueError, match="authors"):
        type(valid)(**{**dict(valid), **change})


def test_preprocessing_as_the_authors_do_in_2d(tiny_metadata):
    """Pixel floor(i * ratio), then min-max over all channels."""
    metadata = tiny_metadata(
        channels=3,
        grid=Grid(size=(64, 48), resampling="nearest"),
        intensity=Intensity(method="min-max", jointly=True),
    )
    image = np.random.default_rng(0).integers(10, 200, (3, 100, 31)).astype(np.uint8)
    mapping = grid_map(metadata, (100, 31), np.eye(4))
    rows = [i * 100 // 64 for i in range(64)]
    columns = [i * 31 // 48 for i in range(48)]
    chosen = image[:, rows][:, :, columns].astype(float)
    expected = (chosen - chosen.min()) / (chosen.max() - chosen.min())
    np.testing.assert_allclose(preprocess(metadata, image, mapping), expected, atol=1e-6)
    label = (image[0] > 100).astype(np.uint8)
    np.testing.assert_array_equal(mapping.label_to_grid(label, 2), label[rows][:, columns])


def test_preprocessing_as_the_authors_do_in_3d(tiny_metadata):
    """Min-max over the image, then linear interpolation with aligned corner voxels."""
    size, shape = (20, 12, 30), (9, 14, 21)
    metadata = tiny_metadata(
        3,
        grid=Grid(size=size, resampling="corners"),
        intensity=Intensity(method="min-max", jointly=True, before_resampling=True),
    )
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mapping = grid_map(metadata, shape, default_affine((1, 1, 1)))
    ends = [np.linspace(0, n - 1, m) for n, m in zip(shape, size, strict=True)]
    normed = (image - image.min()) / (image.max() - image.min())
    expected = map_coordinates(normed, np.meshgrid(*ends, indexing="ij"), order=1)
    np.testing.assert_allclose(preprocess(metadata, image[None], mapping)[0], expected, atol=1e-5)


@pytest.mark.parametrize("resampling", ["nearest", "corners"])
@pytest.mark.parametrize("shape", [(100, 31), (64, 48), (20, 90), (1, 7)])
def test_the_inverse_of_the_authors_grids(tiny_metadata, resampling, shape):
    """A ramp is restored, except for the half voxel that the nearest voxel may be off."""
    metadata = tiny_metadata(grid=Grid(size=(64, 48), resampling=resampling))
    mapping = grid_map(metadata, shape, np.eye(4))
    ramp = np.add.outer(2.0 * np.arange(shape[0]), 3.0 * np.arange(shape[1]))[None]
    back = mapping.restore(torch.from_numpy(mapping.image_to_grid(ramp))).numpy()
    assert back.shape == ramp.shape
    steps = [max(n / m, 1) for n, m in zip(shape, (64, 48), strict=True)]
    off = 2 * steps[0] + 3 * steps[1] if resampling == "nearest" else 1e-3
    assert np.abs(back - ramp).max() <= off
    assert abs((back - ramp).mean()) <= 0.1 * off


@pytest.mark.parametrize(
    "name, size, cells",
    [("echo", (512, 768), (32, 48)), ("glas", (512, 512), (32, 32)), ("knee", (128, 128, 256), (8, 8, 16))],
)  # fmt: skip
def test_presets_have_the_papers_sizes(name, size, cells):
    assert PRESETS[name].size == size
    arch = PRESETS[name].architecture
    assert arch.latent_shape(size) == (1, *cells)
    with torch.device("meta"):
        model = LDSeg(arch, "plain-difference")
    z = model.encode_image(torch.empty(1, arch.image_channels, *size, device="meta"))
    assert tuple(z.shape) == (1, 1, *cells)
    with pytest.raises(ValueError, match="echo, glas, knee"):
        preset("lung")


@pytest.mark.parametrize("label_encoder, image_encoder", [
    ("nearest", "learned"), ("learned", "nearest"), ("nearest", "nearest")
])  # fmt: skip
def test_ablations_are_configurations_of_the_same_model(
    tiny_checkpoint, label_encoder, image_encoder
):
    small = {"label_encoder": label_encoder, "image_encoder": image_encoder}
    if image_encoder == "nearest":
        small["embedding_channels"] = 3
    model = tiny_checkpoint(channels=3, classes=3, latent_channels=1, architecture=small).model
    values = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    label = torch.nn.functional.one_hot(values, 3).movedim(-1, 1).float()
    image = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        z, z_i = model.encode_label(label), model.encode_image(image)
        assert (
            model.decode(model.sample(z_i, torch.randn(z.shape), 2), (16, 16)).shape == label.shape
        )
    if label_encoder == "nearest":
        cells = values[:, None, 2::4, 2::4].float()
        spread = cells.std((1, 2, 3), correction=0, keepdim=True)
        torch.testing.assert_close(z, (cells - cells.mean((1, 2, 3), True)) / (spread + 1e-5))
    if image_encoder == "nearest":
        torch.testing.assert_close(z_i, image[:, :, 2::4, 2::4])
    assert any("denoiser" in key for key in model.state_dict())
    with pytest.raises(ValueError, match="channels"):
        Architecture(2, 3, 3, latent_channels=2, label_encoder="nearest")
    with pytest.raises(ValueError, match="channels"):
        Architecture(2, 3, 3, image_encoder="nearest")


def test_presets_have_ablations():
    pairs = pairwise(["learned", "nearest", "nearest", "learned"])
    for label_encoder, image_encoder in pairs:
        arch = preset("glas", label_encoder, image_encoder).architecture
        assert arch.embedding_channels == (3 if image_encoder == "nearest" else 1)
