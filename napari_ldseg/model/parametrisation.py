"""What the denoiser predicts, and how the latent to decode is computed from it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .blocks import standardise


class Estimate(NamedTuple):
    """The noise and the clean latent that a prediction implies, both shaped like the latent."""

    noise: Tensor
    z0: Tensor


class Parametrisation(Protocol):
    """A training path and the sampling path that matches it.

    In every method ``a`` is abar(t), a number or a tensor that broadcasts against the latents.
    """

    def target(self, z0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        """Return what the denoiser is trained to predict."""

    def training_latent(self, output: Tensor, z_t: Tensor, a: Tensor) -> Tensor:
        """Return the latent that the decoder is trained on."""

    def estimate(self, output: Tensor, z_t: Tensor, a: float) -> Estimate:
        """Return the noise and the clean latent during sampling."""

    def after_step(self, z: Tensor) -> Tensor:
        """Return the latent that replaces ``z`` at the start and after each sampling step."""


class PlainDifference:
    """The paper's: predict the noise, decode z_l(t) - f_d (eq. 12), always standardised."""

    def target(self, z0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        return noise

    def training_latent(self, output: Tensor, z_t: Tensor, a: Tensor) -> Tensor:
        return standardise(z_t - output)

    def estimate(self, output: Tensor, z_t: Tensor, a: float) -> Estimate:
        return Estimate(output, (z_t - (1 - a) ** 0.5 * output) / a**0.5)

    def after_step(self, z: Tensor) -> Tensor:
        return standardise(z)


class Velocity:
    """v = sqrt(abar) eps - sqrt(1 - abar) z_0 (Salimans and Ho, arXiv 2202.00512); decode z_0."""

    def target(self, z0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        return torch.sqrt(a) * noise - torch.sqrt(1 - a) * z0

    def training_latent(self, output: Tensor, z_t: Tensor, a: Tensor) -> Tensor:
        return torch.sqrt(a) * z_t - torch.sqrt(1 - a) * output

    def estimate(self, output: Tensor, z_t: Tensor, a: float) -> Estimate:
        noise = (1 - a) ** 0.5 * z_t + a**0.5 * output
        return Estimate(noise, a**0.5 * z_t - (1 - a) ** 0.5 * output)

    def after_step(self, z: Tensor) -> Tensor:
        return z


PARAMETRISATIONS: dict[str, Parametrisation] = {
    "plain-difference": PlainDifference(),
    "velocity": Velocity(),
}
