"""The size of a picture's pixels where the user gives it: its layers are in mm from then on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from napari.layers import Image, Labels, Layer

from .geometry import GEOMETRY_KEY, grid_of, layer_scan, scan_without_array

ENTERED_KEY = "napari_ldseg_pixel_size"  # mm, on layers whose size the user gave


def needs_pixel_size(layer: Layer) -> bool:
    """Return whether the pixel size of ``layer`` is the user's to give: it is unknown, or was given."""
    return ENTERED_KEY in layer.metadata or not layer_scan(layer).calibrated


def may_be_clip(layer: Layer) -> bool:
    """Return whether only the user knows if the first of the last three axes is time or space."""
    stored = layer.metadata.get(GEOMETRY_KEY)
    from_file = stored is not None and stored["scan"].source is not None
    return layer.ndim == 3 and not from_file and not layer_scan(layer).calibrated


def is_flat(layer: Layer) -> bool:
    """Return whether ``layer`` is a 2D image, or such over time."""
    return layer_scan(layer).space == 2


def set_clip(layers: Iterable[Layer], clip: bool) -> None:
    """Take the first of three axes of ``layers`` for time, or with ``clip`` false for space again."""
    for layer in layers:
        if isinstance(layer, Image | Labels):
            scan = replace(scan_without_array(layer_scan(layer)), flat=clip)
            # Without a place, so that the layer's own one counts.
            layer.metadata[GEOMETRY_KEY] = {"scan": scan, "scale": (), "translate": ()}


def set_pixel_size(layers: Sequence[Layer], mm: float) -> float:
    """Give the pixels of 2D ``layers`` the size ``mm``; return the factor by which lengths have grown.

    The first layer is the image, the others are as ``layers_over`` gives them. All grow about the origin of the
    world, so that nothing moves against the image.
    """
    factor = mm / layer_scan(layers[0]).spacing[2]
    for layer in layers:
        frames = layer.ndim - 2
        factors = np.array([1.0] * frames + [factor] * 2)
        stored = layer.metadata.get(GEOMETRY_KEY)
        scan = layer_scan(layer) if stored is not None else None
        affine = np.array(layer.affine.affine_matrix)
        affine[:-1, -1] *= factors
        scale, translate = layer.scale * factors, layer.translate * factors
        layer.units = (*layer.units[:frames], "mm", "mm")
        layer.affine, layer.translate, layer.scale = affine, translate, scale
        layer.metadata[ENTERED_KEY] = mm
        if scan is not None:
            grown = np.diag([factor] * 3 + [1.0]) @ scan.affine
            scan = replace(scan_without_array(scan), affine=grown, calibrated=True)
            place = {"scale": tuple(map(float, scale)), "translate": tuple(map(float, translate))}
            layer.metadata.update({"affine": grown, GEOMETRY_KEY: {"scan": scan, **place}})
    return factor


def layers_over(image: Layer, layers: Iterable[Layer]) -> list[Layer]:
    """Return ``image`` and those of ``layers`` that belong to it: on its grid, or drawn in its pixels."""
    grid, entered = grid_of(image), image.metadata.get(ENTERED_KEY)
    own = [image]
    for layer in layers:
        if isinstance(layer, Image | Labels):
            belongs = grid_of(layer) == grid
        else:
            drawn = all(unit == "pixel" for unit in map(str, layer.units[-2:]))
            belongs = layer.metadata.get(ENTERED_KEY) == entered if entered else drawn
        if belongs and layer is not image:
            own.append(layer)
    return own
