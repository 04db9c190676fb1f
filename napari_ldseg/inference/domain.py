"""How far an image is from a checkpoint's training images, in the features of its image encoder.

The features of an image are the mean and SD over space of each channel of the image embedding z_i and, of each
channel of the networks' input, some quantiles and the mean gradient at several scales. With their mean m and
covariance C over the training images, the distance of x is the Mahalanobis distance per feature,
sqrt((x - m)' C^-1 (x - m) / D), about 1 for a training image (Lee et al., NeurIPS 2018). C is shrunk towards its
diagonal (Ledoit and Wolf, J Multivar Anal 88, 2004), so that a few dozen images are enough. What the padding adds
does not count.

Crops at full size, such as of a nodule, look much like a whole scan made as small. So a checkpoint of which no
training image was resized also flags an image that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import MAX_FEATURES, Domain, Metadata
from ..model.networks import AVERAGE
from ..scans.scan import Scan
from .preprocessing import GridMap, grid_map, preprocess

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
SCALES = 4
MOST_CHANNELS = 48  # of the embedding
SHRINKAGE = 0.1
FEWEST_IMAGES = 20
FOLDS = 5
SMALLEST_SD = 0.01  # of a feature that hardly varies
USUAL, MOST_FLAGGED, FEWEST_HELD_OUT = 0.97, 0.05, 100
FULL_SIZE, RESIZED = 1.1, 1.5
MOST_VOXELS = 2**22


class ImageFeatures(NamedTuple):
    """The features (D,) of an image, and how many times larger or smaller it is made for the networks."""

    values: np.ndarray
    resizing: float


class Finding(NamedTuple):
    """An image's distance from the training images, and what shows that it is unlike them, if anything does."""

    distance: float
    unlike: str | None


