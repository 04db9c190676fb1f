"""Straight copies of oblique layers in the viewer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer

from ...layers.straighten import straightened
from ..common.layers import tolerate_cursor


def straighten(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Add a straight copy of each layer, hide the originals, and show and select the last copy."""
    copies = [straightened(layer) for layer in layers]
    for layer, copy in zip(layers, copies, strict=True):
        copy.visible, layer.visible = layer.visible, False
        tolerate_cursor(lambda copy=copy: viewer.add_layer(copy))
    viewer.layers.selection.active = copies[-1]
    viewer.reset_view()
    centre = np.mean(copies[-1].extent.world, axis=0)
    viewer.dims.point = (*viewer.dims.point[: -len(centre)], *centre)
