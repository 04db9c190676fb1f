"""What the viewer shows of a layer: the order of its axes, the slice, the voxel."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from ...errors import LDSegError
from ...layers.straighten import is_oblique


class View:
    """The viewer's dimensions in terms of a layer's own axes, of which the last three are spatial."""

    def __init__(self, viewer: ViewerModel):
        self._dims = viewer.dims

    @property
    def in_3d(self) -> bool:
        """Whether the 3D view is on."""
        return self._dims.ndisplay == 3

    def axes(self, layer: Layer) -> list[int]:
        """Return the layer's axes in the viewer's order, the displayed ones last."""
        offset = self._dims.ndim - layer.ndim
        return [d - offset for d in self._dims.order if d >= offset]

    def slice_axis(self, layer: Layer) -> int | None:
        """Return the spatial axis along which the slices shown are stacked, if exactly one is hidden."""
        hidden = [axis for axis in self.axes(layer)[:-2] if axis >= layer.ndim - 3]
        return hidden[0] if len(hidden) == 1 else None

    def is_oblique(self, layer: Layer) -> bool:
        """Return whether the 2D view cuts obliquely through the layer's own slices."""
        return not self.in_3d and is_oblique(layer, self.axes(layer)[-2:])

    def position(self, layer: Layer) -> tuple[int, ...]:
        """Return the layer's voxel at the viewer's current point.

        Raises
        ------
        LDSegError
            If the slice or frame shown is outside the layer.
        """
        point = np.asarray(layer.world_to_data(self._dims.point))[-layer.ndim :]
        index = np.rint(point).astype(int)
        limits = np.array(layer.data.shape[: layer.ndim]) - 1
        hidden = self.axes(layer)[: -self._dims.ndisplay]
        if any(not 0 <= index[a] <= limits[a] for a in hidden):
            raise LDSegError(f"The slice shown is outside {layer.name}; go to a slice inside it.")
        return tuple(int(i) for i in np.clip(index, 0, limits))

    def go_to(self, layer: Layer, axis: int, position: int) -> None:
        """Show the slice of the layer at ``position`` along ``axis``."""
        index = list(self.position(layer))
        index[axis] = position
        self._dims.set_point(self._dims.ndim - layer.ndim + axis, layer.data_to_world(index)[axis])
