"""What a training run is told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt


class Augmentation(BaseModel):
    """Random changes of the training images; the spatial ones change image and label alike.

    Angles are in radians, ``scale`` is a fraction, ``shift`` and ``blur`` (an SD) are voxels of the
    networks' grid, ``noise`` is the largest SD on the [0, 1] image. Zero switches a change off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_axes: tuple[int, ...] = ()
    rotation: float = 0.2
    scale: float = 0.15
    shift: float = 3.2
    noise: float = 0.05
    contrast: float = 0.3
    blur: float = 1.0


class TrainingSettings(BaseModel):
    """Length, optimiser and loss of one training run.

    ``gamma`` and ``lambda_`` weigh the Dice and the noise loss (2 and 1 in the paper).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    updates: PositiveInt = 2000
    batch_size: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-3
    warmup: PositiveInt = 50
    weight_decay: float = 1e-2
    clip_norm: PositiveFloat = 1.0
    gamma: float = 2.0
    lambda_: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    seed: int = 0
    workers: int = 0
    validate_every: PositiveInt = 250
    augmentation: Augmentation = Augmentation()
