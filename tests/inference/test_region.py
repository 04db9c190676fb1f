"""A box of an image: its position, its default extent, and the scan inside it."""

import numpy as np
import pytest

from napari_ldseg.checkpoint.metadata import FieldOfView
from napari_ldseg.errors import LDSegError
from napari_ldseg.inference.region import bounding_region, crop, full_region
from napari_ldseg.scans.scan import Scan, default_affine


def test_crop_keeps_the_position_in_the_world(tiny_metadata):
    rng = np.random.default_rng(0)
    affine = default_affine((2.0, 0.5, 0.7))
    affine[:3, :3] += rng.normal(0, 0.1, (3, 3))
    affine[:3, 3] = (5, -6, 7)
    scan = Scan(rng.integers(0, 99, (4, 10, 12, 14)), affine)
    region = bounding_region(np.array([[1, 2, 3, 4], [2, 7, 9, 11]]), scan, tiny_metadata(2))
    part = crop(scan, region)
    assert part.array.shape == tuple(b - a for a, b in zip(region.start, region.stop, strict=True))
    np.testing.assert_array_equal(part.array, scan.array[region.slices])
    inner = np.array([1, 2, 3])
    outer = inner + region.start[1:]
    np.testing.assert_allclose(part.affine @ [*inner, 1], scan.affine @ [*outer, 1])


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_flat_axis_takes_the_trained_extent_of_its_own_direction(tiny_metadata, axes):
    """For any order of the stored axes, the extent along the flat axis is that of its direction."""
    fov = FieldOfView(smallest=(10.0, 20.0, 30.0), largest=(12.0, 24.0, 36.0))
    metadata = tiny_metadata(3, field_of_view=fov)
    affine = default_affine((1.5, 1.0, 1.0))[:, [*axes, 3]]
    scan = Scan(np.zeros((100, 100, 100), np.uint8), affine)
    superior = axes.index(0)
    box = np.full((2, 3), [40.0, 40.0, 40.0])
    for axis in range(3):
        if axis != superior:
            box[:, axis] = 30, 52
    region = bounding_region(box, scan, metadata)
    size = region.stop[superior] - region.start[superior]
    assert abs(size * 1.5 - 12.0) <= 2 * 1.5
    assert (region.start[superior] + region.stop[superior]) / 2 == pytest.approx(40.5, abs=1)


def test_box_outside_the_image_is_refused(tiny_metadata):
    scan = Scan(np.zeros((20, 20), np.uint8), name="scan")
    with pytest.raises(LDSegError, match="outside scan"):
        bounding_region(np.array([[30.0, 30.0], [40.0, 40.0]]), scan, tiny_metadata(2))
    inside = bounding_region(np.array([[-9.0, -9.0], [99.0, 99.0]]), scan, tiny_metadata(2))
    assert inside == full_region(scan)
