"""Images that are larger than the training images: tiles, their noise, and finding the structures."""

import dask.array as da
import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.checkpoint.metadata import FieldOfView, Grid, TrainingSize
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.noise import field_noise
from napari_ldseg.inference.posterior import Posterior
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import make_sampler, segment
from napari_ldseg.inference.tiled import TiledSampler
from napari_ldseg.inference.tiles import image_part, read_part, restore_part, tile_grid
from napari_ldseg.model.base import SegmentationModel
from napari_ldseg.scans.scan import Scan, default_affine

CLOSE = {"atol": 2e-5, "rtol": 0}
TRAINED_ON = {
    "grid": Grid(spacing=(1.0, 1.0)),
    "training_size": TrainingSize(smallest=(32, 32), largest=(32, 32)),
}


def smooth(*shape, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 2).astype(np.float32)


def run(checkpoint, scan, n, batch=None, **settings):
    sampler = TiledSampler(checkpoint, scan, **settings)
    sampler._batch = batch or sampler._batch
    for posterior in sampler.run(n):
        assert np.isfinite(posterior.mean_probability).all()
    return sampler


def assert_same(one: Posterior, other: Posterior):
    np.testing.assert_allclose(one.mean_probability, other.mean_probability, **CLOSE)
    np.testing.assert_allclose(one.sample_sd, other.sample_sd, atol=1e-4)


@pytest.mark.slow
def test_a_large_image_is_segmented_in_tiles_whatever_their_order_and_the_memory(
    tiny_checkpoint, monkeypatch
):
    checkpoint = tiny_checkpoint(2, 3, **TRAINED_ON)
    image = smooth(96, 75)
    full = segment(checkpoint, image, 3, seed=1)
    assert full.n == 3 and full.provenance["tiles"] == 12
    np.testing.assert_allclose(full.mean_probability.sum(0), 1, atol=1e-5)
    assert full.sample_sd.min() > 0 and full.sample_sd.std() > 0.01
    corner = run(checkpoint, image, 3, batch=1, seed=1, focus=(90, 70))
    assert_same(corner.posterior, full)
    lazy = da.from_array(image, chunks=(30, 40))
    assert_same(segment(checkpoint, Scan(lazy), 3, seed=1), full)
    decode, refused = checkpoint.model.decode, []

    def scarce(z, size):
        if len(z) > 1:
            refused.append(len(z))
            raise torch.OutOfMemoryError("out of memory")
        return decode(z, size)

    sampler = TiledSampler(checkpoint, image, seed=1)
    monkeypatch.setattr(sampler._model, "decode", scarce)
    list(sampler.run(3))
    assert refused and "smaller batches" in sampler.notice
    assert_same(sampler.posterior, full)


def test_a_slide_whose_result_does_not_fit_is_refused_before_it_is_read(
    tiny_checkpoint, assert_sentence
):
    def not_read(block):
        raise AssertionError("the image was read")

    slide = da.zeros((400_000, 400_000), dtype=np.uint8, chunks=10_000).map_blocks(
        not_read, dtype=np.uint8, meta=np.empty((0, 0), np.uint8)
    )
    with pytest.raises(LDSegError) as error:
        make_sampler(tiny_checkpoint(2, 3, **TRAINED_ON), Scan(slide, name="slide")).run(1)
    assert_sentence(error, "slide", "GiB", "box")


def test_the_visible_part_comes_first_and_a_run_can_be_stopped_and_continued(tiny_checkpoint):
    checkpoint = tiny_checkpoint(2, 2, **TRAINED_ON)
    image = smooth(150, 40)
    sampler = TiledSampler(checkpoint, image, seed=1, focus=(140, 20))
    sampler._batch = 2
    posterior = next(p for p in sampler.run(3) if p.labelled.any())
    assert posterior.labelled[-10:].all() and not posterior.labelled[:60].any()
    assert 0 < sampler.fraction(3) < 0.3 and posterior.n == 0
    for posterior in sampler.run(3):
        if posterior.n == 1 and sampler.fraction(3) > 0.5:
            break
    assert posterior.sample_sd is None and posterior.voxel_counts().shape == (1, 2)
    list(sampler.run(2))
    assert_same(sampler.posterior, segment(checkpoint, image, 3, seed=1))


