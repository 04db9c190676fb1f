"""Clicks on the pieces of a labels layer, in the 2D and the 3D view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels

Index = tuple[int, ...]
CLICK_PIXELS = 4  # a click may move this far; a drag moves further


class PieceClick:
    """Calls ``clicked`` with the voxel under each click on a layer, from ``attach`` to ``detach``.

    The voxel is None where there is none. Dragging moves the camera as usual.
    """

    def __init__(self, clicked: Callable[[Index | None], None]):
        self.layer: Labels | None = None
        self._clicked = clicked

    def attach(self, layer: Labels) -> None:
        """Listen to clicks on ``layer``."""
        self.detach()
        layer.mode = "pan_zoom"
        layer.mouse_drag_callbacks.append(self._on_mouse)
        layer.cursor = "cross"
        self.layer = layer

    def detach(self) -> None:
        """Stop listening."""
        if self.layer is not None:
            self.layer.mouse_drag_callbacks.remove(self._on_mouse)
            if self.layer.mode == "pan_zoom":
                self.layer.cursor = "standard"
            self.layer = None

    def _on_mouse(self, layer: Labels, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        index, start = voxel_under(layer, event), np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - start).max() <= CLICK_PIXELS:
            self._clicked(index)


def voxel_under(layer: Labels, event: Any) -> Index | None:
    """Return the voxel at a mouse event; in 3D the first labelled voxel on the line of sight."""
    displayed = list(event.dims_displayed)
    if len(displayed) == 2:
        return _inside(layer, np.asarray(layer.world_to_data(event.position)))
    start, end = layer.get_ray_intersections(event.position, event.view_direction, displayed)
    if start is None or end is None:
        return None
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    steps = int(np.ceil(2 * np.linalg.norm(end - start))) + 2
    points = np.linspace(start, end, steps)
    voxels = np.clip(np.rint(points).astype(int), 0, np.array(layer.data.shape) - 1)
    hit = np.flatnonzero(layer.data[tuple(voxels.T)])
    return tuple(int(i) for i in voxels[hit[0]]) if len(hit) else None


def _inside(layer: Labels, position: np.ndarray) -> Index | None:
    index = tuple(int(i) for i in np.rint(position[-layer.ndim :]))
    return index if all(0 <= i < n for i, n in zip(index, layer.data.shape, strict=True)) else None
