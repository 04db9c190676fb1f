"""Tiles of an image that is larger than those a checkpoint was trained on: their geometry and weights.

All tiles are parts of one grid, the networks' grid extended over the image, and start at multiples of the
networks' stride, so that overlapping tiles have the same latent cells. A tile's window is what the
networks see: its content, which has the usual size of a training image, and where training images were
padded the same padding around it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..checkpoint.metadata import LargerImages, Metadata
from ..scans.scan import Scan
from .checks import is_larger, larger_images, on_grid, trained_sizes
from .orientation import orientation_change
from .preprocessing import GridMap, interpolate

# Near a tile's edge the SD of glas is too high, 2.2 times at the edge. With an overlap of 64, 80, 88 and 96 pixels the
# SD in its middle is 1.16, 1.07, 1.05 and 0.93 times that of the same pixels in a tile (benchmarks/large_images.py).
OVERLAP, MOST_OVERLAP = 11 / 32, 88  # of a tile's content, but no more voxels
SMALLER, LARGER = 0.8, 1.15  # a tile may be so much smaller or larger than usual to cover the image
LEAST_WEIGHT = 1e-3

Span = tuple[int, ...]


@dataclass(frozen=True)
class Tile:
    """A tile's content on the grid: ``start`` inclusive, ``stop`` exclusive, per axis."""

    start: Span
    stop: Span

    @property
    def size(self) -> Span:
        """The size of the content."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class TileGrid:
    """The grid of an image's tiles.

    Attributes
    ----------
    mapping
        From the image's grid to the complete grid and back, without padding.
    content, window, before
        Size of a tile's content and of its window, and the window's voxels before the content, per axis;
        ``window`` and ``before`` are multiples of ``stride``.
    overlap
        Voxels that neighbouring tiles share per axis, at least.
    stride
        Voxels per latent cell.
    padding
        How the rest of the window is filled: ``"constant"`` with 0, or ``"replicate"``.
    method
        ``"tile"`` or ``"find"``, see ``checkpoint.metadata.Metadata``.
    """

    mapping: GridMap
    content: Span
    window: Span
    before: Span
    overlap: Span
    stride: int
    padding: str
    method: LargerImages

    def tiles(self, share: float | None = None) -> list[Tile]:
        """Return tiles that cover the grid, with the usual overlap or ``share`` of their content."""
        per_axis = []
        sizes = zip(self.mapping.inner, self.content, self.overlap, strict=True)
        for length, content, usual in sizes:
            overlap = math.ceil((share or 0) * content) or usual
            per_axis.append(_spans(length, content, overlap, self.stride))
        return [
            Tile(tuple(a for a, _ in spans), tuple(b for _, b in spans))
            for spans in itertools.product(*per_axis)
        ]

    def tile_around(self, centre: Sequence[float] | np.ndarray) -> Tile:
        """Return the tile with its content's centre nearest to ``centre``, inside the grid."""
        start = []
        for middle, content, length in zip(centre, self.content, self.mapping.inner, strict=True):
            cell = round((middle - content / 2) / self.stride)
            last = max(0, math.ceil((length - content) / self.stride))
            start.append(self.stride * min(max(cell, 0), last))
        stop = (
            min(a + n, m) for a, n, m in zip(start, self.content, self.mapping.inner, strict=True)
        )
        return Tile(tuple(start), tuple(stop))

    def first_cell(self, tile: Tile) -> Span:
        """Return the latent cell of the complete grid at which the tile's window starts, per axis."""
        return tuple((a - b) // self.stride for a, b in zip(tile.start, self.before, strict=True))

    def in_window(self, tile: Tile) -> tuple[slice, ...]:
        """Return the place of the tile's content in its window."""
        return tuple(slice(b, b + n) for b, n in zip(self.before, tile.size, strict=True))

    def fill_window(self, content: np.ndarray) -> Tensor:
        """Return (channels, *window) from (channels, *content size), float32."""
        pads = [
            (before, window - before - n)
            for before, window, n in zip(self.before, self.window, content.shape[1:], strict=True)
        ]
        flat = [n for pair in reversed(pads) for n in pair]
        tensor = torch.from_numpy(np.ascontiguousarray(content))
        return F.pad(tensor[None], flat, mode=self.padding)[0]

    def weights(self, tile: Tile) -> Tensor:
        """Return the weight of each voxel of the tile's content, float32, LEAST_WEIGHT to 1.

        It rises as a squared sine over the overlap, so that two tiles' weights add up to 1.
        """
        product = torch.ones(())
        for n, overlap in zip(tile.size, self.overlap, strict=True):
            place = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5)
            ramp = np.sin(np.pi / 2 * np.minimum(place / overlap, 1)) ** 2
            axis = torch.from_numpy(np.maximum(ramp, LEAST_WEIGHT).astype(np.float32))
            product = product[..., None] * axis
        return product

    def nearest_first(self, tiles: Iterable[Tile], centre: Sequence[float]) -> list[Tile]:
        """Return the tiles in rows along the first axis of the image, the rows nearest to ``centre`` first.

        ``centre`` is in voxels of the image. Complete rows follow each other, so that the part of the
        image between them is finished early.
        """
        places = {tile: image_part(self.mapping, tile) for tile in tiles}

        def order(tile: Tile) -> tuple[float, ...]:
            middle = [(s.start + s.stop) / 2 for s in places[tile]]
            return abs(middle[0] - centre[0]), middle[0], math.dist(middle[1:], centre[1:])

        return sorted(places, key=order)


