"""How the diffusion network's features at a time are taken from an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..schedule import NoiseSchedule
from .image_unet import ImageUNet
from .sizes import Inversion

Noise = Callable[[int], Tensor]


def features_over_times(
    network: ImageUNet,
    image: Tensor,
    times: tuple[int, ...],
    schedule: NoiseSchedule,
    inversion: Inversion = "anchored",
    noise: Noise | None = None,
) -> Iterator[list[Tensor]]:
    """Yield the features at each time, one time after the other, so that only one is in memory.

    Parameters
    ----------
    network
        The diffusion network; it predicts x_0.
    image
        The clean image x_0 (batch, channels, *size) in [-1, 1].
    times
        Increasing times.
    schedule
        Of the network's training.
    inversion
        ``"anchored"``: F(t) = h(x_0, t), the clean image with each time; deterministic, and no time depends
        on another. ``"chained"``: DDIM inversion, x_next = sqrt(abar_next) x_0^ + sqrt(1 - abar_next)
        eps^, from the clean image at the first time on. ``"noised"``: x_t = sqrt(abar) x_0 +
        sqrt(1 - abar) eps.
    noise
        Returns eps of time t, shaped like ``image``; needed for ``"noised"``.

    Yields
    ------
    list of Tensor
        See ``ImageUNet.features``.
    """
    x = image
    for k, t in enumerate(times):
        batch_times = torch.full((len(image),), float(t), device=image.device)
        a = schedule.alpha_bar(t)
        if inversion == "noised":
            if noise is None:
                raise ValueError("noised features need the noise of each time")
            x = a**0.5 * image + (1 - a) ** 0.5 * noise(t)
        if inversion != "chained":
            yield network.features(x, batch_times)
            continue
        clean, features = network.run(x, batch_times)
        yield features
        if k + 1 < len(times):
            clean = clean.clamp(-1, 1)
            predicted_noise = (x - a**0.5 * clean) / (1 - a) ** 0.5
            after = schedule.alpha_bar(times[k + 1])
            x = after**0.5 * clean + (1 - after) ** 0.5 * predicted_noise