def test_samples_of_tiles_can_be_browsed(tiny_checkpoint, monkeypatch):
    checkpoint = tiny_checkpoint(2, 3, **TRAINED_ON)
    sampler = run(checkpoint, np.stack([smooth(70, 60), smooth(70, 60, seed=1)]), 3, seed=2)
    samples, posterior = sampler.samples(), sampler.posterior
    for frame in range(2):
        mean = torch.stack([samples.probabilities(i, frame) for i in range(3)]).mean(0)
        np.testing.assert_allclose(mean, posterior.mean_probability[:, frame], **CLOSE)
        shown = samples.with_estimate(mean, frame)
        np.testing.assert_allclose(shown, posterior.probability[:, frame], **CLOSE)
        assert (shown - mean).abs().max() > 0.01
    counts = [np.bincount(samples.labels(i).ravel(), minlength=3) for i in range(3)]
    np.testing.assert_array_equal(counts, posterior.voxel_counts())
    monkeypatch.setattr("napari_ldseg.inference.tiled.KEPT_BYTES", 1000)
    assert run(checkpoint, smooth(70, 60), 2).samples() is None


@pytest.mark.parametrize("resampling", ["linear", "corners", "nearest"])
def test_a_part_is_read_and_restored_as_in_the_whole(tiny_metadata, resampling):
    spacing = Grid(spacing=(1.5, 0.8, 1.0), resampling=resampling)
    fov = FieldOfView(smallest=(15.0,) * 3, largest=(15.0,) * 3)
    metadata = tiny_metadata(3, grid=spacing, field_of_view=fov, orientation="LAS")
    rng = np.random.default_rng(0)
    scan = Scan(rng.random((27, 34, 40)).astype(np.float32), default_affine((1, 1.3, 0.9)))
    grid = tile_grid(metadata, scan)
    values = torch.rand(2, *grid.mapping.inner)
    whole, restored = grid.mapping.image_to_grid(scan.array[None]), grid.mapping.restore(values)
    covered = np.zeros(scan.shape, int)
    for tile in grid.tiles():
        inside = tuple(slice(a, b) for a, b in zip(tile.start, tile.stop, strict=True))
        part = read_part(grid.mapping, scan.array[None], tile)
        np.testing.assert_allclose(part, whole[(slice(None), *inside)], atol=1e-5)
        box = image_part(grid.mapping, tile)
        covered[box] += 1
        got = restore_part(grid.mapping, values[(slice(None), *inside)], tile)
        middle = (slice(None), *(slice(3, -3),) * 3)
        expected = restored[(slice(None), *box)][middle]
        np.testing.assert_allclose(got[middle], expected, atol=1e-4)
    assert covered.min() >= 1


def test_noise_of_overlapping_parts_is_cut_from_one_field():
    field = field_noise(3, 1, (-3, -20), (4, 50, 60))
    np.testing.assert_array_equal(field_noise(3, 1, (5, 10), (4, 20, 12)), field[:, 8:28, 30:42])
    assert abs(field.mean()) < 0.05 and abs(field.std() - 1) < 0.05
    assert not torch.equal(
        field_noise(3, 2, (0, 0), (1, 4, 4)), field_noise(3, 1, (0, 0), (1, 4, 4))
    )


def test_images_of_complete_fields_are_never_tiled(tiny_checkpoint):
    size = TrainingSize(smallest=(16, 16), largest=(20, 20))
    fixed = {"grid": Grid(size=(16, 16)), "training_size": size}
    image = smooth(60, 40)
    for settings, tiled in [
        ({}, False),
        ({"larger_images": "resize"}, False),
        ({"larger_images": "tile"}, True),
    ]:
        sampler = make_sampler(tiny_checkpoint(2, **fixed, **settings), image)
        assert isinstance(sampler, TiledSampler) == tiled
        list(sampler.run(1))
        assert sampler.posterior.labels.shape == image.shape
    usual = make_sampler(tiny_checkpoint(2, **fixed, larger_images="tile"), smooth(24, 28))
    assert not isinstance(usual, TiledSampler)


