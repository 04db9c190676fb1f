"""From image to posterior: reproducible, correct for any number of samples, clear about errors."""

from types import SimpleNamespace

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import torch

from napari_ldseg.checkpoint.metadata import FieldOfView, Grid, TrainingRecord
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.devices import available_devices, resolve_device
from napari_ldseg.inference.noise import sample_noise
from napari_ldseg.inference.preprocessing import GridMap, grid_map
from napari_ldseg.inference.probability import expected_error_of
from napari_ldseg.inference.region import Region, crop
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.files import read_scan
from napari_ldseg.scans.scan import Scan, default_affine

# Other batch sizes use other kernels, which round differently.
CLOSE = {"rtol": 0, "atol": 2e-4}
SHAPES = {2: (24, 19), 3: (10, 12, 9)}


def random_image(dims, seed=0):
    return np.random.default_rng(seed).random(SHAPES[dims], dtype=np.float32)


def samples_of(checkpoint, posterior, frame=()):
    """The class probabilities (N, classes, *space) of every sample, each decoded separately."""
    dims = checkpoint.metadata.architecture.dims
    mapping = grid_map(checkpoint.metadata, posterior.scan.shape[-dims:], posterior.scan.affine)
    latents = [
        z for (f, _), z in sorted(posterior.latents.items(), key=lambda x: x[0]) if f == frame
    ]
    with torch.inference_mode():
        logits = [checkpoint.model.decode(z[None], mapping.size)[0] for z in latents]
    return np.stack([mapping.restore(x.softmax(0)).numpy() for x in logits])


def assert_same(first, second):
    assert first.n == second.n and first.latents.keys() == second.latents.keys()
    for key, latent in first.latents.items():
        np.testing.assert_allclose(latent, second.latents[key], **CLOSE)
    np.testing.assert_allclose(first.mean_probability, second.mean_probability, **CLOSE)
    if first.n > 1:
        np.testing.assert_allclose(first.sample_sd, second.sample_sd, rtol=0, atol=2e-3)
    np.testing.assert_array_equal(first.counts, second.counts)


@pytest.fixture(params=[(2, 2), (2, 4), (3, 3)], ids=["2D", "2D four classes", "3D"])
def case(request, tiny_checkpoint):
    """A checkpoint and an image for it."""
    dims, classes = request.param
    return tiny_checkpoint(dims, classes), random_image(dims)


def test_same_seed_is_bitwise_the_same_and_another_is_not(case):
    first, again = segment(*case, 4, seed=3), segment(*case, 4, seed=3)
    assert np.array_equal(first.mean_probability, again.mean_probability)
    assert np.array_equal(first.sample_sd, again.sample_sd)
    assert all(torch.equal(z, again.latents[key]) for key, z in first.latents.items())
    other = segment(*case, 4, seed=4)
    assert np.abs(first.mean_probability - other.mean_probability).max() > 0.01


