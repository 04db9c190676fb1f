"""The settings of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

Network = Literal["label_encoder", "label_decoder", "image_encoder", "denoiser", "diffusion"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(BaseModel):
    """Random changes of the training images; the spatial ones change image and label together.

    Angles are in radians, ``scale`` is a fraction, ``shift``, ``elastic`` (the largest displacement) and
    ``blur`` (an SD) are voxels of the networks' grid, ``noise`` is the largest SD on the [0, 1] image,
    ``contrast`` the largest change of gamma, ``stain`` the largest relative change of each stain of an
    H&E image (hematoxylin, eosin), ``colour`` the SD of the change of each channel's share of each channel
    and twice that of a gradient of light, as of another camera. ``flip_axes`` count from 0 on the networks' grid. Zero switches a
    change off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    rotation: NonNegativeFloat = 0.2
    scale: Fraction = 0.15
    shift: NonNegativeFloat = 3.2
    elastic: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.05
    contrast: Fraction = 0.3
    blur: NonNegativeFloat = 1.0
    stain: Fraction = 0.0
    colour: Fraction = 0.0


class TrainingSettings(BaseModel):
    """Length, optimiser and loss of one training run.

    ``batch_size`` counts the samples of one update over all devices together. ``gamma`` and ``lambda_``
    weigh the Dice and the noise loss (2 and 1 in the paper). ``blend`` interpolates between the weights
    that the run starts from (0) and the trained ones (1): less than 1 forgets less (Wortsman et al.,
    arXiv 2109.01903). ``fixed`` names networks that keep their weights. ``precision`` is one of Lightning Fabric;
    auto is bf16-mixed where the device has instructions for it, otherwise 32-true. ``cache_gib`` bounds the memory for
    prepared images on each node; what does not fit is read again. Every update sees random square parts of
    ``patch`` pixels per axis of the images, or with 0 complete images. Of a DiffDGSS model, the first
    ``diffusion_updates`` of the ``updates`` train the diffusion network on images alone; the others leave it as
    it is, as in the paper, unless they are ``end_to_end``. Of an LDSeg model, the first ``autoencoder_updates`` train
    the label encoder and decoder alone by the segmentation loss, and the others image encoder and denoiser alone by
    the noise loss; with 0 every update trains all four.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    updates: PositiveInt = 2000
    diffusion_updates: NonNegativeInt = 0
    end_to_end: bool = False
    autoencoder_updates: NonNegativeInt = 0
    patch: Annotated[int, Field(ge=0, le=4096)] = 0
    batch_size: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-3
    warmup: PositiveInt = 50
    weight_decay: NonNegativeFloat = 1e-2
    clip_norm: PositiveFloat = 1.0
    blend: Annotated[float, Field(gt=0, le=1)] = 1.0
    fixed: tuple[Network, ...] = ()
    gamma: NonNegativeFloat = 2.0
    lambda_: NonNegativeFloat = 1.0
    ema_decay: Fraction = 0.999
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    cache_gib: NonNegativeFloat = 4.0
    validate_every: PositiveInt = 250
    augmentation: Augmentation = Augmentation()
