"""Moving the view to a place in a layer: slice, centre and zoom."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from ..common.layers import unwrapped

VIEW_SHARE = 0.35  # of the canvas that the place fills
LEAST_VOXELS = 32  # on the canvas: more context than the place alone


def go_to(viewer: ViewerModel, layer: Layer, peak: tuple[int, ...], box: tuple[slice, ...]) -> None:
    """Show the slice of ``layer`` through the voxel ``peak``, with ``box`` in the middle of the canvas."""
    viewer = unwrapped(viewer)
    world = np.asarray(layer.data_to_world(peak))
    point = list(viewer.dims.point)
    point[-len(world) :] = world
    viewer.dims.point = point
    low, high = (
        np.asarray(layer.data_to_world([getattr(s, end) - 0.5 for s in box]))
        for end in ("start", "stop")
    )
    offset = viewer.dims.ndim - len(world)
    shown = [axis - offset for axis in viewer.dims.displayed if axis >= offset]
    camera = camera_of(viewer)
    middle = (low + high) / 2
    camera.center = tuple(middle[axis] for axis in shown)
    extent = max((abs(high[a] - low[a]) for a in shown[-2:]), default=1.0)
    voxel = min(abs(float(layer.scale[a])) for a in shown[-2:])
    visible = max(extent / VIEW_SHARE, LEAST_VOXELS * voxel)
    camera.zoom = min(_canvas_size(viewer)) / max(visible, 1e-9)


def camera_of(viewer: ViewerModel) -> Any:
    """Return the camera; newer versions of napari have it in the scene."""
    scene = getattr(viewer, "scene", None)
    return getattr(scene, "camera", None) or viewer.camera


def _canvas_size(viewer: ViewerModel) -> tuple[int, int]:
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    return tuple(canvas.size) if canvas is not None else (600, 800)