def features(grid: Tensor, embedding: Tensor, content: Sequence[slice]) -> np.ndarray:
    """Return the features (D,) of one image, float64.

    Parameters
    ----------
    grid
        The networks' input (channels, *size), float32 in [0, 1].
    embedding
        z_i (1, embedding_channels, *cells).
    content
        The part of ``grid`` that is not padding, per axis.
    """
    embedding, grid = embedding[0, :MOST_CHANNELS], grid.detach().float().cpu()
    cells = _inside(embedding.detach().float().cpu(), content, grid.shape[1:]).flatten(1)
    parts = [cells.mean(1), cells.std(1, correction=0)]
    grid = grid[(slice(None), *content)]
    values = grid.flatten(1)
    # Every k-th voxel: torch's quantile takes at most 2**24 values.
    values = values[:, :: max(1, values.shape[1] // 2**18)]
    parts.append(torch.quantile(values, torch.tensor(QUANTILES), dim=1).flatten())
    for _ in range(SCALES):
        parts.append(torch.log(_mean_gradient(grid) + 1e-3))
        if min(grid.shape[1:]) >= 4:
            grid = AVERAGE[grid.ndim - 1](grid[None], 2)[0]
    return torch.cat(parts).double().numpy()


def fit_domain(
    training: Sequence[ImageFeatures], validation: Sequence[ImageFeatures]
) -> Domain | None:
    """Return the domain of the training images; None if they are too few or their features too many.

    Its limit is the 97th percentile of the distances of 100 or more validation images, else that of the training
    images in cross-validation, raised as far as needed that at most 5 % of the validation images are farther away.
    """
    known = np.asarray([image.values for image in training])
    if len(known) < FEWEST_IMAGES or known.shape[1] > MAX_FEATURES:
        return None
    domain = _gaussian(known)
    held_out = sorted(distance(domain, image.values) for image in validation)
    left_out = held_out if len(held_out) >= FEWEST_HELD_OUT else _left_out(known)
    limit = float(np.quantile(left_out, USUAL))
    if held_out:
        allowed = math.floor(MOST_FLAGGED * len(held_out))
        limit = max(limit, held_out[-1 - allowed])
    full_size = max(image.resizing for image in training) <= FULL_SIZE
    return domain.model_copy(update={"limit": _rounded_up(limit), "full_size": full_size})


def distance(domain: Domain, values: np.ndarray) -> float:
    """Return the distance of an image with the features ``values`` (D,); about 1 for a training image.

    Infinite if the features are not those of the domain.
    """
    if values.shape != (len(domain.mean),):
        return math.inf
    factor = np.zeros((len(values), len(values)))
    factor[np.tril_indices(len(values))] = domain.factor
    white = (values - np.array(domain.mean)) @ factor
    return float(np.sqrt(np.mean(white**2)))


def far_from_training(domain: Domain, found: float, resizing: float) -> str | None:
    """Return what is unusual about the distance ``found``, or the size, as a clause; None if nothing is."""
    if found > domain.limit:
        return f"distance {found:.2f}, usual up to {domain.limit:.2f}"
    if domain.full_size and resizing > RESIZED:
        return f"it is resized {resizing:.1f} times for the networks, the training images were not"
    return None


def resizing_of(metadata: Metadata, mapping: GridMap) -> float:
    """Return by how much an image is made larger or smaller, at most along an axis, at least 1; 1 on a grid in mm."""
    if metadata.grid.size is None:
        return 1.0
    oriented = [mapping.shape[axis] for axis in mapping.order]
    return max(max(n / m, m / n) for n, m in zip(oriented, mapping.inner, strict=True))


@torch.inference_mode()
def image_features(
    checkpoint: Checkpoint, image: np.ndarray, affine: np.ndarray, device: str = "cpu"
) -> ImageFeatures | None:
    """Return the features of an image (channels, *space) of one frame; None if it has one value everywhere.

    Raises
    ------
    LDSegError
        If the image does not suit the networks.
    """
    metadata = checkpoint.metadata
    mapping = grid_map(metadata, image.shape[1:], affine)
    grid = preprocess(metadata, image, mapping, blank_allowed=True)
    if is_blank(grid):
        return None
    embedding = checkpoint.model.to(device).encode_image(grid[None].to(device))
    return ImageFeatures(features(grid, embedding, mapping.content), resizing_of(metadata, mapping))


def look_at(checkpoint: Checkpoint, scan: Scan) -> Finding | None:
    """Return the distance of ``scan``, of a stack or loop the median of three of its slices, and what is unusual.

    None if the checkpoint has no domain or the scan is too large to look at quickly.

    Raises
    ------
    LDSegError
        If the scan does not suit the networks.
    """
    metadata = checkpoint.metadata
    if metadata.domain is None or not _is_quick(metadata, scan):
        return None
    leading = scan.shape[: -metadata.architecture.dims]
    found, resizing = [], 1.0
    for place in (0.25, 0.5, 0.75) if leading else (0.5,):
        image = np.asarray(scan.array[tuple(int(place * n) for n in leading)])
        channels = np.moveaxis(image, -1, 0) if scan.channels else image[None]
        values = image_features(checkpoint, channels, scan.affine)
        if values is not None:
            found.append(distance(metadata.domain, values.values))
            resizing = values.resizing
    if not found:
        return None
    median = float(np.median(found))
    return Finding(median, far_from_training(metadata.domain, median, resizing))


def is_blank(grid: Tensor) -> bool:
    """Return whether an input of the networks has one value everywhere, such as a volume's border slice."""
    return bool(grid.min() == grid.max())


def _is_quick(metadata: Metadata, scan: Scan) -> bool:
    dims = metadata.architecture.dims
    size = grid_map(metadata, scan.shape[-dims:], scan.affine).size
    return max(math.prod(size), math.prod(scan.shape[-dims:])) <= MOST_VOXELS


def _mean_gradient(grid: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours per channel of (channels, *size)."""
    axes = range(1, grid.ndim)
    return torch.stack([grid.diff(dim=a).abs().flatten(1).mean(1) for a in axes]).mean(0)


def _inside(cells: Tensor, content: Sequence[slice], size: Sequence[int]) -> Tensor:
    """Return the part of (channels, *cells) inside ``content`` of a grid of ``size``, in part or completely."""
    part = [slice(None)]
    for n, length, inside in zip(cells.shape[1:], size, content, strict=True):
        low, high = math.floor(inside.start * n / length), math.ceil(inside.stop * n / length)
        part.append(slice(low, max(low + 1, high)))
    return cells[tuple(part)]


def _left_out(known: np.ndarray) -> list[float]:
    """Return the distance of each of the training images (images, D) from most of the others."""
    # Contiguous parts: images of one patient follow each other.
    parts = np.array_split(np.arange(len(known)), FOLDS)
    return [
        distance(domain, x)
        for part in parts
        for domain in (_gaussian(np.delete(known, part, axis=0)),)
        for x in known[part]
    ]


def _gaussian(known: np.ndarray) -> Domain:
    """Return the mean and the shrunk covariance of features (images, D), with a limit of 1."""
    mean, sd = known.mean(0), np.maximum(known.std(0), SMALLEST_SD)
    scaled = (known - mean) / sd
    correlation = scaled.T @ scaled / len(scaled)
    shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(sd))
    factor = np.linalg.cholesky(np.linalg.inv(shrunk)) / sd[:, None]
    lower = factor[np.tril_indices(len(sd))]
    return Domain(
        mean=tuple(_rounded(v) for v in mean),
        factor=tuple(_rounded(v) for v in lower),
        limit=1.0,
        images=len(known),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _rounded_up(value: float) -> float:
    return math.ceil(value * 100) / 100
