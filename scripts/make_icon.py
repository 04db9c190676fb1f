"""Draw the plugin's icon: an outlined structure with a halo where its border is uncertain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.io import imsave

SIZE, OVERSAMPLING = 128, 4


def draw() -> np.ndarray:
    """Return the icon, RGBA uint8 (SIZE, SIZE, 4)."""
    n = SIZE * OVERSAMPLING
    y, x = (np.mgrid[:n, :n] + 0.5) / n * 2 - 1
    corner = np.maximum(np.abs(x), np.abs(y)) ** 8 + np.minimum(np.abs(x), np.abs(y)) ** 8
    inside = (corner < 0.9).astype(float)
    radius = np.hypot(x, y * 0.85)
    border = 0.52 + 0.06 * np.sin(3 * np.arctan2(y, x) + 0.6)
    width = 0.05 + 0.09 * (1 + np.cos(np.arctan2(y, x) + 0.8))
    halo = np.exp(-(((radius - border) / width) ** 2))[..., None]
    body = (radius < border)[..., None]
    colour = np.array([24, 26, 34]) * np.ones((n, n, 1))
    colour = np.where(body, 0.45 * colour + 0.55 * np.array([66, 212, 244]), colour)
    colour = colour * (1 - halo) + np.array([252, 165, 40]) * halo
    rgba = np.dstack([colour, 255 * inside])
    small = rgba.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING, 4).mean((1, 3))
    return small.round().astype(np.uint8)


if __name__ == "__main__":
    path = Path(__file__).resolve().parents[1] / "napari_ldseg" / "icon.png"
    imsave(path, draw(), check_contrast=False)
