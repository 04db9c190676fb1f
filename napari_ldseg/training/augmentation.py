"""Random changes of image and label, by MONAI."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    MapTransform,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
)
from skimage.color import hed2rgb, rgb2hed

from .settings import Augmentation

BOTH = ["image", "label"]
ELASTIC_CELL = 24.0
ELASTIC_SIGMA = (6.0, 8.0)


def build_augmentation(settings: Augmentation, dims: int, patch: int = 0) -> Compose:
    """Return MONAI's transform of ``image`` (in [0, 1]) and ``label``, both channels first.

    With ``patch`` it returns the central part of so many pixels per axis.
    """
    blur = (0.2, max(0.2, settings.blur))
    changes = [
        _spatial(settings, dims),
        CenterSpatialCropd(BOTH, [patch] * dims) if patch else None,
        RandStainJitterd(settings.stain) if settings.stain else None,
        RandColourd(settings.colour) if settings.colour else None,
        RandAdjustContrastd("image", prob=0.5, gamma=(1 - settings.contrast, 1 + settings.contrast))
        if settings.contrast
        else None,
        RandGaussianSmoothd("image", blur, blur, blur, prob=0.2) if settings.blur else None,
        RandGaussianNoised("image", prob=0.9, std=settings.noise) if settings.noise else None,
        *(RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in settings.flip_axes),
    ]
    return Compose([change for change in changes if change is not None])


def _spatial(settings: Augmentation, dims: int) -> MapTransform | None:
    """Return rotation, scale, shift and elastic deformation as one interpolation."""
    if not (settings.rotation or settings.scale or settings.shift or settings.elastic):
        return None
    affine: dict[str, Any] = {
        "prob": 0.9,
        "rotate_range": [settings.rotation] * (1 if dims == 2 else 3),
        "scale_range": [settings.scale] * dims,
        "translate_range": [settings.shift] * dims,
        "mode": ("bilinear", "nearest"),
        "padding_mode": "zeros",
    }
    if not settings.elastic:
        return RandAffined(BOTH, **affine)
    if dims == 2:
        return Rand2DElasticd(BOTH, (ELASTIC_CELL,) * 2, (0, settings.elastic), **affine)
    # The blurred noise field of MONAI's 3D version has an SD of about sigma^-1.5 / 7.
    strength = settings.elastic * 50
    return Rand3DElasticd(BOTH, ELASTIC_SIGMA, (0, strength), **affine)


class RandStainJitterd(Randomizable, MapTransform):
    """Scale each stain of an H&E image (3, y, x) in [0, 1] by up to 1 +- ``strength``.

    Stains by the colour deconvolution of Ruifrok and Johnston (Anal Quant Cytol Histol 23, 2001).
    """

    def __init__(self, strength: float):
        super().__init__(["image"])
        self.strength = strength
        self._factors = np.ones(3)

    def randomize(self, data: Any = None) -> None:
        """Draw one factor per stain."""
        self._factors = 1 + self.R.uniform(-self.strength, self.strength, 3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with its image changed."""
        self.randomize()
        image = torch.as_tensor(data["image"]).numpy()
        stains = rgb2hed(np.moveaxis(image, 0, -1)) * self._factors
        changed = np.moveaxis(hed2rgb(stains), -1, 0).astype(np.float32)
        return dict(data) | {"image": torch.from_numpy(np.ascontiguousarray(changed))}


class RandColourd(Randomizable, MapTransform):
    """Change the colours and the light of an image (channels, y, x) in [0, 1] as another camera would.

    A random matrix I + ``strength`` N(0, 1) mixes the deviations of the channels from 0.5, and a smooth field
    of SD ``strength`` / 2 is added.
    """

    def __init__(self, strength: float):
        super().__init__(["image"])
        self.strength = strength
        self._mix, self._light = np.eye(1), np.zeros((3, 3))

    def randomize(self, data: Any = None) -> None:
        """Draw the matrix for ``data`` channels, and the field."""
        self._mix = np.eye(data) + self.R.normal(0, self.strength, (data, data))
        self._light = self.R.normal(0, self.strength / 2, (3, 3))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with its image changed."""
        image = torch.as_tensor(data["image"])
        self.randomize(len(image))
        mixed = torch.einsum("ij,jyx->iyx", torch.from_numpy(self._mix).float(), image - 0.5)
        light = torch.from_numpy(self._light).float()[None, None]
        light = F.interpolate(light, image.shape[1:], mode="bicubic", align_corners=True)[0]
        return dict(data) | {"image": (mixed + light + 0.5).clamp(0, 1)}
