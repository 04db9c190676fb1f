"""The sizes that define a set of LDSeg networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ImageEncoder = Literal["learned", "nearest"]
LabelEncoder = Literal["learned", "nearest", "signed-distance"]

MAX_WIDTH = 1024
MAX_LEVELS = 7
MAX_CHANNELS = 256


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build the four networks, in 2D or 3D.

    Parameters
    ----------
    dims
        2 or 3 spatial axes.
    image_channels
        Channels of the source image X (1 for grey, 3 for RGB).
    classes
        Classes of the label image y, background included (at least 2).
    label_widths
        Feature channels of the label encoder and decoder, from full size to the latent;
        one more than there are down-samplings (the paper has 4 down-samplings, so 5 widths).
    image_widths
        The same for the image encoder; as many as ``label_widths`` where ``label_stride`` is 1.
    denoiser_widths
        Feature channels of the denoiser's levels; the first level has the latent's size.
    latent_channels
        Channels of the label embedding z_l (1 in the paper).
    embedding_channels
        Channels of the image embedding z_i (1 in the paper).
    denoiser_blocks
        Residual blocks per denoiser level.
    denoiser_attention
        Denoiser levels with self-attention (level 0 has the latent's size).
    image_attention
        Whether the image encoder has self-attention at its coarsest level.
    dropout
        Dropout probability inside residual blocks, 0 to below 1 (0.2 in the paper).
    label_encoder, image_encoder
        ``"learned"``, or ``"nearest"`` for the paper's ablation: the embedding is the label or image
        itself, down-sampled to the nearest pixel. A label embedding then has one latent channel (the
        integer label) or one per class (one-hot); an image embedding has the image's channels. The label encoder
        ``"signed-distance"`` has one latent channel per class: the distance to the class's boundary.
    label_stride
        1, 2 or 4: the label encoder sees the label averaged over this many pixels per axis, and the
        decoder's logits are upsampled linearly by it. ``label_widths`` then omits the first 0, 1 or 2
        levels.
    patch
        1 or 2, in 2D: pixels per axis that the first layer of a ``unet`` folds into channels, and the last one
        unfolds. 2 makes a network of the same widths four times as fast.

    Raises
    ------
    ValueError
        If a value is out of bounds or the widths do not fit together.
    """

    dims: int
    image_channels: int
    classes: int
    label_widths: tuple[int, ...] = (16, 32, 64, 64, 32)
    image_widths: tuple[int, ...] = (16, 32, 64, 64, 32)
    denoiser_widths: tuple[int, ...] = (16, 32, 64)
    latent_channels: int = 1
    embedding_channels: int = 1
    denoiser_blocks: int = 2
    denoiser_attention: tuple[int, ...] = (1, 2)
    image_attention: bool = True
    dropout: float = 0.2
    label_encoder: LabelEncoder = "learned"
    image_encoder: ImageEncoder = "learned"
    label_stride: int = 1
    patch: int = 1

    def __post_init__(self) -> None:
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 or 3, not {self.dims}")
        _check_count("image_channels", self.image_channels, 1, MAX_CHANNELS)
        _check_count("classes", self.classes, 2, MAX_CHANNELS)
        _check_count("latent_channels", self.latent_channels, 1, MAX_CHANNELS)
        _check_count("embedding_channels", self.embedding_channels, 1, MAX_CHANNELS)
        _check_count("denoiser_blocks", self.denoiser_blocks, 1, 8)
        for name in ("label_widths", "image_widths", "denoiser_widths"):
            widths = getattr(self, name)
            _check_count(f"the number of {name}", len(widths), 1, MAX_LEVELS)
            for width in widths:
                _check_count(name, width, 1, MAX_WIDTH)
        if self.label_stride not in (1, 2, 4):
            raise ValueError(f"label_stride must be 1, 2 or 4, not {self.label_stride}")
        if self.patch not in (1, 2) or (self.patch == 2 and self.dims == 3):
            raise ValueError(f"patch must be 1, or 2 in 2D, not {self.patch}")
        missing = self.label_stride.bit_length() - 1
        if len(self.label_widths) + missing != len(self.image_widths):
            raise ValueError(
                "label_widths and image_widths must have the same length"
                if missing == 0
                else f"label_widths must be {missing} shorter than image_widths"
            )
        if not set(self.denoiser_attention) <= set(range(len(self.denoiser_widths))):
            raise ValueError(
                f"denoiser_attention has a level outside 0 to {len(self.denoiser_widths) - 1}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")
        self._check_encoders()

    def _check_encoders(self) -> None:
        for name, kinds in (("label_encoder", LabelEncoder), ("image_encoder", ImageEncoder)):
            if getattr(self, name) not in get_args(kinds):
                *others, last = map(repr, get_args(kinds))
                raise ValueError(f"{name} must be {', '.join(others)} or {last}")
        if self.label_encoder == "nearest" and self.latent_channels not in (1, self.classes):
            raise ValueError(
                f"a down-sampled label has 1 or {self.classes} latent channels, "
                f"not {self.latent_channels}"
            )
        if self.label_encoder == "signed-distance" and self.latent_channels != self.classes:
            raise ValueError(
                f"signed distances have {self.classes} latent channels, one per class, "
                f"not {self.latent_channels}"
            )
        if self.image_encoder == "nearest" and self.embedding_channels != self.image_channels:
            raise ValueError(
                f"a down-sampled image has {self.image_channels} embedding channels, "
                f"not {self.embedding_channels}"
            )

    @property
    def downsamplings(self) -> int:
        """Number of halvings of each axis between the image and the latent."""
        return len(self.image_widths) - 1

    @property
    def stride(self) -> int:
        """Voxels of the image per latent cell and axis (16 in the paper)."""
        return self.patch * 2**self.downsamplings

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (latent_channels, *latent size) for an image of spatial ``size``."""
        return (self.latent_channels, *(-(-n // self.stride) for n in size))


def check_swin(architecture: Architecture, size: tuple[int, ...] | None) -> None:
    """Check the widths of a SwinUNETR and, if it is known, the size in voxels of the images to train it on.

    Raises
    ------
    ValueError
        If the widths are not w, w, 2w, 4w, 8w and 16w with a multiple w of 12, or no axis has more than 32 voxels.
    """
    first = architecture.image_widths[0]
    if first % 12 or architecture.image_widths != (first, *(first * 2**i for i in range(5))):
        raise ValueError(
            "swin-unetr networks need image_widths such as [12, 12, 24, 48, 96, 192]: a multiple of 12, "
            "and from the second level on twice as many at each level"
        )
    if size is not None and max(size) <= architecture.stride:
        raise ValueError("swin-unetr networks need a grid of more than 32 voxels along an axis")


def _check_count(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {value}")
