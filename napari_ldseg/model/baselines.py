"""The deterministic baselines: networks of MONAI with the interface of ``LDSeg``.

They have ``image_widths``; the sizes of the other networks in ``architecture`` are not used. MONAI's networks
take seconds to import, so each is imported where it is built.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .architecture import Architecture
from .blocks import GroupNorm
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


class AttentionUNet(Deterministic):
    """U-Net whose skip connections are weighted by attention gates (Oktay et al., arXiv 1804.03999).

    Group norms take the place of MONAI's batch norms, so that the number of devices does not change the result.
    """

    def __init__(self, architecture: Architecture, surround: bool = False):
        from monai.networks.nets import AttentionUnet

        widths = architecture.image_widths
        network = AttentionUnet(
            architecture.dims,
            architecture.image_channels,
            architecture.classes,
            channels=widths,
            strides=(2,) * (len(widths) - 1),
            dropout=architecture.dropout,
        )
        _use_group_norms(network)
        super().__init__(architecture, network, surround)


def _use_group_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, GroupNorm(child.num_features))
