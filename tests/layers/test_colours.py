"""Layers in colour from napari's own readers: the same image as the file's for the command line."""

import numpy as np
import pytest
from napari.layers import Image
from PIL import Image as Picture

from napari_ldseg.layers.geometry import layer_scan
from napari_ldseg.layers.straighten import straightened
from napari_ldseg.scans.files import read_scan

GREY = np.random.default_rng(0).integers(0, 255, (20, 24)).astype(np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 255, (20, 24, 3)).astype(np.uint8)
OPAQUE = np.full((20, 24, 1), 255, np.uint8)


@pytest.mark.parametrize(
    "array, channels",
    [
        (np.concatenate([COLOURS, OPAQUE], -1), True),
        (COLOURS, True),
        (np.stack([GREY] * 3, -1), False),
        (np.concatenate([np.stack([GREY] * 3, -1), OPAQUE], -1), False),
    ],
)
def test_a_layer_in_colour_is_the_scan_of_its_file(tmp_path, array, channels):
    Picture.fromarray(array).save(tmp_path / "x.png")
    scan, file = layer_scan(Image(array, rgb=True)), read_scan(tmp_path / "x.png")
    assert scan.channels is file.channels is channels and scan.shape == file.shape == (20, 24)
    np.testing.assert_array_equal(scan.array, file.array)


def test_a_stack_in_colour(tmp_path):
    array = np.stack([COLOURS, COLOURS[::-1]])
    assert layer_scan(Image(array, rgb=True)).channel_count == 3
    assert layer_scan(Image(array[..., [0, 0, 0]], rgb=True)).shape == (2, 20, 24)


@pytest.mark.parametrize("channels", [3, 4])
def test_straight_copies_of_layers_in_colour(channels):
    for array, rgb in [(COLOURS, True), (COLOURS[..., [0, 0, 0]], False)]:
        stack = np.stack([np.concatenate([array, OPAQUE], -1)[..., :channels]] * 3)
        layer = Image(stack, rgb=True, rotate=(0, 0, 10))
        assert straightened(layer).rgb is rgb
