"""Correction tools: what they change and what they must not change, in voxels and in millimetres."""

import numpy as np
import pytest
from scipy import ndimage

from napari_ldseg.correction.brush import brush_voxels, in_range, polygon_voxels
from napari_ldseg.correction.change import Part, bounding_box
from napari_ldseg.correction.pieces import keep_largest, label_pieces, relabel_piece
from napari_ldseg.correction.shape import fill_holes, grow, shrink, smooth, within
from napari_ldseg.correction.slices import copy_slice, fill_between


def applied(labels, change):
    """Return ``labels`` after ``change``, whose old values are checked."""
    np.testing.assert_array_equal(labels[change.indices], change.before)
    assert (change.before != change.after).all()
    new = labels.copy()
    new[change.indices] = change.after
    assert (new != labels).sum() == len(change)
    return new


def ellipsoid(shape, centre, radii, value=1):
    grid = np.indices(shape)
    squared = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True))
    return (squared <= 1).astype(np.uint8) * value


def pieces(mask):
    return label_pieces(mask)[1]


def test_bounding_box_with_margins_stays_in_the_image():
    mask = np.zeros((5, 9, 7), bool)
    mask[1, 4:6, 2] = mask[3, 8, 3] = True
    assert bounding_box(mask) == (slice(1, 4), slice(4, 9), slice(2, 4))
    assert bounding_box(mask, (0, 2, 3)) == (slice(1, 4), slice(2, 9), slice(0, 7))
    assert bounding_box(np.zeros((3, 3), bool)) is None


@pytest.mark.parametrize("ndim", [2, 3])
def test_keep_largest_removes_only_the_smaller_pieces_of_that_class(ndim):
    labels = np.zeros((12,) * ndim, np.uint8)
    labels[(slice(1, 4),) * ndim] = 2
    labels[(slice(4, 8),) * ndim] = 2  # touches at a corner: one piece
    labels[(slice(10, 12),) * ndim] = 2
    labels[(slice(9, 10),) * ndim] = 5
    new = applied(labels, keep_largest(labels, 2))
    assert not (new[(slice(10, 12),) * ndim] == 2).any()
    assert (new == 2).sum() == 3**ndim + 4**ndim
    assert (new == 5).sum() == 1
    assert len(keep_largest(new, 2)) == 0 and len(keep_largest(new, 9)) == 0


def test_a_clicked_piece_is_erased_or_relabelled():
    labels = np.zeros((6, 10, 10), np.int16)
    labels[1:3, 1:4, 1:4] = 3
    labels[1:3, 6:9, 6:9] = 3
    erased = applied(labels, relabel_piece(labels, (2, 7, 7), 0))
    assert not erased[:, 5:].any() and (erased[1:3, 1:4, 1:4] == 3).all()
    relabelled = applied(labels, relabel_piece(labels, (1, 1, 1), 7))
    assert (relabelled == 7).sum() == 18 and (relabelled[1:3, 6:9, 6:9] == 3).all()
    assert len(relabel_piece(labels, (0, 0, 0), 7)) == 0
    assert len(relabel_piece(labels, (1, 1, 1), 3)) == 0


def test_holes_are_filled_in_3d_only_if_closed_on_all_sides():
    labels = np.zeros((9, 12, 12), np.uint8)
    labels[1:8, 1:11, 1:11] = 1
    labels[3:5, 3:5, 3:5] = 0  # cavity
    labels[4, 4, 4] = 2  # with another class in it
    labels[:, 7:9, 7:9] = 0  # tube, open at both ends
    new = applied(labels, fill_holes(labels, 1))
    assert (new[3:5, 3:5, 3:5] == 1).sum() == 7 and new[4, 4, 4] == 2
    assert not new[:, 7:9, 7:9].any()
    one_slice = applied(labels[4], fill_holes(labels[4], 1))
    assert (one_slice[7:9, 7:9] == 1).all()


def test_background_at_the_border_of_the_image_is_no_hole():
    labels = np.ones((8, 8), np.uint8)
    labels[0:3, 2:5] = 0
    assert len(fill_holes(labels, 1)) == 0


@pytest.mark.parametrize("distance", [0.4, 1.0, 2.05, 3.3])
def test_within_is_the_euclidean_distance_in_mm(distance):
    rng = np.random.default_rng(3)
    mask = rng.random((14, 22, 18)) > 0.995
    spacing = (2.05, 0.7, 1.1)
    exact = ndimage.distance_transform_edt(~mask, spacing)
    clear = np.abs(exact - distance) > 1e-3
    near = within(mask, distance, spacing)
    np.testing.assert_array_equal(near[clear], (exact <= distance)[clear])
    assert near[np.abs(exact - distance) < 1e-6].all()


