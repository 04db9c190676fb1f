"""The samples of a result, kept as latents and decoded when they are looked at."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.metadata import Metadata
from ..model.base import SegmentationModel
from .posterior import Frame
from .preprocessing import GridMap
from .probability import estimate_share, most_probable

CACHED_VALUES = 2**27  # decoded probabilities that are kept, 512 MiB


@dataclass
class Samples:
    """N samples of every frame of an image as latents, with the networks that decode them.

    What was decoded is kept, up to 512 MiB, for all who look at the samples, in any thread.

    Attributes
    ----------
    metadata, model, mapping
        The checkpoint's metadata, its networks for inference, and the way to the image's grid.
    shape
        The image's (*leading, *space); a result for a part of an image has that part's.
    frames
        Leading indices of the frames that were sampled, as in ``Posterior.planned_frames``.
    latents
        z_l(0), float32 (N, frames, latent_channels, *cells), on the CPU.
    provenance
        That of the posterior: checkpoint, seed, steps and so on.
    estimate
        The class probabilities of the label map's estimate, float16 (classes, *shape); None if there is none.
    window
        What the networks see at a time, in voxels of their grid, if it is not the whole image.
    """

    metadata: Metadata
    model: SegmentationModel
    mapping: GridMap
    shape: tuple[int, ...]
    frames: tuple[Frame, ...]
    latents: Tensor
    provenance: Mapping
    estimate: Tensor | None = None
    window: tuple[int, ...] | None = None
    _labels: dict[int, bytes] = field(default_factory=dict, repr=False)
    _decoded: dict[tuple[int, int], Tensor] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        """The number of samples N."""
        return len(self.latents)

    def probabilities(self, sample: int, frame: int) -> Tensor:
        """Decode one sample of ``frames[frame]``: float32 (classes, *space), 0 to 1, on the image's grid.

        Do not change it: others get the same tensor.
        """
        found = self._decoded.get((sample, frame))
        if found is None:
            found = self._decoded[sample, frame] = self._decode_one(sample, frame)
            while found.numel() * len(self._decoded) > CACHED_VALUES and len(self._decoded) > 1:
                oldest, *_ = list(self._decoded)  # a copy, because other threads add some
                self._decoded.pop(oldest, None)
        return found

    @torch.inference_mode()
    def _decode_one(self, sample: int, frame: int) -> Tensor:
        logits = self.model.decode(self.latents[sample, frame][None], self.mapping.size)
        return self.mapping.restore(logits[0].softmax(0))

    def with_estimate(self, mean: Tensor, frame: int) -> Tensor:
        """Return ``Posterior.probability`` in ``frames[frame]`` from the samples' ``mean`` (classes, *space)."""
        if self.estimate is None:
            return mean
        at: tuple[slice | int, ...] = (slice(None), *self.frames[frame])
        return mean.lerp(self.estimate[at].float(), estimate_share(self.metadata))

    def frame_labels(self, sample: int, frame: int) -> np.ndarray:
        """Return the most probable classes of one sample of one frame, uint8 (*space)."""
        return most_probable(self.probabilities(sample, frame)).numpy()

    def labels(self, sample: int) -> np.ndarray:
        """Return the most probable classes of a whole sample, uint8 ``shape``; 0 in other frames.

        Decoded once; later calls unpack a compressed copy.
        """
        if sample not in self._labels:
            whole = np.zeros(self.shape, np.uint8)
            for number, frame in enumerate(self.frames):
                whole[frame] = self.frame_labels(sample, number)
            self._labels[sample] = zlib.compress(whole.tobytes(), 1)
        packed = zlib.decompress(self._labels[sample])
        return np.frombuffer(packed, np.uint8).reshape(self.shape)


def stacked_latents(
    latents: Mapping[tuple[Frame, int], Tensor], frames: Sequence[Frame], n: int
) -> Tensor:
    """Return the latents of ``n`` complete samples, (n, frames, latent_channels, *cells)."""
    return torch.stack(
        [torch.stack([latents[frame, sample] for frame in frames]) for sample in range(n)]
    ).float()
