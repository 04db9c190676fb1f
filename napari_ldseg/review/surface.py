"""The surface of a label map in 3D, with a map's value at each of its corners."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..correction.change import bounding_box

HALF = 0.5  # the surface is half way between a voxel of the class and its neighbour


def label_surface(
    labels: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the surfaces of all foreground classes as one mesh.

    Each class has a closed surface of its own, also at the image's border; where two classes touch, both
    surfaces are there.

    Parameters
    ----------
    labels
        Integer, (z, y, x), 0 is background.
    values
        What the surface shows, of the same shape: interpolated linearly.

    Returns
    -------
    vertices, faces, vertex_values
        float32 (V, 3) in voxels, whose centres have whole numbers; int (F, 3); float32 (V,). All empty if
        there is no class.
    """
    from skimage.measure import marching_cubes

    parts: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        box = bounding_box(mask)
        assert box is not None
        padded = np.pad(mask[box], 1).astype(np.float32)
        vertices, faces, *_ = marching_cubes(padded, HALF)
        vertices += [s.start - 1 for s in box]
        parts.append((vertices, faces + count))
        count += len(vertices)
    if not parts:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), int), np.zeros(0, np.float32)
    vertices, faces = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    at_vertices = ndimage.map_coordinates(
        values.astype(np.float32), vertices.T, order=1, mode="nearest"
    )
    return vertices.astype(np.float32), faces, at_vertices