def test_growing_and_shrinking_are_in_mm_and_keep_other_classes():
    labels = np.zeros((11, 21, 21), np.uint8)
    labels[5, 10, 10] = 1
    labels[5, 10, 12] = 4
    spacing = (3.0, 1.0, 0.5)
    new = applied(labels, grow(labels, 1, 3.0, spacing))
    distances = [
        np.abs(i - c) * s
        for i, c, s in zip(np.nonzero(new == 1), (5, 10, 10), spacing, strict=True)
    ]
    assert [d.max() for d in distances] == [3.0, 3.0, 3.0]
    assert new[5, 10, 12] == 4
    back = applied(new, shrink(new, 1, 3.0, spacing))
    assert (back == 1).sum() <= 1 and back[5, 10, 12] == 4


def test_shrinking_removes_nothing_at_the_border_of_the_image():
    labels = np.ones((10, 10), np.uint8)
    labels[:, 6:] = 0
    new = applied(labels, shrink(labels, 1, 2.0, (1.0, 1.0)))
    assert (new[:, :4] == 1).all() and not new[:, 4:].any()


def test_growing_by_less_than_a_voxel_changes_nothing():
    labels = ellipsoid((9, 9, 9), (4, 4, 4), (2, 2, 2))
    assert len(grow(labels, 1, 0.9, (1, 1, 1))) == 0


def test_smoothing_removes_spikes_and_keeps_volume_and_position():
    rng = np.random.default_rng(0)
    clean = ellipsoid((40, 50, 50), (20, 25, 25), (13, 18, 18))
    near_border = within(clean > 0, 1.5, (1, 1, 1)) & within(clean == 0, 1.5, (1, 1, 1))
    noisy = np.where(near_border & (rng.random(clean.shape) < 0.3), 1 - clean, clean)
    new = applied(noisy, smooth(noisy, 1, 1.5, (1, 1, 1)))
    assert (new != clean).sum() < 0.4 * (noisy != clean).sum()
    assert abs(int(new.sum()) - int(clean.sum())) < 0.03 * clean.sum()


def test_smoothing_keeps_thin_parts_and_never_splits_a_piece():
    labels = np.zeros((24, 60, 24), np.uint8)
    labels[4:20, 2:20, 4:20] = labels[4:20, 24:42, 4:20] = 1
    labels[12, 20:24, 12] = 1  # short thin bridge
    labels[12, 42:58, 12] = 1  # long thin vessel
    new = applied(labels, smooth(labels, 1, 1.5, (1, 1, 1)))
    assert pieces(new == 1) == 1
    assert (new[12, 45:58, 12] == 1).all()
    assert new[4, 2, 4] == 0  # but a corner is rounded


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5])
def test_smoothing_never_removes_a_slice_of_a_plate(slices):
    labels = np.zeros((15, 40, 40), np.uint8)
    labels[4 : 4 + slices, 8:32, 8:32] = 1
    new = applied(labels, smooth(labels, 1, 2.0, (1, 1, 1)))
    for plane in range(4, 4 + slices):
        assert (new[plane, 12:28, 12:28] == 1).all()


