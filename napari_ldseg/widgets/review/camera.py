"""Moving the view to a place in a layer: slice, centre and zoom."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from ..common.canvas import camera_of, canvas_size
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
    camera.zoom = min(canvas_size(viewer)) / max(visible, 1e-9)
