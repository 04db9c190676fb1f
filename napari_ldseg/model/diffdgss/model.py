"""DiffDGSS: the frozen image diffusion network and the interpreter as one model, and their losses."""

from __future__ import annotations

from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from ..architecture import Architecture
from ..base import SegmentationModel
from ..blocks import append_axes, crop_to_size, pad_to_stride
from ..schedule import NoiseSchedule
from ..surround import background_outside, centred
from .image_unet import ImageUNet
from .interpreter import Interpreter
from .inversion import Noise, features_over_times
from .sizes import DiffDGSSSizes


class DiffDGSS(SegmentationModel):
    """Segmentation from diffusion features (DiffDGSSv2, IEEE TMI 45(2), 668-680, 2026).

    Any image size works: images are padded to the stride by repeating the border.

    It also has the interface of ``LDSeg`` for inference: the image embedding is the logits of all K
    times, and a sample is the segmentation of one time, so that the spread of samples is that over times.
    """

    def __init__(self, sizes: DiffDGSSSizes, architecture: Architecture | None = None):
        super().__init__()
        self.sizes = sizes
        self.architecture = architecture or Architecture(2, sizes.image_channels, sizes.classes)
        self.schedule = NoiseSchedule(sizes.schedule_length, "cosine")
        self.diffusion = ImageUNet(sizes)
        self.interpreter = Interpreter(sizes)

    def diffusion_loss(self, image: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return the mean squared error of the predicted clean image, a scalar.

        ``image`` and ``noise`` are (batch, channels, *size), ``t`` (batch,) are times 0..T-1.
        """
        a = append_axes(self.schedule.alpha_bars(t), image.ndim)
        noised = a.sqrt() * image + (1 - a).sqrt() * noise
        return F.mse_loss(self.diffusion(noised, t), image)

    def logits_at(
        self, image: Tensor, k: int, noise: Noise | None = None, frozen: bool = True
    ) -> Tensor:
        """Return the expert's logits (batch, classes, *size) at the k-th time alone.

        The diffusion network is not trained by this where it is ``frozen``: its features carry no gradient.
        """
        sizes, padded = self.sizes, pad_to_stride(image, self.sizes.stride)
        start = 0 if sizes.inversion == "chained" else k
        times = sizes.times[start : k + 1]
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            over_times = features_over_times(
                self.diffusion, padded, times, self.schedule, sizes.inversion, noise
            )
            features = next(islice(over_times, k - start, None))
        return crop_to_size(self._expert(features, k), image.shape[2:])

    def logits_over_times(self, image: Tensor, noise: Noise | None = None) -> Tensor:
        """Return the expert's logits of all K times, (batch, K, classes, *size).

        Features are made and used one time after the other; they carry no gradient.
        """
        sizes, padded = self.sizes, pad_to_stride(image, self.sizes.stride)
        over_times = features_over_times(
            self.diffusion, padded, sizes.times, self.schedule, sizes.inversion, noise
        )
        logits = []
        for k in range(len(sizes.times)):
            with torch.no_grad():
                features = next(over_times)
            logits.append(crop_to_size(self._expert(features, k), image.shape[2:]))
        return torch.stack(logits, dim=1)

    def forward(self, image: Tensor, noise: Noise | None = None) -> Tensor:
        """Return logits (batch, classes, *size), float32; the diffusion network has no gradient."""
        return self.interpreter.weighting(self.logits_over_times(image, noise))

    def latent_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return (classes, *size)."""
        return (self.sizes.classes, *size)

    def encode_image(self, image: Tensor) -> Tensor:
        """Map an image (batch, channels, *size) in [0, 1] to the logits of all times (batch, K classes, *size).

        Where every channel is 0 is surround: the networks see the mean there, and the result is background.
        """
        logits = self.logits_over_times(centred(image))
        return background_outside(image, logits).flatten(1, 2)

    def sample(self, z_i: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Return logits (batch, classes, *size): in one step the weighted sum over times, else those of one
        time, which the noise (batch, classes, *size) chooses with equal probability.
        """
        logits = z_i.unflatten(1, (-1, self.sizes.classes))
        if steps == 1:
            return self.interpreter.weighting(logits)
        chosen = torch.special.ndtr(noise.flatten(1)[:, 0].double()) * len(self.sizes.times)
        index = chosen.long().clamp(max=len(self.sizes.times) - 1)
        return logits[torch.arange(len(logits), device=logits.device), index.to(logits.device)]

    def decode(self, z: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the logits ``z`` (batch, classes, *size) as float32."""
        return crop_to_size(z, size).float()

    def _expert(self, features: list[Tensor], k: int) -> Tensor:
        index = torch.full((len(features[0]),), k, device=features[0].device)
        return self.interpreter.expert(features, index)
