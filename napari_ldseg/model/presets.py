"""The paper's three models as configurations (arXiv 2407.12952, section IV), and faster ones.

The fast ones decode at half the image's size and upsample the logits linearly: this keeps the boundary
sub-pixel accurate and avoids the stage that takes most of a sample's time. More latent and embedding
channels make up for the narrower networks. See docs/speed.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .architecture import Architecture


@dataclass(frozen=True)
class Preset:
    """An architecture and its image size (y, x) or (z, y, x) in voxels."""

    architecture: Architecture
    size: tuple[int, ...]


FAST: dict[str, Any] = {
    "label_widths": (16, 32, 48, 64),
    "image_widths": (8, 16, 32, 64, 64),
    "denoiser_widths": (32, 64),
    "latent_channels": 4,
    "embedding_channels": 16,
    "denoiser_blocks": 1,
    "denoiser_attention": (),
    "dropout": 0.0,
    "label_stride": 2,
}

PRESETS: dict[str, Preset] = {
    "echo": Preset(Architecture(dims=2, image_channels=1, classes=3), (512, 768)),
    "glas": Preset(Architecture(dims=2, image_channels=3, classes=2), (512, 512)),
    "knee": Preset(Architecture(dims=3, image_channels=1, classes=3), (128, 128, 256)),
    "echo-fast": Preset(Architecture(dims=2, image_channels=1, classes=3, **FAST), (512, 768)),
    "glas-fast": Preset(Architecture(dims=2, image_channels=3, classes=2, **FAST), (512, 512)),
    "knee-fast": Preset(Architecture(dims=3, image_channels=1, classes=3, **FAST), (128, 128, 256)),
}


def preset(name: str, label_encoder: str = "learned", image_encoder: str = "learned") -> Preset:
    """Return the preset ``name``, or an ablation of it.

    Parameters
    ----------
    name
        ``"echo"``, ``"glas"`` or ``"knee"``, or one of these with ``"-fast"``.
    label_encoder, image_encoder
        ``"learned"``, or ``"nearest"`` for the label or image down-sampled to the nearest pixel.

    Examples
    --------
    >>> preset("glas", image_encoder="nearest").architecture.embedding_channels
    3
    """
    if name not in PRESETS:
        raise ValueError(f"the preset must be one of {', '.join(PRESETS)}, not {name!r}")
    chosen = PRESETS[name]
    changes: dict[str, Any] = {"label_encoder": label_encoder, "image_encoder": image_encoder}
    if image_encoder == "nearest":
        changes["embedding_channels"] = chosen.architecture.image_channels
    return replace(chosen, architecture=replace(chosen.architecture, **changes))
