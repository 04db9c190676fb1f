"""The sizes that the authors' networks can have; imports no torch."""

from __future__ import annotations

import math

from .architecture import Architecture

HEADS = 8  # of the 2D image encoder's attention, and the groups of its group norm
CONV_GROUPS = 4  # of the 3D image encoder's convolutions and of every other group norm
DENOISER_BLOCKS = 2
DENOISER_LEVELS = 3


def authors_architecture(
    dims: int,
    image_channels: int,
    classes: int,
    label_widths: tuple[int, ...] = (16, 32, 64, 64, 32),
    image_widths: tuple[int, ...] = (16, 32, 64, 64, 32),
    denoiser_widths: tuple[int, ...] = (16, 32, 64),
) -> Architecture:
    """Return the architecture of the authors' networks; all other sizes are fixed in their code."""
    return Architecture(
        dims,
        image_channels,
        classes,
        label_widths,
        image_widths,
        denoiser_widths,
        denoiser_blocks=DENOISER_BLOCKS,
        denoiser_attention=(1, 2),
        image_attention=dims == 2,
    )


def check_authors(arch: Architecture, size: tuple[int, ...]) -> None:
    """Raise ValueError if the authors' code could not build ``arch`` for images of ``size``."""
    expected = authors_architecture(
        arch.dims,
        arch.image_channels,
        arch.classes,
        arch.label_widths,
        arch.image_widths,
        arch.denoiser_widths,
    )
    if arch != expected:
        raise ValueError("the authors' networks cannot have this architecture")
    if len(arch.label_widths) < 3 or len(arch.denoiser_widths) != DENOISER_LEVELS:
        raise ValueError(
            "the authors' networks need at least 3 label widths and exactly "
            f"{DENOISER_LEVELS} denoiser widths"
        )
    if len(size) != arch.dims:
        raise ValueError(f"the authors' networks need a size of {arch.dims} axes")
    multiple = arch.stride * 2 ** (DENOISER_LEVELS - 1)
    if any(n % multiple for n in size):
        raise ValueError(f"the authors' networks need sizes divisible by {multiple}, not {size}")
    groups = math.lcm(HEADS, CONV_GROUPS) if arch.dims == 2 else CONV_GROUPS
    if any(width % CONV_GROUPS for width in (*arch.image_widths, *arch.denoiser_widths)) or any(
        width % groups for width in arch.image_widths[-2:]
    ):
        raise ValueError(
            f"the image encoder's and the denoiser's widths must be divisible by {CONV_GROUPS}, "
            f"the image encoder's last two by {groups}"
        )
