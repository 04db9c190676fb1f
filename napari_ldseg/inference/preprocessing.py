"""Mapping from an image's grid to the networks' grid and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from skimage.transform import resize
from torch import Tensor

from ..checkpoint.metadata import MAX_GRID_VOXELS, Metadata
from ..errors import LDSegError
from .fundus import fundus_intensities
from .orientation import orientation_change

LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class GridMap:
    """The mapping from one image's grid to the networks' grid and back.

    All arrays are channels-first: (channels, *space). ``order`` and ``flips`` reorient the axes of the
    image with spatial ``shape``, ``inner`` is the resampled size, ``pads`` the (before, after) padding
    per axis, ``resampling`` as in ``metadata.Grid``.
    """

    order: tuple[int, ...]
    flips: tuple[int, ...]
    shape: tuple[int, ...]
    inner: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    resampling: str = "linear"

    @property
    def size(self) -> tuple[int, ...]:
        """Size of the networks' grid."""
        return tuple(
            n + before + after for n, (before, after) in zip(self.inner, self.pads, strict=True)
        )

    @property
    def content(self) -> tuple[slice, ...]:
        """The part of the networks' grid that is not padding."""
        return tuple(
            slice(before, before + n) for n, (before, _) in zip(self.inner, self.pads, strict=True)
        )

    def image_to_grid(self, image: np.ndarray) -> np.ndarray:
        """Reorient and resample (channels, *shape) to (channels, *inner), float32, without padding."""
        oriented = self.orient(image).astype(np.float32)
        if oriented.shape[1:] == self.inner:
            return oriented
        if self.resampling == "nearest":
            return oriented[np.ix_(np.arange(len(oriented)), *self._nearest())]
        if self.resampling == "corners":
            factors = [m / n for m, n in zip(self.inner, oriented.shape[1:], strict=True)]
            return np.stack(
                [zoom(channel, factors, order=1, mode="nearest") for channel in oriented]
            )
        return np.stack(
            [
                resize(channel, self.inner, order=1, mode="edge", preserve_range=True)
                for channel in oriented
            ]
        )

    def label_to_grid(self, label: np.ndarray, classes: int) -> np.ndarray:
        """Resample a label image (*shape) by its interpolated one-hot channels; pad it with 0."""
        one_hot = np.arange(classes).reshape(-1, *(1,) * label.ndim) == label
        return self.pad(self.image_to_grid(one_hot).argmax(0)[None].astype(np.uint8))[0]

    def pad(self, image: np.ndarray) -> np.ndarray:
        """Pad (channels, *inner) to ``size`` with zeros."""
        return np.pad(image, ((0, 0), *self.pads))

    def restore(self, values: Tensor) -> Tensor:
        """Resample (channels, *size) linearly to the image's grid (channels, *shape)."""
        for axis, (before, after) in enumerate(self.pads, start=1):
            values = values.narrow(axis, before, values.shape[axis] - before - after)
        oriented = self.oriented_shape
        if self.resampling != "linear":
            for axis, positions in enumerate(self._positions(), start=1):
                values = interpolate(values, axis, positions)
        elif oriented != self.inner:
            mode = LINEAR[len(oriented)]
            values = F.interpolate(values[None], size=oriented, mode=mode, align_corners=False)[0]
        return self.orient_back(values)

    @property
    def oriented_shape(self) -> tuple[int, ...]:
        """The image's shape with the axes of the networks' grid."""
        return tuple(self.shape[axis] for axis in self.order)

    def positions_on_image(self, axis: int) -> np.ndarray:
        """Return the position on the oriented image of each voxel of ``inner`` along ``axis``, in voxels."""
        n, m = self.oriented_shape[axis], self.inner[axis]
        if self.resampling == "nearest":
            return self._nearest()[axis].astype(float)
        if self.resampling == "corners":
            return np.linspace(0, n - 1, m)
        return np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)

    def positions_on_grid(self, axis: int) -> np.ndarray:
        """Return the position in ``inner`` of each voxel of the oriented image along ``axis``."""
        if self.resampling != "linear":
            return self._positions()[axis]
        n, m = self.oriented_shape[axis], self.inner[axis]
        return np.clip((np.arange(n) + 0.5) * (m / n) - 0.5, 0, m - 1)

    def smoothing(self, axis: int) -> float:
        """Return the SD in voxels of the low-pass filter along ``axis`` before the image is made smaller."""
        shrinks = self.resampling == "linear"
        return max(0.0, (self.oriented_shape[axis] / self.inner[axis] - 1) / 2) if shrinks else 0.0

    def on_image(self, ranges: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
        """Return the image's slices for (start, stop) along each axis of the oriented image."""
        slices = [slice(0)] * len(ranges)
        for axis, flip, (start, stop) in zip(self.order, self.flips, ranges, strict=True):
            n = self.shape[axis]
            slices[axis] = slice(start, stop) if flip > 0 else slice(n - stop, n - start)
        return tuple(slices)

    def _nearest(self) -> list[np.ndarray]:
        """Return for each axis the index of the image's voxel that each voxel of the grid takes."""
        sizes = zip(self.oriented_shape, self.inner, strict=True)
        return [np.minimum((np.arange(m) * (1 / (m / n))).astype(int), n - 1) for n, m in sizes]

    def _positions(self) -> list[np.ndarray]:
        """Return for each axis the position of each voxel of the image on the grid, in grid voxels."""
        if self.resampling == "corners":
            sizes = zip(self.oriented_shape, self.inner, strict=True)
            return [np.linspace(0, m - 1, n) for n, m in sizes]
        positions = []
        for n, nearest in zip(self.oriented_shape, self._nearest(), strict=True):
            voxels, first, count = np.unique(nearest, return_index=True, return_counts=True)
            # Several grid voxels may take the same voxel of the image: its position is their centre.
            positions.append(np.interp(np.arange(n), voxels, first + (count - 1) / 2))
        return positions

    def orient(self, image: np.ndarray) -> np.ndarray:
        """Return (channels, *space of the image) with the axes of the networks' grid."""
        image = image.transpose(0, *(axis + 1 for axis in self.order))
        for axis, flip in enumerate(self.flips, start=1):
            image = np.flip(image, axis) if flip < 0 else image
        return image

    def orient_back(self, values: Tensor) -> Tensor:
        """Undo ``orient``."""
        flipped = [axis for axis, flip in enumerate(self.flips, start=1) if flip < 0]
        values = values.flip(flipped) if flipped else values
        return values.permute(0, *(int(axis) + 1 for axis in np.argsort(self.order)))


def interpolate(values: Tensor, axis: int, positions: np.ndarray) -> Tensor:
    """Return ``values`` at real-valued ``positions`` along ``axis``, linearly interpolated."""
    if np.array_equal(positions, np.arange(values.shape[axis])):
        return values
    before = np.minimum(positions.astype(int), max(values.shape[axis] - 2, 0))
    after = np.minimum(before + 1, values.shape[axis] - 1)
    shape = [-1 if a == axis else 1 for a in range(values.ndim)]
    fraction = torch.from_numpy((positions - before).astype(np.float32)).to(values).reshape(shape)
    low, high = (
        values.index_select(axis, torch.from_numpy(i).to(values.device)) for i in (before, after)
    )
    return torch.lerp(low, high, fraction)


def grid_map(metadata: Metadata, shape: tuple[int, ...], affine: np.ndarray) -> GridMap:
    """Return the mapping for an image of spatial ``shape`` with the 4x4 ``affine`` of its last axes.

    Raises
    ------
    LDSegError
        If the networks' grid would be too large.
    """
    dims = metadata.architecture.dims
    order, flips = orientation_change(metadata, affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[-dims:]
    oriented = tuple(shape[axis] for axis in order)
    grid = metadata.grid
    if grid.size is not None:
        inner = tuple(grid.size)
        if grid.keep_shape:
            factor = min(m / n for m, n in zip(inner, oriented, strict=True))
            inner = tuple(max(1, round(n * factor)) for n in oriented)
    else:
        extent = [n * spacing[axis] for n, axis in zip(oriented, order, strict=True)]
        inner = tuple(max(1, round(e / s)) for e, s in zip(extent, grid.spacing or (), strict=True))
    least = grid.size or grid.minimum_size or inner
    size = tuple(max(n, m) for n, m in zip(inner, least, strict=True))
    if float(np.prod(size, dtype=float)) > MAX_GRID_VOXELS:
        raise LDSegError(
            f"The image is too large for {metadata.name} at its voxel size of {grid.spacing} mm; "
            "draw a box around the structure first."
        )
    pads = tuple(((m - n) // 2, (m - n) - (m - n) // 2) for n, m in zip(inner, size, strict=True))
    return GridMap(order, flips, tuple(shape), inner, pads, grid.resampling)


def preprocess(
    metadata: Metadata,
    image: np.ndarray,
    mapping: GridMap,
    name: str = "image",
    blank_allowed: bool = False,
) -> Tensor:
    """Return the networks' input (channels, *mapping.size), float32 in [0, 1], for (channels, *shape).

    With ``blank_allowed`` a constant channel becomes 0, such as in the border slices of a volume.

    Raises
    ------
    LDSegError
        If the image has NaN, infinite or too large values for float32, or is constant.
    """
    check_finite(image, name)
    early = metadata.intensity.before_resampling
    if early:
        image = normalise(metadata, image.astype(np.float32), name, blank_allowed)
    inner = mapping.image_to_grid(image)
    if not np.isfinite(inner).all():
        raise LDSegError(f"{name} has values too large for float32; rescale its intensities first.")
    if not early:
        inner = normalise(metadata, inner, name, blank_allowed)
    return torch.from_numpy(mapping.pad(inner))


def check_finite(image: np.ndarray, name: str) -> None:
    """Raise LDSegError if ``image`` has NaN or infinite values."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise LDSegError(
            f"{name} holds values that are not numbers (NaN or infinity); replace them first, for "
            "example with numpy.nan_to_num."
        )


def normalise(
    metadata: Metadata, image: np.ndarray, name: str = "image", blank_allowed: bool = False
) -> np.ndarray:
    """Map (channels, *space) to [0, 1] by the checkpoint's ``intensity`` rule, float32.

    Raises LDSegError if a channel is constant, unless ``blank_allowed``.
    """
    rule = metadata.intensity
    if rule.method == "fundus" and (image.max() > image.min() or blank_allowed):
        return fundus_intensities(image)
    result = np.empty_like(image, dtype=np.float32)
    parts = (
        zip(result[None], image[None], strict=True)
        if rule.jointly
        else zip(result, image, strict=True)
    )
    for target, channel in parts:
        if rule.method == "min-max":
            low, high = float(channel.min()), float(channel.max())
        else:
            low, high = (float(v) for v in np.percentile(channel, [rule.lower, rule.upper]))
            if high <= low:
                low, high = float(channel.min()), float(channel.max())
        if high <= low and blank_allowed:
            target[...] = 0
            continue
        if high <= low:
            raise LDSegError(f"{name} has the same value everywhere; choose another image.")
        np.clip((channel - low) / (high - low), 0, 1, out=target)
    return result