def test_sample_depends_only_on_its_number(case):
    """Not on N, on the batch size or on the number of calls."""
    full = segment(*case, 7, seed=1)
    samples = samples_of(case[0], full)
    assert np.abs(np.diff(samples, axis=0)).max(axis=(1, *range(2, samples.ndim))).min() > 0.01
    for batch in (1, 2, 5):
        sampler = PosteriorSampler(*case, seed=1)
        sampler._batch = batch
        assert sum(1 for _ in sampler.run(7)) == -(-7 // batch)
        assert_same(sampler.posterior, full)
    parts = PosteriorSampler(*case, seed=1)
    for n in (3, 4):
        list(parts.run(n))
    assert_same(parts.posterior, full)
    few = segment(*case, 2, seed=1)
    for i in range(2):
        np.testing.assert_allclose(few.latents[(), i], full.latents[(), i], **CLOSE)
    np.testing.assert_allclose(
        PosteriorSampler(*case, seed=1).latents(7)[6], full.latents[(), 6], **CLOSE
    )


def test_mean_and_sd_are_those_of_the_samples(case):
    posterior = segment(*case, 6)
    samples = samples_of(case[0], posterior).astype(np.float64)
    mean = samples.mean(0)
    np.testing.assert_allclose(posterior.mean_probability, mean, atol=1e-4)
    np.testing.assert_allclose(posterior.sample_sd, samples.std(0, ddof=0).max(0), atol=2e-3)
    counts = [np.bincount(s.argmax(0).ravel(), minlength=s.shape[0]) for s in samples]
    assert np.abs(posterior.voxel_counts() - counts).max() <= 2
    for sd in (posterior.sample_sd, posterior.predictive_sd):
        assert sd.shape == case[1].shape and sd.dtype == np.float32
        assert sd.min() >= 0 and sd.max() <= 0.5 and sd.max() > 0.01
    assert posterior.labels.dtype == np.uint8
    np.testing.assert_allclose(posterior.mean_probability.sum(0), 1, atol=1e-5)


def test_probabilities_are_the_mean_of_the_samples_and_the_label_maps_estimate(case):
    quick, full, given = segment(*case, 1), segment(*case, 6), segment(*case, 6, steps=4)
    p = (quick.mean_probability + full.mean_probability) / 2
    np.testing.assert_allclose(full.probability, p, atol=1e-3)
    assert np.abs(p - full.mean_probability).max() > 0.02
    np.testing.assert_allclose(full.predictive_sd, np.sqrt(p * (1 - p)).max(0), atol=2e-3)
    error = 1 - np.take_along_axis(p, full.labels[None], 0)[0]
    np.testing.assert_allclose(full.error_probability, error, atol=1e-3)
    assert full.expected_error() == pytest.approx(expected_error_of(full.labels, p), abs=1e-3)
    for alone in (quick, given):
        np.testing.assert_array_equal(alone.probability, alone.mean_probability)


def test_the_label_map_is_that_of_one_sample_in_few_steps_unless_the_steps_are_given(case):
    quick, full, given = segment(*case, 1), segment(*case, 3), segment(*case, 3, steps=4)
    np.testing.assert_array_equal(full.labels, quick.labels)
    assert (full.labels != full.mean_probability.argmax(0)).any()
    np.testing.assert_array_equal(given.labels, given.mean_probability.argmax(0))
    np.testing.assert_array_equal(given.mean_probability, full.mean_probability)
    assert full.provenance["label_map"] == "estimate in 2 steps"
    assert given.provenance["label_map"] == "mean of the samples"
    size = np.bincount(full.labels.ravel(), minlength=len(full.class_names))[1:]
    low, high = full.volume_intervals().T
    assert (low <= size).all() and (size <= high).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_the_label_map_is_the_mean_over_the_symmetries_of_the_training_images(
    tiny_checkpoint, dims
):
    settings = {"augmentation.flip_axes": "[0]", "augmentation.rotation": "1.6"}
    record = TrainingRecord(data="none", licence="none", split="none", settings=settings)
    checkpoint = tiny_checkpoint(dims, 3, training=record)
    image = np.random.default_rng(0).random((16,) * dims, dtype=np.float32)
    found = segment(checkpoint, image, 2)
    assert ("8 ways" if dims == 2 else "2 ways") in found.provenance["label_map"]
    mirrored = segment(checkpoint, np.flip(image, 0).copy(), 1)
    np.testing.assert_array_equal(mirrored.labels, np.flip(found.labels, 0))
    turned = segment(checkpoint, np.rot90(image, axes=(-2, -1)).copy(), 1).labels
    assert (turned == np.rot90(found.labels, axes=(-2, -1))).all() == (dims == 2)


def test_running_statistics_by_hand(case):
    checkpoint, image = case
    posterior = PosteriorSampler(checkpoint, image).posterior
    classes = checkpoint.metadata.architecture.classes
    for sample, p in enumerate((0.0, 1.0, 1.0, 0.0)):
        values = torch.zeros(classes, *image.shape)
        values[1], values[0] = p, 1 - p
        posterior.add((), sample, values, torch.zeros(1))
    assert posterior.n == 4
    np.testing.assert_allclose(posterior.sample_sd, 0.5)
    np.testing.assert_allclose(posterior.predictive_sd, 0.5)
    np.testing.assert_array_equal(
        posterior.voxel_counts()[:, 1], np.array([0, 1, 1, 0]) * image.size
    )


def test_one_sample_has_no_sd(case):
    posterior = segment(*case, 1)
    assert posterior.n == 1 and posterior.sample_sd is None
    assert posterior.summary()["mean_sample_sd"] is None
    assert posterior.predictive_sd.max() > 0.01


def test_stopping_early_and_continuing(case):
    sampler = PosteriorSampler(*case, seed=2)
    sampler._batch = 3
    posterior = next(sampler.run(8))
    assert posterior is sampler.posterior and posterior.n == 3
    assert posterior.summary()["provenance"]["samples"] == 3 and len(posterior.voxel_counts()) == 3
    samples = samples_of(case[0], posterior)
    assert len(samples) == 3
    np.testing.assert_allclose(posterior.mean_probability, samples.mean(0), atol=1e-4)
    np.testing.assert_allclose(posterior.sample_sd, samples.std(0).max(0), atol=2e-3)
    list(sampler.run(5))
    assert_same(sampler.posterior, segment(*case, 8, seed=2))


def test_steps_for_a_label_and_for_an_uncertainty(tiny_checkpoint):
    checkpoint = tiny_checkpoint(label_steps=2, posterior_steps=9)
    one, many = segment(checkpoint, random_image(2), 1), segment(checkpoint, random_image(2), 2)
    assert one.provenance["steps"] == 2 and many.provenance["steps"] == 9
    assert_same(one, segment(checkpoint, random_image(2), 1, steps=2))
    assert_same(many, segment(checkpoint, random_image(2), 2, steps=9))
    assert (one.latents[(), 0] - many.latents[(), 0]).abs().max() > 0.01
    assert segment(checkpoint, random_image(2), 3, steps=5).provenance["steps"] == 5


def test_a_single_sample_is_drawn_again_for_several(tiny_checkpoint):
    checkpoint = tiny_checkpoint(label_steps=2, posterior_steps=9)
    sampler = PosteriorSampler(checkpoint, random_image(2))
    list(sampler.run(1))
    list(sampler.run(3))
    assert_same(sampler.posterior, segment(checkpoint, random_image(2), 4))


def test_out_of_memory_gives_the_same_result(case, monkeypatch):
    full = segment(*case, 5)
    sample, refused = case[0].model.sample, []

    def scarce(z_i, *arguments):
        if len(z_i) > 1:
            refused.append(len(z_i))
            raise torch.OutOfMemoryError("out of memory")
        return sample(z_i, *arguments)

    monkeypatch.setattr(case[0].model, "sample", scarce)
    assert_same(segment(*case, 5), full)
    assert refused


def test_out_of_memory_between_two_samples_counts_none_twice(case, monkeypatch):
    full = segment(*case, 5)
    restore, calls = GridMap.restore, []

    def scarce(self, values):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("out of memory")
        return restore(self, values)

    monkeypatch.setattr(GridMap, "restore", scarce)
    assert_same(segment(*case, 5), full)


def test_out_of_memory_for_a_single_sample(case, monkeypatch, assert_sentence):
    def scarce(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(case[0].model, "sample", scarce)
    with pytest.raises(LDSegError) as error:
        segment(*case, 5)
    assert_sentence(error, "image", "memory")


@pytest.fixture
def stack():
    """Four slices, the first and the third the same."""
    array = np.stack([random_image(2, seed) for seed in (0, 1, 0, 2)])
    return Scan(array, default_affine((3, 1, 1)), name="stack")


def test_volume_slice_by_slice(tiny_checkpoint, stack):
    checkpoint = tiny_checkpoint(2, 3)
    posterior = segment(checkpoint, stack, 3)
    assert posterior.labels.shape == stack.shape and (posterior.counts == 3).all()
    for z in range(4):
        single = segment(checkpoint, stack.array[z], 3)
        np.testing.assert_allclose(
            posterior.mean_probability[:, z], single.mean_probability, **CLOSE
        )
        np.testing.assert_allclose(posterior.sample_sd[z], single.sample_sd, rtol=0, atol=2e-3)
    totals = sum(segment(checkpoint, s, 3).voxel_counts() for s in stack.array)
    assert np.abs(posterior.voxel_counts() - totals).max() <= 3


def test_all_slices_have_the_same_noise(tiny_checkpoint, stack):
    posterior = segment(tiny_checkpoint(2, 3), stack, 3)
    for i in range(3):
        np.testing.assert_allclose(posterior.latents[(0,), i], posterior.latents[(2,), i], **CLOSE)
    difference = posterior.latents[(0,), 0] - posterior.latents[(1,), 0]
    assert difference.abs().max() > 0.01


def test_selected_frames_only(tiny_checkpoint, stack):
    checkpoint = tiny_checkpoint(2, 3)
    full = segment(checkpoint, stack, 2)
    some = segment(checkpoint, stack, 2, frames=[(3,), (1,), (3,)])
    assert some.n == 2 and some.counts.tolist() == [0, 2, 0, 2]
    np.testing.assert_allclose(
        some.mean_probability[:, [1, 3]], full.mean_probability[:, [1, 3]], **CLOSE
    )
    np.testing.assert_allclose(some.probability[:, [1, 3]], full.probability[:, [1, 3]], **CLOSE)
    assert not some.probability[:, [0, 2]].any() and not some.labels[[0, 2]].any()
    assert not some.sample_sd[[0, 2]].any() and some.sample_sd[[1, 3]].max() > 0.01


def test_stopping_within_a_sample_of_a_volume(tiny_checkpoint, stack):
    sampler = PosteriorSampler(tiny_checkpoint(2, 3), stack)
    sampler._batch = 3
    states = [(p.n, p.sample_sd is None, len(p.voxel_counts())) for p in sampler.run(3)]
    assert states == [(0, True, 0), (1, True, 1), (2, False, 2), (3, False, 3)]


def test_frames_of_a_video_of_volumes(tiny_checkpoint):
    array = np.stack([random_image(3, seed) for seed in range(2)])
    checkpoint = tiny_checkpoint(3, 3)
    posterior = segment(checkpoint, Scan(array), 2)
    single = segment(checkpoint, array[1], 2)
    np.testing.assert_allclose(posterior.mean_probability[:, 1], single.mean_probability, **CLOSE)


def test_lazy_arrays(tiny_checkpoint, stack):
    checkpoint = tiny_checkpoint(2, 2)
    lazy = da.from_array(stack.array, chunks=(1, 8, 8))
    assert_same(segment(checkpoint, Scan(lazy), 2), segment(checkpoint, stack, 2))
    volume = tiny_checkpoint(3, 2)
    assert_same(
        segment(volume, da.from_array(random_image(3)), 2), segment(volume, random_image(3), 2)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, ">i2", np.float16, float, bool])
def test_any_real_type(tiny_checkpoint, dtype):
    image = (random_image(2) * 200).astype(int) if dtype is not bool else random_image(2) > 0.5
    checkpoint = tiny_checkpoint(2, 2)
    expected = segment(checkpoint, image.astype(np.float32), 2)
    assert_same(segment(checkpoint, image.astype(dtype), 2), expected)


def test_colour(tiny_checkpoint):
    image = np.random.default_rng(0).random((24, 19, 3))
    posterior = segment(tiny_checkpoint(2, 2, 3), Scan(image, channels=True), 2)
    assert posterior.labels.shape == (24, 19)
    other = segment(tiny_checkpoint(2, 2, 3), Scan(image[..., ::-1], channels=True), 2)
    assert np.abs(posterior.mean_probability - other.mean_probability).max() > 1e-3


@pytest.mark.parametrize("dims", [2, 3])
def test_an_array_has_its_channels_last(tiny_checkpoint, dims, assert_sentence):
    checkpoint = tiny_checkpoint(dims, channels=2)
    array = np.random.default_rng(0).random((*(14, 12, 10)[:dims], 2))
    given = segment(checkpoint, Scan(array, channels=True), 2, device="cpu")
    np.testing.assert_array_equal(segment(checkpoint, array, 2, device="cpu").labels, given.labels)
    assert given.labels.shape == array.shape[:dims]
    with pytest.raises(LDSegError) as error:
        segment(checkpoint, array[..., 0], 1, device="cpu")
    assert_sentence(error, "channel 0, channel 1", "image has 1")


def test_orientation_of_the_stored_array_does_not_matter(tiny_checkpoint):
    checkpoint = tiny_checkpoint(3, 3)
    affine = default_affine((2, 1.5, 1))
    expected = segment(checkpoint, Scan(random_image(3), affine), 1).labels
    assert len(np.unique(expected)) > 1
    turned = Scan(random_image(3).transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])
    np.testing.assert_array_equal(
        segment(checkpoint, turned, 1).labels.transpose(1, 2, 0), expected
    )
    mirror = np.diag([1.0, -1, 1, 1])
    mirror[1, 3] = SHAPES[3][1] - 1
    flipped = Scan(random_image(3)[:, ::-1], affine @ mirror)
    np.testing.assert_array_equal(segment(checkpoint, flipped, 1).labels[:, ::-1], expected)


