"""The running posterior over segmentations: valid after every sample that it takes in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .scan import Scan

Frame = tuple[int, ...]


@dataclass
class Posterior:
    """What is known after some samples of an image's segmentation.

    A frame is what the networks see at once: the whole image, or one slice or time point of it,
    addressed by its leading indices. ``shape`` is the image's (*leading, *space).

    Attributes
    ----------
    counts
        Samples taken in so far per frame, int (*leading).
    latents
        z_l(0) per (frame, sample), float32 on the CPU: enough to decode any sample again.
    provenance
        Everything needed to repeat the result.
    """

    scan: Scan
    class_names: tuple[str, ...]
    leading: int
    provenance: dict
    planned_frames: tuple[Frame, ...]
    counts: np.ndarray = field(init=False)
    latents: dict[tuple[Frame, int], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.scan.shape
        self.counts = np.zeros(shape[: self.leading], dtype=np.int32)
        self._mean = torch.zeros(len(self.class_names), *shape)
        self._squares = torch.zeros(len(self.class_names), *shape)
        self._voxels: dict[int, np.ndarray] = {}

    def add(self, frame: Frame, sample: int, probabilities: Tensor, latent: Tensor) -> None:
        """Take in sample number ``sample`` of ``frame``: probabilities (classes, *space), 0 to 1.

        Running mean and squared deviation after Welford (Technometrics 4, 1962).
        """
        self.counts[frame] += 1
        at: tuple[slice | int, ...] = (slice(None), *frame)
        probabilities = probabilities.to("cpu", torch.float32)
        mean, squares = self._mean[at], self._squares[at]
        n = int(self.counts[frame])
        difference = probabilities - mean
        mean.add_(difference, alpha=1 / n)
        squares.addcmul_(difference, difference, value=1 - 1 / n)
        labels = most_probable(probabilities)
        voxels = np.array([int((labels == c).sum()) for c in range(len(self.class_names))])
        self._voxels[sample] = self._voxels.get(sample, 0) + voxels
        self.latents[frame, sample] = latent

    @property
    def n(self) -> int:
        """The true number N of samples behind every planned frame."""
        return int(min(self.counts[frame] for frame in self.planned_frames))

    @property
    def labels(self) -> np.ndarray:
        """Most probable class per voxel, uint8, shaped like the image; 0 where nothing was sampled."""
        return most_probable(self._mean).numpy()

    @property
    def mean_probability(self) -> np.ndarray:
        """Mean class probabilities (classes, *shape), float32, 0 to 1."""
        return self._mean.numpy()

    @property
    def sample_sd(self) -> np.ndarray | None:
        """Standard deviation of the probabilities over the samples (Figure 10 of the paper).

        Population SD (ddof = 0), maximum over classes, float32, 0 to 0.5, shaped like the image;
        None below two samples.
        """
        if self.n < 2:
            return None
        largest = self._squares.amax(0)
        n = torch.from_numpy(self.counts.astype(np.float32)).clamp(min=1)
        n = n.reshape(*n.shape, *(1,) * (largest.ndim - n.ndim))
        return (largest / n).clamp_(min=0).sqrt_().numpy()

    @property
    def predictive_sd(self) -> np.ndarray:
        """sqrt(p (1 - p)) of the mean probability p, maximum over classes, float32, 0 to 0.5."""
        variance = (self._mean * (1 - self._mean)).amax(0)
        return variance.clamp_(min=0).sqrt_().numpy()

    def voxel_counts(self) -> np.ndarray:
        """Voxels per class of each complete sample, int (N, classes).

        All frames of a sample share its base noise, so these spread as whole volumes do.
        """
        complete = [self._voxels[i] for i in sorted(self._voxels)[: self.n]]
        return np.array(complete, dtype=np.int64).reshape(-1, len(self.class_names))

    @property
    def voxel_size(self) -> float:
        """mm^3 per voxel (mm^2 per pixel of a single slice), 1 where the image is not calibrated."""
        if not self.scan.calibrated:
            return 1.0
        sizes = self.scan.spacing[-min(3, len(self.scan.shape)) :]
        return float(np.prod(sizes))

    def summary(self) -> dict:
        """Return classes with their sizes, the mean SD and the provenance, ready for JSON.

        Sizes are per time point: their mean over the axes before the last three.
        """
        time_points = math.prod(self.scan.shape[:-3])
        unit_size = self.voxel_size / max(time_points, 1)
        counts = self.voxel_counts() * unit_size
        labels = np.bincount(self.labels.ravel(), minlength=len(self.class_names)) * unit_size
        unit = "voxels"
        if self.scan.calibrated:
            unit = "mm3" if len(self.scan.shape) >= 3 else "mm2"
        sd = self.sample_sd
        return {
            "samples": self.n,
            "unit": unit,
            "time_points": time_points,
            "classes": {
                name: {
                    "size": float(labels[c]),
                    "sample_sizes": [float(v) for v in counts[:, c]],
                }
                for c, name in enumerate(self.class_names)
                if c > 0
            },
            "mean_sample_sd": None if sd is None else float(sd.mean()),
            "mean_predictive_sd": float(self.predictive_sd.mean()),
            "provenance": {**self.provenance, "samples": self.n},
        }


def most_probable(probabilities: Tensor) -> Tensor:
    """Return the most probable class of (classes, *space), uint8; the first of equal ones.

    Class by class: torch's argmax over a leading axis is many times slower on a CPU.
    """
    largest = probabilities[0].clone()
    labels = torch.zeros(largest.shape, dtype=torch.uint8)
    for c, probability in enumerate(probabilities[1:], start=1):
        labels.masked_fill_(probability > largest, c)
        torch.maximum(largest, probability, out=largest)
    return labels
