"""The deterministic baselines: networks of MONAI with the interface of ``LDSeg``.

They have ``image_widths``; the sizes of the other networks in ``architecture`` are not used. MONAI's networks
take seconds to import, so each is imported where it is built.
"""

from __future__ import annotations

import torch

from .architecture import Architecture
from .deterministic import Deterministic


class ResUNet(Deterministic):
    """Residual U-Net."""

    def __init__(self, architecture: Architecture, surround: bool = False):
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


class SwinUNETR(Deterministic):
    """U-Net whose encoder is a Swin transformer (Hatamizadeh et al., arXiv 2201.01266).

    Its first width is a multiple of 12, and the others follow from it, see ``check_swin``.
    """

    def __init__(self, architecture: Architecture, surround: bool = False):
        from monai.networks.nets import SwinUNETR as Network

        with torch.device("cpu"):  # it computes while it is built, which the device meta cannot
            network = Network(
                architecture.image_channels,
                architecture.classes,
                feature_size=architecture.image_widths[0],
                drop_rate=architecture.dropout,
                spatial_dims=architecture.dims,
            )
        for module in network.modules():
            index = getattr(module, "relative_position_index", None)
            if index is not None:  # a constant, and integer: files of weights hold float32 alone
                del module.relative_position_index
                module.register_buffer("relative_position_index", index, persistent=False)
        super().__init__(architecture, network, surround)