def test_wrong_inputs(tiny_checkpoint, stack, assert_sentence):
    flat, volume = tiny_checkpoint(2), tiny_checkpoint(3)
    nan = np.full((4, 24, 19), 0.5)
    nan[2, 3, 4] = np.nan
    colour = np.zeros((24, 19, 3))
    for checkpoint, image, words, options in [
        (volume, Scan(np.where(random_image(3) > 0.9, np.inf, 0), name="mr"), ("mr", "NaN"), {}),
        (flat, Scan(nan, name="mr"), ("mr", "slice"), {}),
        (flat, Scan(np.full((24, 19), 3), name="blank"), ("blank", "same value"), {}),
        (flat, Scan(colour, channels=True, name="photo"), ("photo", "grey"), {}),
        (tiny_checkpoint(2, 2, 3), Scan(random_image(2), name="grey"), ("grey", "3 channels"), {}),
        (volume, Scan(random_image(2), name="slice"), ("slice", "2D"), {}),
        (flat, Scan(np.zeros((0, 4)), name="nothing"), ("nothing", "empty"), {}),
        (flat, Scan(random_image(2) * 1j, name="k space"), ("k space", "complex"), {}),
        (flat, stack, ("samples", "0"), {"n": 0}),
        (flat, stack, ("seed", "-1"), {"seed": -1}),
        (flat, stack, ("steps", "0"), {"steps": 0}),
        (flat, stack, ("device", "abacus", "cpu"), {"device": "abacus"}),
        (flat, stack, ("stack", "slice"), {"frames": [(4,)]}),
        (flat, stack, ("stack", "slice"), {"frames": [(-1,)]}),
        (flat, stack, ("stack", "slice"), {"frames": [()]}),
        (flat, stack, ("stack", "slice"), {"frames": []}),
    ]:
        with pytest.raises(LDSegError) as error:
            segment(checkpoint, image, **{"n": 2} | options)
        assert_sentence(error, *words)