def tile_grid(metadata: Metadata, scan: Scan, always: bool = False) -> TileGrid | None:
    """Return the grid for tiles of ``scan``; None if it is not far larger than the training images.

    With ``always``, also return it for smaller scans, if the checkpoint uses tiles at all.
    """
    method = larger_images(metadata)
    if method == "resize":
        return None
    dims, arch, grid = metadata.architecture.dims, metadata.architecture, metadata.grid
    order, flips = orientation_change(metadata, scan.affine)
    sizes = trained_sizes(metadata, scan)
    if sizes is None or not (always or is_larger(metadata, scan)):
        return None
    lengths, smallest, largest = sizes
    usual: Sequence[float] = [(a + b) / 2 for a, b in zip(smallest, largest, strict=True)]
    stride = arch.stride
    if grid.size is not None:
        content = window = tuple(grid.size)
        inner = tuple(
            max(1, round(n * size / u))
            for n, size, u in zip(lengths, grid.size, usual, strict=True)
        )
    else:
        inner = on_grid(metadata, scan)
        if metadata.field_of_view is not None:
            usual = [u / s for u, s in zip(usual, grid.spacing or (), strict=True)]
        content = tuple(math.ceil(u / stride - 1e-6) * stride for u in usual)
        window = tuple(
            math.ceil(max(n, m) / stride) * stride
            for n, m in zip(content, grid.minimum_size or content, strict=True)
        )
    overlap = tuple(_overlap(n, stride) for n in content)
    if grid.size is None and window == content:
        content = window = tuple(
            _fitted(length, n, shared, stride)
            for length, n, shared in zip(inner, content, overlap, strict=True)
        )
    before = tuple((w - n) // 2 // stride * stride for w, n in zip(window, content, strict=True))
    padding = "replicate" if window == content else "constant"
    shape = tuple(scan.shape[len(scan.shape) - dims :])
    mapping = GridMap(order, flips, shape, inner, ((0, 0),) * dims, grid.resampling)
    return TileGrid(mapping, content, window, before, overlap, stride, padding, method)


def read_part(mapping: GridMap, image: Any, tile: Tile) -> np.ndarray:
    """Return the tile's content of ``image`` (channels, *space), float32 (channels, *tile.size).

    Reads only the part of ``image`` that is needed. Equals the part of ``mapping.image_to_grid(image)``.
    """
    ranges, places, sigmas = [], [], []
    for axis, (start, stop) in enumerate(zip(tile.start, tile.stop, strict=True)):
        places.append(mapping.positions_on_image(axis)[start:stop])
        sigmas.append(mapping.smoothing(axis))
        reach = math.ceil(4 * sigmas[-1]) + 1
        n = mapping.oriented_shape[axis]
        low = max(0, int(places[-1][0]) - reach)
        ranges.append((low, min(n, math.ceil(places[-1][-1]) + reach + 1)))
    part = np.asarray(image[(slice(None), *mapping.on_image(ranges))])
    part = mapping.orient(part).astype(np.float32)
    if any(sigmas):
        part = ndimage.gaussian_filter(part, (0.0, *sigmas), mode="nearest")
    values = torch.from_numpy(np.ascontiguousarray(part))
    for axis, (where, (low, _)) in enumerate(zip(places, ranges, strict=True), start=1):
        values = interpolate(values, axis, where - low)
    return values.numpy()


def image_part(mapping: GridMap, tile: Tile) -> tuple[slice, ...]:
    """Return the voxels of the image that the tile's content covers."""
    return mapping.on_image([_covered(mapping, axis, tile) for axis in range(len(tile.start))])


def restore_part(mapping: GridMap, values: Tensor, tile: Tile) -> Tensor:
    """Resample (channels, *tile.size) to the voxels of ``image_part``, linearly."""
    for axis in range(len(tile.start)):
        low, high = _covered(mapping, axis, tile)
        places = mapping.positions_on_grid(axis)[low:high] - tile.start[axis]
        values = interpolate(values, axis + 1, np.clip(places, 0, tile.size[axis] - 1))
    return mapping.orient_back(values)


def _covered(mapping: GridMap, axis: int, tile: Tile) -> tuple[int, int]:
    """Return the range of the image's voxels, in the grid's orientation, that are inside the tile."""
    edges = np.array([tile.start[axis] - 0.5, tile.stop[axis] - 0.5])
    low, high = np.searchsorted(mapping.positions_on_grid(axis), edges)
    return int(low), int(high)


def _overlap(content: int, stride: int) -> int:
    """Return the overlap of tiles in voxels, at least two latent cells where the content allows it."""
    usual = min(math.ceil(OVERLAP * content), MOST_OVERLAP)
    return min(content // 2, max(2 * stride, usual))


def _spans(length: int, content: int, overlap: int, stride: int) -> list[tuple[int, int]]:
    """Return (start, stop) of evenly spaced tiles along one axis, at multiples of the stride."""
    if length <= content:
        return [(0, length)]
    last = math.ceil((length - content) / stride)
    count = math.ceil((length - overlap) / (content - overlap))
    starts = [last * k // (count - 1) * stride for k in range(count)]
    return [(start, min(start + content, length)) for start in starts]


def _fitted(length: int, content: int, overlap: int, stride: int) -> int:
    """Return the size of the fewest tiles that cover ``length``, SMALLER to LARGER times the usual one."""
    count = max(1, math.ceil((length - overlap) / (LARGER * content - overlap)))
    needed = math.ceil((length + (count - 1) * overlap) / count / stride) * stride
    return max(needed, math.ceil(SMALLER * content / stride) * stride)
