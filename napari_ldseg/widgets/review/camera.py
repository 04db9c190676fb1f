"""Moving the view to a place in a layer: slice, centre and zoom."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from ..common.canvas import camera_of, canvas_size
from ..common.layers import unwrapped

VIEW_SHARE = 0.35  # of the canvas that the place fills after zooming
SEEN_SHARE = 0.08  # of the canvas: a smaller place is zoomed to
LEAST_VOXELS = 32  # on the canvas: more context than the place alone


def go_to(viewer: ViewerModel, layer: Layer, peak: tuple[int, ...], box: tuple[slice, ...]) -> None:
    """Show the slice of ``layer`` through the voxel ``peak``, with ``box`` on the canvas.

    The view is moved only if the box is not all on the canvas or is too small to be seen well: moving costs
    orientation, and a close view cuts off long strokes.
    """
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
    size = np.asarray(canvas_size(viewer))[-2:]
    half = np.array([abs(high[a] - low[a]) / 2 for a in shown[-2:]])
    away = np.abs([middle[a] - c for a, c in zip(shown[-2:], camera.center[-2:], strict=True)])
    all_there = bool(np.all((away + half) * camera.zoom <= size / 2))
    if all_there and 2 * half.max() * camera.zoom >= SEEN_SHARE * min(size):
        return
    camera.center = tuple(middle[axis] for axis in shown)
    extent = max((abs(high[a] - low[a]) for a in shown[-2:]), default=1.0)
    voxel = min(abs(float(layer.scale[a])) for a in shown[-2:])
    visible = max(extent / VIEW_SHARE, LEAST_VOXELS * voxel)
    camera.zoom = min(canvas_size(viewer)) / max(visible, 1e-9)
