"""The sizes that define a set of DiffDGSS networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Inversion = Literal["anchored", "chained", "noised"]

LEVELS = 3  # decoder levels that the interpreter reads
MAX_WIDTH = 2048


@dataclass(frozen=True)
class DiffDGSSSizes:
    """Everything needed to build the image diffusion network and the interpreter, in 2D.

    Parameters
    ----------
    image_channels
        Channels of the image.
    classes
        Classes of the label map, background included (at least 2).
    patch
        1 or 2: pixels per axis that the first layer folds into channels. 2 makes a network of the same
        widths four times as fast on a CPU.
    widths
        Feature channels of the diffusion network's levels, each level half as large as the one before.
    blocks
        Residual blocks per level.
    attention
        Levels with self-attention.
    schedule_length
        Number of noise times T of the cosine schedule.
    times
        The K increasing times at which features are taken, 0 < t < T.
    expert_width
        Feature channels of the interpreter.
    kernel_width
        Channels from which the interpreter predicts its low-pass and high-pass kernels.
    dropout
        Channel dropout and drop path of the interpreter, 0 to below 1.
    inversion
        How features at a time are taken from an image: ``"anchored"`` feeds the clean image with each
        time, ``"chained"`` follows the deterministic DDIM inversion, ``"noised"`` adds noise.
    frequency_aware
        Whether scales are fused with predicted kernels (FreqFusion), or by bilinear enlargement and a sum.

    Raises
    ------
    ValueError
        If a value is out of bounds.
    """

    image_channels: int = 3
    classes: int = 2
    patch: int = 2
    widths: tuple[int, ...] = (24, 48, 64, 96, 128)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    schedule_length: int = 4000
    times: tuple[int, ...] = (1, 50, 500, 2000)
    expert_width: int = 32
    kernel_width: int = 16
    dropout: float = 0.2
    inversion: Inversion = "anchored"
    frequency_aware: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("image_channels", 1, 256),
            ("classes", 2, 256),
            ("patch", 1, 2),
            ("blocks", 1, 8),
            ("schedule_length", 2, 100_000),
            ("expert_width", 1, MAX_WIDTH),
            ("kernel_width", 1, MAX_WIDTH),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {getattr(self, name)}")
        if not LEVELS <= len(self.widths) <= 8:
            raise ValueError(f"there must be {LEVELS} to 8 widths, not {len(self.widths)}")
        if not all(1 <= width <= MAX_WIDTH for width in self.widths):
            raise ValueError(f"widths must be 1 to {MAX_WIDTH}")
        if not set(self.attention) <= set(range(len(self.widths))):
            raise ValueError(f"attention has a level outside 0 to {len(self.widths) - 1}")
        times = self.times
        if not times or len(times) > 64 or list(times) != sorted(set(times)):
            raise ValueError("times must be 1 to 64 different times in increasing order")
        if times[0] < 1 or times[-1] >= self.schedule_length:
            raise ValueError(f"times must be 1 to {self.schedule_length - 1}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")
        if self.inversion not in get_args(Inversion):
            raise ValueError(f"inversion must be one of {get_args(Inversion)}")

    @property
    def stride(self) -> int:
        """Pixels per cell and axis of the coarsest level; image sizes are padded to a multiple of it."""
        return self.patch * 2 ** (len(self.widths) - 1)

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of the features that the interpreter reads, from coarse to fine."""
        return tuple(width * self.blocks for width in self.widths[:LEVELS][::-1])


# The widths, times and interpreter of the authors' public code; their images are 512 x 512.
PAPER_SIZES = DiffDGSSSizes(
    patch=1,
    widths=(128, 256, 256, 512, 512, 1024, 1024),
    blocks=2,
    attention=(4, 5, 6),
    times=(1, 10, 50, 100, 500, 1000, 2000, 3500),
    expert_width=384,
    kernel_width=64,
)
