"""The mapping to the networks' grid and back: exact without resampling, without a shift otherwise."""

import itertools

import numpy as np
import pytest
import torch
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

from napari_ldseg.checkpoint.metadata import Grid, Intensity
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.preprocessing import grid_map, normalise, preprocess
from napari_ldseg.scans.scan import default_affine

SPL = default_affine((2.0, 1.25, 0.8))
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [10, -14, 8], degrees=True).as_matrix()
CODES = [
    "".join(axes)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for axes in itertools.product(*order)
]


def stored_as(array, affine, codes):
    """``array`` and its affine as in a file with the axes ``codes``."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    return apply_orientation(array, change), affine @ inv_ornt_aff(change, array.shape)


def round_trip(mapping, image):
    return mapping.restore(torch.from_numpy(mapping.pad(mapping.image_to_grid(image)))).numpy()


def smooth(shape, waves=1.0):
    """A smooth function of the position, the same at any resolution."""
    points = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    return sum(np.sin(2 * np.pi * waves * p + i) for i, p in enumerate(points)).astype(np.float32)


@pytest.mark.parametrize("affine", [SPL, OBLIQUE @ SPL], ids=["straight", "oblique"])
@pytest.mark.parametrize("minimum", [None, (9, 8, 12)])
def test_every_orientation_is_restored_exactly(tiny_metadata, affine, minimum):
    canonical = np.random.default_rng(0).random((2, 5, 7, 6)).astype(np.float32)
    metadata = tiny_metadata(3, grid=Grid(spacing=(2.0, 1.25, 0.8), minimum_size=minimum))
    assert len(set(CODES)) == 48
    for codes in CODES:
        stored = np.stack([stored_as(c, affine, codes)[0] for c in canonical])
        mapping = grid_map(metadata, stored.shape[1:], stored_as(canonical[0], affine, codes)[1])
        assert mapping.inner == (5, 7, 6) and mapping.size == (minimum or (5, 7, 6))
        np.testing.assert_array_equal(mapping.image_to_grid(stored), canonical, err_msg=codes)
        back = round_trip(mapping, stored)
        np.testing.assert_array_equal(back, stored, err_msg=codes)


def test_orientation_of_the_checkpoint(tiny_metadata):
    """The networks get the axes of the checkpoint's orientation for any orientation of the image."""
    canonical = np.random.default_rng(0).random((5, 7, 6)).astype(np.float32)
    for codes in ("RAS", "LIP", "SPL", "AIR"):
        metadata = tiny_metadata(3, orientation=codes, grid=Grid(spacing=(1, 1, 1)))
        expected = stored_as(canonical, default_affine((1, 1, 1)), codes)[0]
        for stored in ("SPL", "LAS", "PIR"):
            image, affine = stored_as(canonical, default_affine((1, 1, 1)), stored)
            mapping = grid_map(metadata, image.shape, affine)
            np.testing.assert_array_equal(mapping.image_to_grid(image[None])[0], expected)


