"""A pen for the true edge of a class: when a line ends, both of its sides follow.

As with the threshold brush, napari's own brush calls the layer's public ``paint`` along a stroke; while the
pen is in the hand, it is replaced by one that writes single voxels and keeps the way. The rest is written when
the button is released, before napari ends the stroke, so that one undo takes all of it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels

from ...correction.border import redraw_border
from ...correction.change import Part
from ..common.qt import existing

REVIEWED = Callable[[tuple[slice | np.ndarray, ...]], np.ndarray]


class BorderPen:
    """Replaces the painting of one layer, from ``attach`` to ``detach``. Lives in the GUI thread.

    Parameters
    ----------
    drawn
        Called after a line with the number of voxels that changed.
    """

    def __init__(self, drawn: Callable[[int], object]):
        self._drawn = drawn
        self._reviewed: REVIEWED | None = None
        self._way: list[tuple[int, ...]] = []
        self._size = 0
        self.layer: Labels | None = None

    def attach(self, layer: Labels, reviewed: REVIEWED | None) -> None:
        """Take the pen for ``layer``; voxels that are ``reviewed`` change only under the line itself."""
        self.detach()
        if "paint" in vars(layer):
            layer.mode = "pan_zoom"  # puts the threshold brush away
        layer.mode = "paint"
        self.layer, self._reviewed = layer, reviewed
        self._size, layer.brush_size = layer.brush_size, 1
        layer.paint = self._paint
        # Before napari's own callback, so that the change is part of the stroke that this ends.
        layer.mouse_drag_callbacks.insert(0, self._stroke)
        layer.events.mode.connect(self._on_mode)

    def detach(self) -> None:
        """Restore the layer's own painting and the brush's size."""
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.events.mode.disconnect(self._on_mode)
            layer.mouse_drag_callbacks.remove(self._stroke)
            del layer.paint
            layer.brush_size = self._size

    def _on_mode(self, event: Any = None) -> None:
        if existing(self.layer).mode != "paint":
            self.detach()

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        layer = existing(self.layer)
        voxel = tuple(int(i) for i in np.round(coord))
        if all(0 <= i < n for i, n in zip(voxel, layer.data.shape, strict=True)):
            self._way.append(voxel)
            layer.data_setitem(tuple(np.array([i]) for i in voxel), new_label, refresh)

    def _stroke(self, layer: Labels, event: Any) -> Iterator[None]:
        """Follow a line from the press of the button to its release."""
        self._way = []
        shown = [axis - len(event.position) + layer.ndim for axis in sorted(event.dims_displayed)]
        start = np.round(layer.world_to_data(event.position)[-layer.ndim :]).astype(int)
        fixed = [axis for axis in range(layer.ndim) if axis not in shown]
        if len(shown) != 2 or not all(0 <= start[axis] < layer.data.shape[axis] for axis in fixed):
            return
        part = Part(tuple(int(i) if axis in fixed else slice(None) for axis, i in enumerate(start)))
        before, value = part.of(layer.data).copy(), int(layer.selected_label)
        yield
        while event.type == "mouse_move":
            yield
        if self.layer is not None and len(set(self._way)) > 1:
            points = np.array(self._way, float)[:, shown]
            change = part.to_full(redraw_border(before, points, value))
            voxels, after = change.indices, change.after
            if self._reviewed is not None:
                free = ~self._reviewed(voxels)
                voxels, after = tuple(i[free] for i in voxels), after[free]
            self.layer.data_setitem(voxels, after)
            self._drawn(int(np.count_nonzero(part.of(self.layer.data) != before)))
