"""A 3D model on voxels of unknown size says so."""

import warnings

import numpy as np
import pytest

from napari_ldseg.inference.segment import segment
from napari_ldseg.scans.scan import Scan, default_affine


def test_a_3d_model_on_voxels_of_unknown_size_warns(tiny_checkpoint):
    array = np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)
    with pytest.warns(UserWarning, match="scan does not give its voxel size"):
        segment(tiny_checkpoint(3), Scan(array, name="scan"), n=1, steps=2)
    known = Scan(array, default_affine((1.0, 1.0, 1.0)))
    for checkpoint, scan in [(tiny_checkpoint(3), known), (tiny_checkpoint(2), Scan(array[0]))]:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*voxel size.*")
            segment(checkpoint, scan, n=1, steps=2)
