"""Random changes of image and label, by MONAI."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import (
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


def build_augmentation(settings: Augmentation, dims: int) -> Compose:
    """Return MONAI's transform of ``image`` (in [0, 1]) and ``label``, both channels first."""
    blur = (0.2, max(0.2, settings.blur))
    changes = [
        _spatial(settings, dims),
        RandStainJitterd(settings.stain) if settings.stain else None,
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
