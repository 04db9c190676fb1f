"""The deterministic baseline: MONAI's residual U-Net with the interface of ``LDSeg``."""

from __future__ import annotations

from torch import Tensor

from .architecture import Architecture
from .base import SegmentationModel
from .blocks import crop_to_size, pad_to_stride


class ResUNet(SegmentationModel):
    """Residual U-Net of ``image_widths`` with one segmentation per image.

    The image embedding and the latent of the interface are the logits at full size, so all samples are
    equal. The sizes of the other networks in ``architecture`` are not used.
    """

    def __init__(self, architecture: Architecture):
        # MONAI takes seconds to import, and of all networks only this one needs it.
        from monai.networks.nets import UNet

        super().__init__()
        self.architecture = architecture
        widths = architecture.image_widths
        self.unet = UNet(
            architecture.dims,
            architecture.image_channels,
            architecture.classes,
            channels=widths,
            strides=(2,) * (len(widths) - 1),
            num_res_units=2,
            norm=("INSTANCE", {"affine": True}),
            act="SWISH",
            dropout=architecture.dropout,
        )

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (classes, *size padded to the stride)."""
        stride = self.architecture.stride
        return (self.architecture.classes, *(n + -n % stride for n in size))

    def encode_image(self, image: Tensor) -> Tensor:
        """Map an image (batch, image_channels, *size) to logits (batch, classes, *padded size), float32."""
        return self.unet(pad_to_stride(image, self.architecture.stride)).float()

    def sample(self, z_i: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Return ``z_i``; noise and steps are ignored."""
        return z_i

    def decode(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Crop the logits to ``size``."""
        return crop_to_size(z, size)
