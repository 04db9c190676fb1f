"""What every segmentation model offers to inference and training, whatever its networks are."""

from __future__ import annotations

from torch import Tensor, nn

from .architecture import Architecture


class SegmentationModel(nn.Module):
    """Images to samples of segmentations, in three steps: embed the image, sample latents, decode them.

    A deterministic model returns the same latent for all noise. Any image size works.

    Attributes
    ----------
    fast_networks
        Names of the networks of which ``model.fast`` makes faster copies, which may compute in bfloat16.
    """

    architecture: Architecture
    fast_networks: tuple[str, ...] = ()

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (latent_channels, *cells) for an image of spatial ``size``."""
        raise NotImplementedError

    def encode_image(self, image: Tensor) -> Tensor:
        """Map an image (batch, image_channels, *size), float, to its embedding z_i (batch, ...)."""
        raise NotImplementedError

    def sample(self, z_i: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Return latents shaped like ``noise`` (batch, *latent_shape) from embeddings, in ``steps`` steps."""
        raise NotImplementedError

    def decode(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Map latents (batch, *latent_shape) to logits (batch, classes, *size), float32."""
        raise NotImplementedError
