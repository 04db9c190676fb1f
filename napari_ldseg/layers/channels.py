"""Layers that are the channels of one image: one each, or all as the first axis of one layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from napari.layers import Image

from ..scans.channels import frames_as_channels, numbered, stack_channels
from ..scans.scan import Scan
from .geometry import GEOMETRY_KEY, layer_geometry, layer_scan


def layers_scan(layers: Sequence[Image], like: Scan | None = None) -> Scan:
    """Return the scan of one layer, or that whose channels are ``layers``, in their order.

    It is named after the case if the layers' names are CASE_0000, CASE_0001, ... With ``like`` all layers
    count as being at its place.

    Raises
    ------
    LDSegError
        If the layers are not on one grid, or one of them is in colour.
    """
    scans = [layer_scan(layer) for layer in layers]
    if like is not None:
        scans = [replace(scan, affine=like.affine) for scan in scans]
    if len(scans) == 1:
        return scans[0]
    scan, part = stack_channels(scans), numbered(scans[0].name)
    return scan if part is None else replace(scan, name=part[0])


def holds_channels(layer: Image, channels: int, dims: int) -> bool:
    """Return whether the first axis of ``layer`` is that of a model's ``channels``: it has as many indices.

    The layer is 4D, such as a NIfTI file of x, y, z, channel, or, for a 2D model, a stack of 2D images that
    is not known to be a volume.
    """
    if layer.rgb or layer.multiscale or channels < 2 or layer.ndim < 3:
        return False
    if layer.data.shape[0] != channels:
        return False
    stored = layer.metadata.get(GEOMETRY_KEY)
    flat = stored is None or stored["scan"].flat
    return layer.ndim > 3 or (dims == 2 and flat)


def split_channels(layer: Image) -> list[Image]:
    """Return a layer for each index of the first axis of ``layer``, at its place, called NAME_0000, ..."""
    scan = layer_scan(layer)
    flat = scan.flat or layer.ndim == 3
    scan = frames_as_channels(replace(scan, flat=flat))
    attributes = layer_geometry(scan)
    if not np.allclose(_matrix(layer)[1:, 1:], _of(attributes)):
        attributes = {"affine": _matrix(layer)[1:, 1:], "units": layer.units[1:]}
    return [
        Image(
            np.asarray(scan.array[..., channel]),
            name=f"{layer.name}_{channel:04d}",
            colormap=layer.colormap,
            **attributes,
        )
        for channel in range(scan.channel_count)
    ]


def assign_channels(channels: Sequence[str], layers: Sequence[str], first: str) -> list[int | None]:
    """Return for each of a model's ``channels`` the index of the layer that its name stands for, or None.

    A layer's name is that of the channel, holds it as a word or at all, in any case, or is CASE_0000,
    CASE_0001, ... No layer is taken twice, and the layer or the case ``first`` goes first.
    """
    case = numbered(first)
    order = sorted(
        range(len(layers)),
        key=lambda i: (
            layers[i] != first,
            case is None or (numbered(layers[i]) or ("",))[0] != case[0],
        ),
    )
    found: list[int | None] = [None] * len(channels)
    for matches in _RULES:
        # The longest first, so that T1 does not take the layer of T1ce.
        for channel in sorted(range(len(channels)), key=lambda i: -len(channels[i])):
            if found[channel] is None:
                free = (i for i in order if i not in found)
                name = channels[channel].casefold()
                found[channel] = next(
                    (i for i in free if matches(name, layers[i].casefold())), None
                )
    for channel in range(len(channels)):
        if found[channel] is None and case is not None:
            free = (i for i in order if i not in found)
            found[channel] = next(
                (i for i in free if numbered(layers[i]) == (case[0], channel)), None
            )
    return found


_RULES: tuple[Callable[[str, str], Any], ...] = (
    lambda channel, layer: channel == layer,
    lambda channel, layer: re.search(rf"(?<![^\W_]){re.escape(channel)}(?![^\W_])", layer),
    lambda channel, layer: channel in layer,
)


def _matrix(layer: Image) -> np.ndarray:
    """Return the matrix from a layer's indices to the world."""
    ends = [np.array(layer.data_to_world(unit)) for unit in np.eye(layer.ndim)]
    origin = np.array(layer.data_to_world((0.0,) * layer.ndim))
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, :-1] = np.stack(ends, axis=1) - origin[:, None]
    matrix[:-1, -1] = origin
    return matrix


def _of(attributes: dict[str, Any]) -> np.ndarray:
    matrix = np.diag([*attributes["scale"], 1.0])
    matrix[:-1, -1] = attributes["translate"]
    return matrix
