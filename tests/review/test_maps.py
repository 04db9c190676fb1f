"""Where to look, from results that have the predictive SD alone."""

import numpy as np

from napari_ldseg.review.maps import error_from_predictive_sd, nearest_other_class


def test_the_error_probability_is_exact_where_one_class_has_half_and_more():
    rng = np.random.default_rng(0)
    p = rng.dirichlet((1, 1, 1), 500).T.astype(np.float32)
    sd = np.sqrt(p * (1 - p)).max(0)
    error = error_from_predictive_sd(sd)
    sure = p.max(0) >= 0.5
    assert sure.any() and not sure.all()
    np.testing.assert_allclose(error[sure], 1 - p.max(0)[sure], atol=1e-3)
    assert (error[~sure] <= 1 - p.max(0)[~sure] + 1e-3).all()


def test_the_other_class_is_the_one_across_the_nearest_boundary():
    labels = np.array([[0, 0, 0, 1, 1, 1, 2, 2]], np.uint8)
    np.testing.assert_array_equal(nearest_other_class(labels), [[1, 1, 1, 0, 0, 2, 1, 1]])


def test_a_single_class_has_no_other():
    labels = np.ones((3, 4), np.uint8)
    np.testing.assert_array_equal(nearest_other_class(labels), labels)
