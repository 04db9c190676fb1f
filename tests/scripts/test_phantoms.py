"""Synthetic scans: reproducible, complete, and beyond what intensity clustering can segment."""

import itertools

import numpy as np
import pytest
from phantoms import (
    ECHO_CLASSES,
    MRI_CLASSES,
    echo_phantom,
    mri_phantom,
)
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_dilation
from skimage.filters import threshold_multiotsu

KINDS = [
    pytest.param(echo_phantom, ECHO_CLASSES, (192, 160), np.uint8, id="echo"),
    pytest.param(mri_phantom, MRI_CLASSES, (40, 56, 48), np.uint16, id="mri"),
]


def best_foreground_dice(clusters, label, n_classes):
    """Highest mean foreground Dice over every assignment of clusters to classes."""
    overlap = np.zeros((n_classes, n_classes))
    np.add.at(overlap, (clusters.ravel(), label.ravel()), 1)
    truth = overlap.sum(axis=0)
    best = 0.0
    for assigned in itertools.product(range(n_classes), repeat=n_classes):
        chosen = np.array(assigned)
        dice = [
            2 * overlap[chosen == c, c].sum() / (overlap[chosen == c].sum() + truth[c])
            for c in range(1, n_classes)
        ]
        best = max(best, float(np.mean(dice)))
    return best


def test_best_foreground_dice_finds_a_perfect_relabelling():
    label = np.array([0, 0, 1, 1, 2, 2])
    assert best_foreground_dice(np.array([2, 2, 0, 0, 1, 1]), label, 3) == 1.0


@pytest.mark.parametrize("make, classes, shape, dtype", KINDS)
def test_same_seed_same_phantom(make, classes, shape, dtype):
    first, second, other = make(7), make(7), make(8)
    for name in ("image", "label", "affine"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.label, other.label)


@pytest.mark.parametrize("make, classes, shape, dtype", KINDS)
def test_every_class_is_present(make, classes, shape, dtype):
    for seed in range(30):
        phantom = make(seed)
        assert phantom.image.shape == phantom.label.shape == shape
        assert phantom.image.dtype == dtype and phantom.label.dtype == np.uint8
        counts = np.bincount(phantom.label.ravel())
        assert len(counts) == len(classes)
        assert counts.min() > 500


@pytest.mark.parametrize("make, classes, shape, dtype", KINDS)
def test_intensity_clustering_fails(make, classes, shape, dtype):
    n = len(classes)
    for seed in range(10):
        phantom = make(seed)
        otsu = np.digitize(phantom.image, threshold_multiotsu(phantom.image, n))
        np.random.seed(0)  # not every scipy takes a generator
        _, kmeans = kmeans2(phantom.image.reshape(-1, 1).astype(float), n, minit="++")
        assert best_foreground_dice(otsu, phantom.label, n) < 0.7
        assert best_foreground_dice(kmeans, phantom.label, n) < 0.7


def test_nuclei_touch():
    for seed in range(30):
        label = mri_phantom(seed).label
        assert np.count_nonzero(binary_dilation(label == 1) & (label == 2)) > 20


def test_nuclei_lie_inside_the_crop():
    for seed in range(30):
        label = mri_phantom(seed).label
        for axis in range(3):
            assert not label.take([0, -1], axis=axis).any()


def test_affines():
    echo, mri = echo_phantom(0).affine, mri_phantom(0).affine
    np.testing.assert_allclose(echo[:3, :3], [[0, 0, -0.9], [0, -0.9, 0], [1, 0, 0]])
    np.testing.assert_allclose(np.linalg.norm(mri[:3, :3], axis=0), [1.2, 1.0, 1.0])
    straight = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]) * (1.2, 1.0, 1.0)
    assert 0.01 < np.abs(mri[:3, :3] - straight).max() < 0.3
    centre = [19.5, 27.5, 23.5, 1]
    np.testing.assert_allclose(mri @ centre, [0, 0, 0, 1], atol=1e-9)