def test_field_of_view(tiny_checkpoint, assert_sentence):
    """Extents in mm are compared along the checkpoint's axes (left, posterior, superior here)."""
    fov = FieldOfView(smallest=(18, 20, 20), largest=(20, 24, 30))
    checkpoint = tiny_checkpoint(3, orientation="LPS", field_of_view=fov)

    def run(spacing, model=checkpoint, **options):
        segment(model, Scan(random_image(3), default_affine(spacing), name="mr", **options), 1)

    run((2.5, 2, 2))  # 25 x 24 x 18 mm: superior, posterior, left
    whole = tiny_checkpoint(3, orientation="LPS", field_of_view=fov, larger_images="resize")
    for spacing, words in [
        ((5, 2, 2), ("mr covers 18 x 24 x 50 mm", "box")),
        ((2.5, 2, 4), ("mr covers 36 x 24 x 25 mm", "box")),
        ((0.5, 2, 2), ("mr covers only 18 x 24 x 5 mm", "larger")),
    ]:
        with pytest.raises(LDSegError) as error:
            run(spacing, whole)
        assert_sentence(error, *words, "trained on 18-20 x 20-24 x 20-30 mm")
    with pytest.raises(LDSegError, match="covers only 18 x 24 x 5 mm"):
        run((0.5, 2, 2))
    tiles = tiny_checkpoint(3, orientation="LPS", field_of_view=fov, larger_images="tile")
    run((5, 2, 2), tiles)
    with pytest.raises(LDSegError) as error:
        run((5, 2, 2), whole, calibrated=False)
    assert_sentence(error, "taken as mm")


