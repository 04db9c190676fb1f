"""LDSeg: the four networks, the schedule and the parametrisation as one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .architecture import Architecture
from .base import SegmentationModel
from .blocks import append_axes, crop_to_size, pad_to_stride
from .networks import (
    Denoiser,
    ImageEncoder,
    LabelDecoder,
    LabelEncoder,
    NearestImage,
    NearestLabel,
    SignedDistanceLabel,
)
from .parametrisation import PARAMETRISATIONS, Estimate
from .samplers import StepNoise, ddim, ddpm
from .schedule import NoiseSchedule

LABEL_ENCODERS = {
    "learned": LabelEncoder,
    "nearest": NearestLabel,
    "signed-distance": SignedDistanceLabel,
}
IMAGE_ENCODERS = {"learned": ImageEncoder, "nearest": NearestImage}


class Networks(NamedTuple):
    """The four networks, with the inputs and outputs of the classes of these names in ``networks``."""

    label_encoder: nn.Module
    label_decoder: nn.Module
    image_encoder: nn.Module
    denoiser: nn.Module


def paper_networks(architecture: Architecture) -> Networks:
    """Return the project's own networks, with the encoders that ``architecture`` names."""
    return Networks(
        LABEL_ENCODERS[architecture.label_encoder](architecture),
        LabelDecoder(architecture),
        IMAGE_ENCODERS[architecture.image_encoder](architecture),
        Denoiser(architecture),
    )


class LDSeg(SegmentationModel):
    """Latent diffusion segmentation (arXiv 2407.12952).

    Any image size works: inputs are padded to the stride by repeating the border, and decoded
    results are cropped. ``networks`` defaults to ``paper_networks``.
    """

    fast_networks = ("image_encoder", "label_decoder")

    def __init__(
        self,
        architecture: Architecture,
        parametrisation: str = "velocity",
        schedule: NoiseSchedule | None = None,
        networks: Networks | None = None,
    ):
        super().__init__()
        self.architecture = architecture
        self.parametrisation = PARAMETRISATIONS[parametrisation]
        self.schedule = schedule or NoiseSchedule()
        networks = networks or paper_networks(architecture)
        self.label_encoder = networks.label_encoder
        self.label_decoder = networks.label_decoder
        self.image_encoder = networks.image_encoder
        self.denoiser = networks.denoiser

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (latent_channels, *cells) for an image of spatial ``size``."""
        return self.architecture.latent_shape(size)

    def encode_label(self, label: Tensor) -> Tensor:
        """Map a one-hot label (batch, classes, *size), float, to z_l(0) (batch, latent_channels, *cells)."""
        return self.label_encoder(self._pad(label))

    def encode_image(self, image: Tensor) -> Tensor:
        """Map an image (batch, image_channels, *size), float, to z_i (batch, embedding_channels, *cells)."""
        return self.image_encoder(self._pad(image))

    def decode(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Map a latent (batch, latent_channels, *cells) to logits (batch, classes, *size), float32."""
        return crop_to_size(self.label_decoder(z.to(self._dtype())), size)

    def diffuse(self, z0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return z_l(t) = sqrt(abar) z_l(0) + sqrt(1 - abar) eps (eq. 11); ``t`` is (batch,)."""
        a = append_axes(self.schedule.alpha_bars(t), z0.ndim)
        return torch.sqrt(a) * z0 + torch.sqrt(1 - a) * noise

    def estimate(self, z: Tensor, t: float, z_i: Tensor) -> Estimate:
        """Run the denoiser once at time ``t`` and return (noise, z0) in the precision of ``z``."""
        times = torch.full((len(z),), t, device=z.device, dtype=torch.float32)
        output = self.denoiser(z.to(self._dtype()), z_i, times).to(z.dtype)
        return self.parametrisation.estimate(output, z, self.schedule.alpha_bar(t))

    def sample(
        self,
        z_i: Tensor,
        noise: Tensor,
        steps: int,
        sampler: str = "ddim",
        step_noise: StepNoise | None = None,
        on_latent: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Sample label embeddings (Algorithm 2).

        Parameters
        ----------
        z_i
            Image embeddings (batch, embedding_channels, *cells).
        noise
            Initial noise z_l(T) ~ N(0, I), (batch, latent_channels, *cells); the sampler computes in
            its precision.
        steps
            Number of sampling times K.
        sampler
            ``"ddim"`` or ``"ddpm"``.
        step_noise
            Returns the noise of step k = 0..K-1, shaped like ``noise``. DDPM needs it; at the last step
            both samplers add it times sqrt(1 - abar(0)), which is 0 for the cosine schedule.
        on_latent
            Called with each latent of the trajectory: the initial one and the one after each of the K
            steps.

        Returns
        -------
        Tensor
            z_l(0), shaped like ``noise``.
        """

        def predict(z: Tensor, t: float) -> Estimate:
            return self.estimate(z, t, z_i)

        def after_step(z: Tensor) -> Tensor:
            z = self.parametrisation.after_step(z)
            if on_latent is not None:
                on_latent(z)
            return z

        if sampler == "ddim":
            z = ddim(predict, noise, self.schedule, steps, after_step, step_noise=step_noise)
        elif sampler == "ddpm":
            if step_noise is None:
                raise ValueError("ddpm needs the noise of each step")
            z = ddpm(predict, noise, self.schedule, steps, after_step, step_noise=step_noise)
        else:
            raise ValueError(f"the sampler must be 'ddim' or 'ddpm', not {sampler!r}")
        if on_latent is not None and self.schedule.alpha_bar(self.schedule.times(steps)[-1]) == 1:
            on_latent(z)  # the skipped last step does not change the latent
        return z

    def _dtype(self) -> torch.dtype:
        return next(self.denoiser.parameters()).dtype

    def _pad(self, x: Tensor) -> Tensor:
        return pad_to_stride(x, self.architecture.stride)