def test_padding_is_centred_and_zero(tiny_metadata):
    metadata = tiny_metadata(2, grid=Grid(spacing=(1, 1), minimum_size=(8, 4)))
    mapping = grid_map(metadata, (5, 6), default_affine((1, 1, 1)))
    assert mapping.pads == ((1, 2), (0, 0)) and mapping.size == (8, 6)
    padded = mapping.pad(np.ones((1, 5, 6)))
    np.testing.assert_array_equal(padded[0, :, 0], [0, 1, 1, 1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    "dims, shape, size",
    [
        (2, (40, 36), (20, 24)),
        (2, (21, 36), (32, 17)),
        (2, (24, 40), (64, 64)),
        (3, (24, 20, 28), (16, 16, 16)),
        (3, (10, 20, 16), (16, 16, 24)),
    ],
)
def test_resampling_recovers_smooth_functions_unshifted(tiny_metadata, dims, shape, size):
    metadata = tiny_metadata(dims, grid=Grid(size=size))
    mapping = grid_map(metadata, shape, default_affine((1, 1, 1)))
    assert mapping.inner == mapping.size == size
    inside = (slice(3, -3),) * dims

    image = smooth(shape, 0.5)
    on_grid = mapping.image_to_grid(image[None])[0]
    assert np.abs(on_grid - smooth(size, 0.5))[inside].max() < 0.05 * np.ptp(image)
    back = round_trip(mapping, image[None])[0]
    assert back.shape == shape and np.abs(back - image)[inside].max() < 0.05 * np.ptp(image)

    for axis in range(dims):
        ramp = np.moveaxis(np.broadcast_to(np.arange(shape[axis]), (*shape, shape[axis])), -1, axis)
        ramp = ramp.take(0, axis + 1).astype(np.float32)
        assert np.ptp(ramp) == shape[axis] - 1
        shift = (round_trip(mapping, ramp[None])[0] - ramp)[inside]
        assert np.abs(shift).max() < 0.02  # in voxels

    grid = np.indices(shape) - np.reshape(shape, (-1, *(1,) * dims)) * 0.45
    blob = np.exp(-(grid**2).sum(0) / 2 / (min(shape) / 8) ** 2).astype(np.float32)
    moved = np.subtract(center_of_mass(round_trip(mapping, blob[None])[0]), center_of_mass(blob))
    assert np.abs(moved).max() < 0.05


@pytest.mark.parametrize("affine", [SPL, OBLIQUE @ SPL], ids=["straight", "oblique"])
def test_an_oracle_marks_the_same_voxels_in_every_orientation(tiny_metadata, affine):
    """Anisotropic voxels, resampled to cubes and padded; the oracle thresholds its input."""
    shape = (12, 17, 26)
    position = np.indices(shape) - np.reshape((4, 9, 17), (3, 1, 1, 1))
    canonical = (np.abs(position) * np.reshape((2.0, 1.25, 0.8), (3, 1, 1, 1))).max(0)
    canonical = np.clip(6 - canonical, 0, 3)
    metadata = tiny_metadata(3, grid=Grid(spacing=(1.5, 1.5, 1.5), minimum_size=(20, 16, 16)))
    reference = None
    for codes in CODES:
        stored, stored_affine = stored_as(canonical, affine, codes)
        mapping = grid_map(metadata, stored.shape, stored_affine)
        assert mapping.inner == (16, 14, 14)
        seen = preprocess(metadata, stored[None], mapping)
        assert seen.shape == (1, 20, 16, 16) and seen.min() == 0 and seen.max() == 1
        oracle = torch.cat([(seen < 0.4).float(), (seen >= 0.4).float()])
        labels = mapping.restore(oracle).argmax(0).numpy()
        labels, _ = stored_as(labels, stored_affine, "SPL")
        reference = labels if reference is None else reference
        np.testing.assert_array_equal(labels, reference, err_msg=codes)
    expected = canonical >= 0.4 * canonical.max()
    overlap = 2 * (reference & expected).sum() / (reference.sum() + expected.sum())
    assert overlap > 0.88
    moved = np.subtract(center_of_mass(reference), center_of_mass(expected))
    assert np.abs(moved * (2.0, 1.25, 0.8)).max() < 0.5  # mm


@pytest.mark.parametrize("dims, shape", [(2, (20, 31)), (3, (12, 20, 16))])
def test_labels_are_mapped_like_the_image(tiny_metadata, dims, shape):
    label = np.zeros(shape, np.uint8)
    label[(slice(4, 10),) * dims], label[(slice(6, 9),) * dims] = 1, 2
    metadata = tiny_metadata(dims, 3, grid=Grid(spacing=(1.0,) * dims, minimum_size=(32,) * dims))
    mapping = grid_map(metadata, shape, default_affine((1, 1, 1)))
    on_grid = mapping.label_to_grid(label, 3)
    assert on_grid.dtype == np.uint8 and on_grid.shape == (32,) * dims
    np.testing.assert_array_equal(round_trip(mapping, label[None])[0], label)
    np.testing.assert_array_equal(on_grid, mapping.pad(label[None])[0])
    halved = tiny_metadata(dims, 3, grid=Grid(spacing=(2.0,) * dims))
    smaller = grid_map(halved, shape, default_affine((1, 1, 1))).label_to_grid(label, 3)
    assert set(np.unique(smaller)) == {0, 1, 2}
    ratio = (label > 0).sum() / (smaller > 0).sum()
    assert ratio == pytest.approx(2**dims, rel=0.3)
    moved = np.add(center_of_mass(smaller > 0), 0.5) * 2 - np.add(center_of_mass(label > 0), 0.5)
    assert np.abs(moved).max() < 0.5


def test_intensities_by_hand(tiny_metadata):
    image = np.stack([np.arange(101.0), np.full(101, -5.0)])[:, :, None].astype(np.float32)
    image[1, 3] = 7
    extremes = normalise(tiny_metadata(intensity=Intensity(method="min-max")), image)
    np.testing.assert_allclose(extremes[0, :, 0], np.arange(101) / 100, rtol=1e-6)
    assert extremes[1, 3, 0] == 1 and extremes[1].sum() == 1
    rule = Intensity(method="percentile", lower=10, upper=60)
    clipped = normalise(tiny_metadata(intensity=rule), image)
    np.testing.assert_allclose(
        clipped[0, :, 0], np.clip((np.arange(101) - 10) / 50, 0, 1), atol=1e-6
    )
    # Equal percentiles are replaced by the extremes.
    assert clipped[1, 3, 0] == 1 and clipped[1].sum() == 1


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int16, np.uint16, np.float16, ">i2", ">f4", float]
)
def test_any_real_type_gives_the_same_input(tiny_metadata, dtype):
    image = np.random.default_rng(0).integers(0, 2, (1, 16, 16))
    mapping = grid_map(tiny_metadata(), (16, 16), SPL)
    seen = preprocess(tiny_metadata(), image.astype(dtype), mapping)
    assert seen.dtype == torch.float32
    np.testing.assert_array_equal(seen, image)


def test_images_that_cannot_be_used(tiny_metadata, assert_sentence):
    metadata = tiny_metadata()
    mapping = grid_map(metadata, (16, 16), SPL)
    for value in (np.nan, np.inf, -np.inf):
        image = np.random.default_rng(0).random((1, 16, 16))
        image[0, 3, 4] = value
        with pytest.raises(LDSegError) as error:
            preprocess(metadata, image, mapping, "the scan")
        assert_sentence(error, "the scan", "NaN")
    with pytest.raises(LDSegError) as error, np.errstate(over="ignore"):
        preprocess(metadata, np.linspace(0, 1e300, 256).reshape(1, 16, 16), mapping, "the scan")
    assert_sentence(error, "the scan", "too large")
    with pytest.raises(LDSegError) as error:
        preprocess(metadata, np.full((1, 16, 16), 7, np.uint8), mapping, "the scan")
    assert_sentence(error, "the scan", "same value")


def test_grid_that_would_be_too_large(tiny_metadata, assert_sentence):
    metadata = tiny_metadata(3, grid=Grid(spacing=(0.01, 0.01, 0.01)))
    with pytest.raises(LDSegError) as error:
        grid_map(metadata, (100, 100, 100), SPL)
    assert_sentence(error, metadata.name, "box")