def test_sizes_in_the_summary(tiny_checkpoint):
    checkpoint = tiny_checkpoint(3, 3)
    scan = Scan(random_image(3), default_affine((2, 1.5, 1)), name="mr")
    posterior = segment(checkpoint, scan, 3, seed=5)
    summary = posterior.summary()
    assert summary["unit"] == "mm3" and summary["samples"] == 3
    assert list(summary["classes"]) == ["class 1", "class 2"]
    for c in (1, 2):
        size = summary["classes"][f"class {c}"]
        assert size["size"] == 3 * np.count_nonzero(posterior.labels == c)
        assert size["sample_sizes"] == (3.0 * posterior.voxel_counts()[:, c]).tolist()
    wanted = {"seed": 5, "steps": 4, "samples": 3, "sampler": "ddim", "image": "mr"}
    assert wanted.items() <= summary["provenance"].items()
    assert segment(checkpoint, random_image(3), 1).summary()["unit"] == "voxels"


def test_loop_of_a_single_slice_has_the_sizes_of_one_frame(
    tiny_checkpoint, tmp_path, assert_sentence
):
    frame = (random_image(2) * 250).astype(np.uint8).T[:, :, None]
    sizes = {}
    for name, data in (("one", frame), ("loop", np.stack([frame] * 5, axis=-1))):
        image = nib.Nifti1Image(data, np.diag([0.5, 0.5, 8, 1]))
        image.header.set_xyzt_units("mm", "sec")
        nib.save(image, tmp_path / f"{name}.nii.gz")
        scan = read_scan(tmp_path / f"{name}.nii.gz")
        sizes[name] = segment(tiny_checkpoint(2, 3), scan, 3).summary()
    assert sizes["loop"]["unit"] == sizes["one"]["unit"] == "mm2"
    assert (sizes["one"]["time_points"], sizes["loop"]["time_points"]) == (1, 5)
    for name, one in sizes["one"]["classes"].items():
        for key in ("size", "sample_sizes", "interval"):
            np.testing.assert_allclose(sizes["loop"]["classes"][name][key], one[key], atol=1)
    box = Region((2, 3, 4), (4, 15, 17))
    part = segment(tiny_checkpoint(2, 3), crop(scan, box), 1)
    assert part.summary()["time_points"] == 2 and part.summary()["unit"] == "mm2"
    with pytest.raises(LDSegError) as error:
        segment(tiny_checkpoint(3), scan, 1)
    assert_sentence(error, "loop.nii.gz", "2D")


