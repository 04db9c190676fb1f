"""Deterministic models: one segmentation per image, with the interface of the models that are sampled."""

from __future__ import annotations

from torch import Tensor, nn

from .architecture import Architecture
from .base import SegmentationModel
from .blocks import crop_to_size, pad_to_stride
from .surround import background_outside, centred


class Deterministic(SegmentationModel):
    """A network ``unet`` from images to logits, (batch, classes, *size), as a segmentation model.

    The image embedding and the latent of the interface are the logits at full size, so noise and steps
    have no effect. With ``surround`` an image that is 0 in every channel shows no tissue there: the network sees
    the mean, and the result is background.
    """

    def __init__(self, architecture: Architecture, unet: nn.Module, surround: bool = False):
        super().__init__()
        self.architecture, self.unet, self.surround = architecture, unet, surround

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (classes, *size)."""
        return (self.architecture.classes, *size)

    def encode_image(self, image: Tensor) -> Tensor:
        """Map an image (batch, image_channels, *size) to logits (batch, classes, *size), float32."""
        seen = centred(image) if self.surround else image
        padded = pad_to_stride(seen, self.architecture.stride)
        logits = crop_to_size(self.unet(padded), image.shape[2:]).float()
        return background_outside(image, logits) if self.surround else logits

    def sample(self, z_i: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Return ``z_i``; noise and steps are ignored."""
        return z_i

    def decode(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the logits ``z`` (batch, classes, *size)."""
        return z
