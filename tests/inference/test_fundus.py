"""Fundus photographs: the field of view and the networks' intensities."""

import numpy as np
from scipy.ndimage import binary_dilation

from napari_ldseg.inference.fundus import field_of_view, standardised_fundus


def photograph(brightness: float = 1.0, surround: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """A round field with a dark vessel to its rim, and where it is."""
    rows, columns = np.mgrid[:200, :220]
    disc = (rows - 100) ** 2 + (columns - 110) ** 2 < 90**2
    image = np.full((200, 220, 3), surround, np.uint8)
    shade = (100 + 20 * np.sin(columns / 9.0)) * brightness
    image[disc] = (shade[..., None] * [1.4, 0.8, 0.3])[disc].astype(np.uint8)
    vessel = disc & (abs(rows - 94) < 4) & (columns < 110)
    image[vessel] = int(15 * brightness)
    return image, disc


def test_the_field_of_view_has_the_vessels_at_its_rim_and_not_the_surround():
    image, disc = photograph()
    found = field_of_view(image)
    assert (found & disc).sum() > 0.99 * disc.sum()
    assert not (found & ~binary_dilation(disc, iterations=3)).any()


def test_a_photograph_without_surround_is_all_field_of_view():
    image, _ = photograph()
    assert field_of_view(image[60:140, 120:150]).all()
    assert field_of_view(np.zeros((20, 20, 3), np.uint8)).all()


def test_darker_photographs_and_their_surround_look_the_same_to_the_networks():
    bright, disc = photograph()
    dark, _ = photograph(brightness=0.6, surround=0)
    first, second = standardised_fundus(bright, disc), standardised_fundus(dark, disc)
    assert first.shape == (3, 200, 220)
    assert np.abs(first).max() <= 1
    assert (first[:, ~disc] == 0).all()
    assert np.abs(first - second)[:2].max() < 0.15