def test_resampled_and_padded_grid(tiny_checkpoint):
    checkpoint = tiny_checkpoint(2, 3, grid=Grid(spacing=(2.0, 1.0), minimum_size=(16, 30)))
    posterior = segment(checkpoint, random_image(2), 3)
    samples = samples_of(checkpoint, posterior)
    assert samples.shape == (3, 3, *SHAPES[2])
    np.testing.assert_allclose(posterior.mean_probability, samples.mean(0), atol=1e-4)


def test_noise_is_a_function_of_its_key():
    keys = [(0, 0, -1), (0, 1, -1), (1, 0, -1), (0, 0, 0), (0, 0, 1)]
    fields = [sample_noise(seed, sample, (2, 20, 20), step) for seed, sample, step in keys]
    assert torch.equal(fields[0], sample_noise(0, 0, (2, 20, 20)))
    for i, a in enumerate(fields):
        assert abs(a.mean()) < 0.15 and abs(a.std() - 1) < 0.15
        assert all(
            abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.2
            for b in fields[:i]
        )


def test_devices(assert_sentence):
    assert available_devices()[-1] == "cpu" and resolve_device("cpu").type == "cpu"
    assert str(resolve_device("auto")) == available_devices()[0]
    with pytest.raises(LDSegError) as error:
        resolve_device("cuda:99")
    assert_sentence(error, "cuda:99", "cpu")


@pytest.mark.parametrize("grid", [{"size": (640,) * 3}, {"spacing": (0.02,) * 3}])
def test_the_grid_of_the_networks_counts_as_memory(
    tiny_checkpoint, assert_sentence, grid, monkeypatch
):
    """Nothing is allocated first: a few hundred bytes of a checkpoint must not fill the memory."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * 2**30))
    with pytest.raises(LDSegError) as error:
        segment(tiny_checkpoint(3, grid=Grid(**grid)), Scan(random_image(3), name="mr"), 1)
    assert_sentence(error, "GiB", "grid", "spacing")
