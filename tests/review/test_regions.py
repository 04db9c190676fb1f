"""Where to look: the pieces of the uncertain band, in 2D, 3D and frames."""

import numpy as np
import pytest

from napari_ldseg.review.regions import (
    expected_error_left,
    piece_radius,
    uncertain_regions,
)

BLANK = (100, 120)


def disc(shape=BLANK, radius=30):
    centre = [n / 2 for n in shape]
    squares = sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True))
    return (squares < radius**2).astype(np.uint8)


def blob(error, at, probability, half=2):
    """Set a cube of 2 ``half`` + 1 voxels of error around ``at``."""
    error[tuple(slice(i - half, i + half + 1) for i in at)] = probability


def regions_of(error, labels=None, spacing=(1, 1)):
    labels = disc(error.shape) if labels is None else labels
    return uncertain_regions(error, labels, 1 - labels, spacing)


def voxels(region):
    return set(map(tuple, np.argwhere(region.mask) + [s.start for s in region.box]))


def test_two_places_are_two_regions_the_larger_expected_error_first():
    error = np.zeros(BLANK, np.float32)
    blob(error, (50, 30), 0.2)
    blob(error, (20, 60), 0.4)
    first, second = regions_of(error)
    assert first.peak == (20, 60) and second.peak == (50, 30)
    assert first.expected == pytest.approx(25 * 0.4)
    assert second.expected == pytest.approx(25 * 0.2)
    assert first.box == (slice(18, 23), slice(58, 63)) and first.mask.all()


def test_a_contour_is_cut_into_pieces_of_limited_size_that_do_not_overlap():
    error = np.where(disc(radius=32) != disc(radius=28), 0.3, 0).astype(np.float32)
    error *= 1 + 0.2 * np.sin(np.arctan2(*(np.indices(BLANK).T - [50, 60]).T))
    regions = regions_of(error)
    widest = 3 * piece_radius(disc(), (1, 1)) + 1
    assert len(regions) > 6
    assert all(s.stop - s.start <= widest for r in regions for s in r.box)
    found = [voxels(region) for region in regions]
    assert sum(map(len, found)) == len(set().union(*found))
    assert set().union(*found) == set(map(tuple, np.argwhere(error > 0)))
    total = expected_error_left(error)
    assert sum(region.expected for region in regions) == pytest.approx(total, rel=1e-6)


def test_the_order_is_the_same_in_every_run_and_for_equal_places():
    error = np.zeros(BLANK, np.float32)
    for at in ((20, 60), (80, 60), (50, 30), (50, 90)):
        blob(error, at, 0.3)
    peaks = [[region.peak for region in regions_of(error)] for _ in range(2)]
    assert peaks[0] == peaks[1] == [(20, 60), (50, 30), (50, 90), (80, 60)]


def test_reviewed_voxels_have_no_error_left():
    error = np.zeros(BLANK, np.float32)
    blob(error, (20, 60), 0.4)
    blob(error, (50, 30), 0.2)
    reviewed = np.zeros(BLANK, bool)
    reviewed[18:21] = True
    assert expected_error_left(error, reviewed, 0.5) == pytest.approx(0.5 * (25 * 0.2 + 4))
    reviewed[:] = True
    assert expected_error_left(error, reviewed) == pytest.approx(0, abs=1e-5)


def test_voxel_size_counts_in_the_volume_and_in_the_size_of_a_piece():
    labels = np.zeros((12, 60, 60), np.uint8)
    labels[2:10, 15:45, 15:45] = 1
    error = np.zeros(labels.shape, np.float32)
    error[:, 13:17, 15:45] = 0.25
    spacing = (5.0, 0.5, 0.5)
    regions = uncertain_regions(error, labels, 1 - labels, spacing)
    radius = piece_radius(labels, spacing)
    for region in regions:
        sizes = [(s.stop - s.start) * size for s, size in zip(region.box, spacing, strict=True)]
        assert all(n <= 3 * radius + s for n, s in zip(sizes, spacing, strict=True))
        assert region.expected == pytest.approx(region.mask.sum() * 0.25 * 1.25)
    assert sum(r.expected for r in regions) == pytest.approx(12 * 4 * 30 * 0.25 * 1.25)


def test_in_a_volume_the_peak_is_in_the_slice_with_most_error():
    error = np.zeros((20, 30, 30), np.float32)
    error[8:12, 14:17, 14:17] = 0.1
    error[10, 14:17, 14:18] = 0.4
    (region,) = regions_of(error, disc(error.shape, 10), (1, 1, 1))
    assert region.peak == (10, 15, 15) or region.peak == (10, 15, 16)


def test_each_frame_has_regions_of_its_own():
    error = np.zeros((3, *BLANK), np.float32)
    blob(error[0], (20, 60), 0.2)
    blob(error[2], (20, 60), 0.4)
    first, second = regions_of(error, np.stack([disc()] * 3))
    assert (first.peak, second.peak) == ((2, 20, 60), (0, 20, 60))
    assert first.box[0] == slice(2, 3) and first.mask.shape == (1, 5, 5)


def test_the_classes_in_doubt_have_the_most_error_between_them():
    labels, runner_up = np.full(BLANK, 1, np.uint8), np.full(BLANK, 0, np.uint8)
    labels[:, 60:], runner_up[:, :60] = 2, 2
    runner_up[:, 60:] = 1
    runner_up[:20] = 0
    error = np.zeros(BLANK, np.float32)
    error[48:53, 55:60] = 0.2
    error[48:53, 60:65] = 0.4
    blob(error, (5, 30), 0.3)
    first, second = uncertain_regions(error, labels, runner_up, (1, 1))
    assert first.classes == (2, 1) and second.classes == (1, 0)
    runner_up[48:53, 60:65] = 3
    error[48:53, 60:65] = 0.35  # 1 or 2 on the one side, 2 or 3 on the other
    labels[46:48, 55:65], runner_up[46:48, 55:65], error[46:48, 55:65] = 2, 1, 0.25
    assert uncertain_regions(error, labels, runner_up, (1, 1))[0].classes in ((1, 2), (2, 1))
    labels[:] = runner_up  # all were corrected
    assert uncertain_regions(error, labels, runner_up, (1, 1))[0].classes == (1, 1)


def test_specks_join_a_piece_that_is_near_and_are_no_pieces_themselves():
    error = np.zeros(BLANK, np.float32)
    blob(error, (20, 60), 0.4)
    blob(error, (50, 30), 0.2)
    error[20, 68] = error[90, 110] = 0.1
    first, second = regions_of(error)
    assert (20, 68) in voxels(first) and first.expected == pytest.approx(25 * 0.4 + 0.1)
    assert second.mask.sum() == 25
    frames = np.stack([error, np.where(error == np.float32(0.1), error, 0)])
    assert [region.box[0].start for region in regions_of(frames, np.stack([disc()] * 2))] == [0, 0]


@pytest.mark.parametrize("shape", [(40, 40), (10, 20, 20)])
def test_without_uncertainty_there_are_no_regions(shape):
    error = np.full(shape, 0.001, np.float32)
    labels = np.zeros(shape, np.uint8)
    assert uncertain_regions(error, labels, labels, (1,) * len(shape)) == []
    assert expected_error_left(error) == pytest.approx(error.size * 0.001, rel=1e-3)


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        uncertain_regions(np.zeros((4, 4)), np.zeros((4, 5), int), np.zeros((4, 4), int), (1, 1))