def test_every_frame_of_a_4d_scan_is_a_volume_with_the_same_noise(tiny_checkpoint):
    checkpoint = tiny_checkpoint(3, 2)
    frame = smooth(12, 14, 10)
    loop = segment(checkpoint, Scan(np.stack([frame, frame, frame[::-1]]), np.eye(4)), 2, seed=4)
    single = segment(checkpoint, Scan(frame, np.eye(4)), 2, seed=4)
    for i in (0, 1):
        np.testing.assert_allclose(loop.mean_probability[:, i], single.mean_probability, **CLOSE)
    assert np.abs(loop.mean_probability[:, 2] - single.mean_probability).max() > 0.01
    assert loop.summary()["time_points"] == 3
    fov = FieldOfView(smallest=(6.0,) * 3, largest=(8.0,) * 3)
    grid = Grid(spacing=(1.0,) * 3, minimum_size=(8,) * 3)
    tiles = tiny_checkpoint(3, 2, grid=grid, field_of_view=fov, larger_images="tile")
    large = segment(tiles, Scan(np.stack([frame, frame]), np.eye(4)), 2, seed=4)
    np.testing.assert_array_equal(large.mean_probability[:, 0], large.mean_probability[:, 1])
    np.testing.assert_array_equal(large.voxel_counts(), 2 * large.voxel_counts() // 2)


class Imagining(SegmentationModel):
    """Labels bright voxels, and draws a ball into the middle of every tile without any."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def latent_shape(self, size):
        return (1, *size)

    def encode_image(self, image):
        return image

    def sample(self, z_i, noise, steps):
        return z_i + 0.02 * noise

    def decode(self, z, size):
        ball = torch.zeros(size)
        ball[tuple(slice(n // 2 - 3, n // 2 + 3) for n in size)] = 1
        bright = (z > 0.9).float()
        shown = torch.where(bright.sum() > 20, bright, ball)
        return torch.cat([-20 * shown + 10, 20 * shown - 10], dim=1)


@pytest.fixture
def imagining(tiny_metadata):
    metadata = tiny_metadata(
        3,
        2,
        grid=Grid(spacing=(1.0,) * 3, minimum_size=(24,) * 3),
        field_of_view=FieldOfView(smallest=(20.0,) * 3, largest=(20.0,) * 3),
        architecture={"image_widths": (4,), "label_widths": (4,)},
    )
    return Checkpoint(metadata, Imagining())


def test_structures_of_a_whole_scan_are_found_and_what_a_model_imagines_is_not(
    imagining, assert_sentence
):
    rng = np.random.default_rng(0)
    head = (100 + 20 * rng.random((60, 50, 70))).astype(np.float32)
    truth = np.zeros(head.shape, bool)
    for centre in ((20, 20, 18), (36, 30, 52)):
        grid = np.indices(head.shape).T - centre
        truth |= ((grid**2).sum(-1) < 25).T
    head[rng.random(head.shape) < 0.001] = 160
    head[rng.random(head.shape) < 0.001] = 0
    head[truth] = 250
    affine = default_affine((1.0, 1.0, 1.0))
    sampler = make_sampler(imagining, Scan(head, affine, name="head"), seed=0)
    list(sampler.run(2))
    np.testing.assert_array_equal(sampler.posterior.labels.astype(bool), truth)
    region, samples = sampler.sampled_region(), sampler.samples()
    assert samples.shape == tuple(b - a for a, b in zip(region.start, region.stop, strict=True))
    np.testing.assert_array_equal(samples.labels(0), truth[region.slices])
    np.testing.assert_array_equal(samples.estimate.argmax(0), truth[region.slices])
    assert (
        samples.estimate.untyped_storage().nbytes() == samples.estimate.nbytes
    )  # not the whole scan's
    head[truth] = 110
    with pytest.raises(LDSegError) as error:
        segment(imagining, Scan(head, affine, name="head"), 1)
    assert_sentence(error, "found no class 1 in head", "box")


def test_a_gpu_without_enough_memory_hands_over_to_the_cpu(tiny_checkpoint, monkeypatch):
    checkpoint, image = tiny_checkpoint(2, 3), smooth(16, 16)
    expected = segment(checkpoint, image, 3, seed=1, device="cpu")
    model, encode = checkpoint.model, checkpoint.model.encode_image

    def scarce(x):
        if x.device.type != "cpu":
            raise torch.OutOfMemoryError("out of memory")
        return encode(x)

    module = "napari_ldseg.inference.sampler"
    monkeypatch.setattr(f"{module}.resolve_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(f"{module}.BATCH_VOXELS", {"meta": 1024})
    monkeypatch.setattr(model, "to", lambda device: model)
    monkeypatch.setattr(model, "encode_image", scarce)
    sampler = PosteriorSampler(checkpoint, image, seed=1)
    list(sampler.run(3))
    assert "continued on the CPU" in sampler.notice
    assert sampler.posterior.provenance["device"] == "meta, then cpu"
    np.testing.assert_allclose(
        sampler.posterior.mean_probability, expected.mean_probability, atol=1e-4
    )