def test_smoothing_leaves_no_gap_to_the_other_class_and_never_changes_it():
    rng = np.random.default_rng(1)
    labels = np.zeros((20, 30, 30), np.uint8)
    labels[4:16, 5:25, 5:15] = 1
    labels[4:16, 5:25, 15:25] = 2
    jagged = rng.random((12, 20)) < 0.5
    labels[4:16, 5:25, 15][jagged] = 1
    new = applied(labels, smooth(labels, 1, 1.0, (1, 1, 1)))
    np.testing.assert_array_equal(new == 2, labels == 2)
    assert (new[6:14, 7:23, 12:18] > 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_filling_between_slices_gives_a_cone_between_two_discs(axis):
    shape, spacing = [40, 40, 40], [1.0, 1.0, 1.0]
    grid = np.indices((40, 40))
    labels = np.zeros(shape, np.uint8)
    view = np.moveaxis(labels, axis, 0)
    for position, radius in ((5, 6), (15, 14)):
        view[position] = np.hypot(grid[0] - 20, grid[1] - 20) <= radius
    before = labels.copy()
    new = np.moveaxis(applied(labels, fill_between(labels, 1, axis, spacing)), axis, 0)
    radii = np.sqrt(new.sum(axis=(1, 2)) / np.pi)
    np.testing.assert_allclose(radii[5:16], np.linspace(6, 14, 11), atol=0.6)
    assert not new[:5].any() and not new[16:].any()
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(new[5], np.moveaxis(before, axis, 0)[5])


def test_filling_between_follows_a_moving_structure_and_uses_the_spacing():
    labels = np.zeros((9, 40, 60), np.uint8)
    grid = np.indices((40, 60))
    labels[0] = np.hypot(grid[0] - 12, (grid[1] - 10) / 2) <= 5  # round, with x half as far apart
    labels[8] = np.hypot(grid[0] - 28, (grid[1] - 46) / 2) <= 5
    new = applied(labels, fill_between(labels, 1, 0, (4.0, 1.0, 0.5)))
    for z in range(9):
        assert pieces(new[z] == 1) == 1
        centre = ndimage.center_of_mass(new[z])
        np.testing.assert_allclose(centre, (12 + 2 * z, 10 + 4.5 * z), atol=0.7)
        assert abs(int(new[z].sum()) - int(labels[0].sum())) < 0.15 * labels[0].sum()


def test_filling_between_changes_only_background_in_slices_without_the_class():
    labels = np.zeros((7, 16, 16), np.uint8)
    labels[0, 4:12, 4:12] = labels[3, 4:12, 4:12] = labels[6, 4:12, 4:12] = 1
    labels[2, 6, 6] = 3
    labels[3, 4, 4] = 0  # a painted slice is not changed
    new = applied(labels, fill_between(labels, 1, 0, (1, 1, 1)))
    assert new[2, 6, 6] == 3 and new[3, 4, 4] == 0
    assert all((new[z] == 1).sum() > 60 for z in range(7))


def test_copying_a_slice_replaces_that_class_only():
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1, 2:6, 2:6] = 1
    labels[2, 0, 0] = 1
    labels[2, 3, 3] = 2
    new = applied(labels, copy_slice(labels, 1, 0, 1, 2))
    assert new[2, 0, 0] == 0 and new[2, 3, 3] == 2
    assert (new[2] == 1).sum() == 15
    np.testing.assert_array_equal(new[[0, 1, 3]], labels[[0, 1, 3]])


@pytest.mark.parametrize(
    ("shape", "position", "slice_axis", "expected"),
    [
        ((6, 7), (1, 2), None, (6, 7)),
        ((5, 6, 7), (1, 2, 3), None, (5, 6, 7)),
        ((5, 6, 7), (1, 2, 3), 1, (5, 7)),
        ((4, 5, 6, 7), (3, 1, 2, 3), None, (5, 6, 7)),
        ((4, 5, 6, 7), (3, 1, 2, 3), 2, (5, 7)),
    ],
)
def test_a_part_returns_indices_into_the_full_array(shape, position, slice_axis, expected):
    labels = np.zeros(shape, np.uint8)
    part = Part.at(position, slice_axis)
    view = part.of(labels)
    assert view.shape == expected and np.shares_memory(view, labels)
    view[(2,) * view.ndim] = 1
    new = applied(labels, part.to_full(grow(view, 1, 1, (1,) * view.ndim)))
    assert (part.of(new) == 1).sum() == 1 + 2 * view.ndim == (new == 1).sum()


def test_the_brush_covers_the_same_voxels_as_naparis_brush():
    from napari.layers import Labels

    rng = np.random.default_rng(5)
    for _ in range(40):
        ndim = int(rng.integers(2, 4))
        shape = tuple(int(n) for n in rng.integers(8, 20, ndim))
        layer = Labels(np.zeros(shape, np.uint8), scale=rng.choice([0.5, 1.0, 2.5], ndim))
        layer.brush_size = int(rng.integers(1, 9))
        layer.n_edit_dimensions = int(rng.integers(2, ndim + 1))
        centre = [int(rng.integers(0, n)) for n in shape]
        layer.paint(centre, 1)
        axes = list(range(ndim))[-layer.n_edit_dimensions :]
        ours = np.zeros(shape, bool)
        ours[brush_voxels(centre, layer.brush_size, axes, shape, layer.scale)] = True
        np.testing.assert_array_equal(ours, layer.data == 1)


def test_a_polygon_covers_its_inside_in_its_plane():
    points = np.array([[2, 1, 5], [2, 1, 15], [2, 11, 15], [2, 11, 5]])
    mask = np.zeros((4, 12, 20), bool)
    mask[polygon_voxels(points, (1, 2), mask.shape)] = True
    assert mask[2, 2:11, 6:15].all() and not mask[[0, 1, 3]].any() and not mask[2, :, :5].any()


def test_intensities_in_range_are_read_from_lazy_images():
    import dask.array as da

    image = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    indices = (np.array([0, 1, 3]), np.array([0, 2, 5]), np.array([0, 3, 7]))
    inside = in_range(da.from_array(image, chunks=2), indices, 60, 191)
    assert inside.tolist() == [False, True, True]
