"""The deterministic baseline: MONAI's residual U-Net with the interface of ``LDSeg``."""

from __future__ import annotations

from .architecture import Architecture
from .deterministic import Deterministic


class ResUNet(Deterministic):
    """Residual U-Net of ``image_widths``; the sizes of the other networks in ``architecture`` are not used."""

    def __init__(self, architecture: Architecture, surround: bool = False):
        # MONAI takes seconds to import, and of all networks only this one needs it.
        from monai.networks.nets import UNet

        widths = architecture.image_widths
        network = UNet(
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
        super().__init__(architecture, network, surround)
