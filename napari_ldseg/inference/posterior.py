"""The running posterior over segmentations, valid after every added sample.

Few sampling steps estimate the mean of the posterior, many draw from it. The denoiser's errors add up over many
steps, so on the bundled models the mean of ten many-step samples is a worse label map than one few-step estimate.
Hence the label map is such an estimate, where it was made, and the samples say how uncertain it is. The
probability of a class is the mean of both, which finds the label map's errors better than the samples alone.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import psutil
import torch
from torch import Tensor

from ..checkpoint.metadata import Calibration
from ..scans.scan import Scan
from .calibration import (
    apply_temperature,
    describe_intervals,
    describe_ranking,
    reason_intervals_not_calibrated,
    reason_not_calibrated,
    volume_interval,
)
from .probability import expected_error_of, most_probable, predictive_sd_of

Frame = tuple[int, ...]
MEMORY_SHARE = 0.3  # of the free memory that one array may take


@dataclass
class Posterior:
    """The distribution of an image's segmentations, estimated from samples.

    A frame is one input of the networks: the image itself, or one slice or time point of it, addressed
    by its leading indices. ``shape`` is the image's (*leading, *space).

    Attributes
    ----------
    leading
        Number of leading axes.
    counts
        Samples added so far per frame, int (*leading).
    keep_labels, sample_labels
        Whether to keep each sample's most probable classes, and these: uint8 (*space) per
        (frame, sample).
    latents
        z_l(0) per (frame, sample), float32 on the CPU, from which any sample can be decoded again; none of
        an image that was segmented in tiles.
    provenance
        Everything needed to reproduce the result.
    calibration
        The checkpoint's calibration, even if it does not apply to this result: see ``not_calibrated``.
    """

    scan: Scan
    class_names: tuple[str, ...]
    leading: int
    provenance: dict
    planned_frames: tuple[Frame, ...]
    calibration: Calibration | None = None
    keep_labels: bool = False
    unlike: str | None = None  # what shows that the image is unlike the training images
    images: str = ""  # what these are
    larger: bool = False  # than the training images
    estimate_share: float = field(kw_only=True)  # see probability.estimate_share
    counts: np.ndarray = field(init=False)
    latents: dict[tuple[Frame, int], Tensor] = field(default_factory=dict)
    sample_labels: dict[tuple[Frame, int], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.scan.shape
        self.counts = np.zeros(shape[: self.leading], dtype=np.int32)
        self._label_map = torch.zeros(shape, dtype=torch.uint8)
        self._label_rows = np.zeros(shape[: self.leading + 1], dtype=bool)
        self._estimate: Tensor | None = None
        self._mean = _zeros((len(self.class_names), *shape))
        self._squares = _zeros((len(self.class_names), *shape))
        self._voxels: dict[int, np.ndarray] = {}
        # Of a large image some rows have one sample more than others while a sample is being drawn.
        self._row_counts = np.zeros(shape[: self.leading + 1], dtype=np.int32)

    def add(self, frame: Frame, sample: int, probabilities: Tensor, latent: Tensor) -> None:
        """Add sample number ``sample`` of ``frame``: probabilities (classes, *space), 0 to 1.

        Updates the running mean and squared deviation (Welford, Technometrics 4, 1962).
        """
        labels = self.add_rows(frame, sample, 0, probabilities)
        self.counts[frame] += 1
        if self.keep_labels:
            self.sample_labels[frame, sample] = labels
        self.latents[frame, sample] = latent

    def add_rows(self, frame: Frame, sample: int, start: int, probabilities: Tensor) -> np.ndarray:
        """Add rows of a sample along the first axis of space, from ``start``: (classes, rows, *space[1:]).

        Returns their most probable classes, uint8 (rows, *space[1:]). The sample counts once
        ``complete`` is called. Rows that already have the sample are not added again.
        """
        probabilities = probabilities.to("cpu", torch.float32)
        labels = most_probable(probabilities).numpy()
        rows = slice(start, start + probabilities.shape[1])
        counts = self._row_counts[frame][rows]
        if (counts > self.counts[frame]).all():
            return labels
        counts += 1
        at: tuple[slice | int, ...] = (slice(None), *frame, rows)
        mean, squares = self._mean[at], self._squares[at]
        n = int(self.counts[frame]) + 1
        difference = probabilities - mean
        mean.add_(difference, alpha=1 / n)
        squares.addcmul_(difference, difference, value=1 - 1 / n)
        voxels = np.array([np.count_nonzero(labels == c) for c in range(len(self.class_names))])
        self._voxels[sample] = self._voxels.get(sample, 0) + voxels
        return labels

    def set_label_map(self, frame: Frame, start: int, probabilities: Tensor) -> None:
        """Let rows of the label map, from ``start``, be of an estimate (classes, rows, *space[1:]), 0 to 1."""
        rows = slice(start, start + probabilities.shape[1])
        probabilities = probabilities.to("cpu", torch.float32)
        if self._estimate is None:
            self._estimate = _zeros((len(self.class_names), *self.scan.shape), torch.float16)
        at: tuple[slice | int, ...] = (slice(None), *frame, rows)
        self._estimate[at] = probabilities.half()
        self._label_map.numpy()[frame][rows] = most_probable(probabilities).numpy()
        self._label_rows[frame][rows] = True

    def has_label_map(self, frame: Frame) -> bool:
        """Whether the label map of ``frame`` is an estimate, not the most probable class of the samples."""
        return bool(self._label_rows[frame].all())

    def complete(self, frame: Frame) -> None:
        """Count a sample of ``frame`` whose rows have all been added."""
        self.counts[frame] += 1

    @property
    def labelled(self) -> np.ndarray:
        """Whether each row of each frame has labels, bool (*leading, rows)."""
        return self._label_rows | (self._row_counts > 0)

    @property
    def n(self) -> int:
        """The number N of samples that every planned frame has."""
        return int(min(self.counts[frame] for frame in self.planned_frames))

    @property
    def labels(self) -> np.ndarray:
        """The label map, uint8, shaped like the image; 0 in rows that have none yet.

        The estimate of ``set_label_map``; without it the most probable class of the samples.
        """
        if self._label_rows.all():
            return self._label_map.numpy().copy()
        rows = self._on_shape(self._label_rows)
        return torch.where(rows, self._label_map, most_probable(self._mean)).numpy()

    @property
    def mean_probability(self) -> np.ndarray:
        """Class probabilities, the mean of the samples: float32 (classes, *shape), 0 to 1."""
        return self._mean.numpy()

    @property
    def estimate(self) -> Tensor | None:
        """The class probabilities of the label map's estimate, float16 (classes, *shape); None if there is none."""
        made = all(self.has_label_map(frame) for frame in self.planned_frames)
        return self._estimate if made else None

    @property
    def probability(self) -> np.ndarray:
        """Class probabilities: the mean of ``mean_probability`` and the label map's estimate, where it was made.

        Both estimate the same. Of a deterministic model, whose samples are parts of the estimate, it is the estimate.
        Float32 (classes, *shape), 0 to 1; 0 in rows without samples.
        """
        return torch.stack(list(self._probabilities())).numpy()

    def _probabilities(self) -> Iterator[Tensor]:
        """Yield the ``probability`` of each class, (*shape); only one of them need be in memory."""
        if self._estimate is None:
            yield from self._mean
            return
        share = self._on_shape(self.estimate_share * (self._label_rows & (self._row_counts > 0)))
        for mean, estimate in zip(self._mean, self._estimate, strict=True):
            yield mean.lerp(estimate.float(), share.float())

    def _on_shape(self, rows: np.ndarray) -> Tensor:
        """Return values (*leading, rows) so that they apply to arrays like the image."""
        return torch.from_numpy(rows).reshape(
            *rows.shape, *(1,) * (len(self.scan.shape) - rows.ndim)
        )

    @property
    def sample_sd(self) -> np.ndarray | None:
        """Standard deviation of the probabilities over the samples (Figure 10 of the paper).

        Population SD (ddof = 0), maximum over classes, float32, 0 to 0.5, shaped like the image;
        None below two samples.
        """
        if self.n < 2:
            return None
        largest = self._squares.amax(0)
        n = self._on_shape(self._row_counts.astype(np.float32)).clamp(min=1)
        return largest.div_(n).clamp_(min=0).sqrt_().numpy()

    @property
    def predictive_sd(self) -> np.ndarray:
        """sqrt(p (1 - p)) of the ``probability`` p, maximum over classes, float32, 0 to 0.5."""
        return predictive_sd_of(self._probabilities())

    @property
    def error_probability(self) -> np.ndarray:
        """1 - p of the label map's class, p the ``probability``: float32, 0 to 1, 0 in rows without samples."""
        error = torch.zeros(self.scan.shape)
        labels = torch.from_numpy(self.labels)
        for c, p in enumerate(self._probabilities()):
            torch.where(labels == c, 1 - p, error, out=error)
        error[torch.from_numpy(self._row_counts == 0)] = 0
        return error.clamp_(min=0).numpy()

    @property
    def runner_up(self) -> np.ndarray:
        """The most probable class other than the label map's, uint8, shaped like the image."""
        classes = len(self._mean)
        if classes == 1:
            return np.zeros(self.scan.shape, np.uint8)
        best = torch.from_numpy(self.labels)
        without_best = [p.masked_fill(best == c, -1) for c, p in enumerate(self._probabilities())]
        return most_probable(without_best).numpy()

    @property
    def not_calibrated(self) -> str | None:
        """Why the checkpoint's calibration does not apply to this result; None if it does."""
        steps, sampler = self.provenance.get("steps"), self.provenance.get("sampler", "")
        if self.calibration is not None and self.larger:
            return "the image is larger than those the model was trained on"
        if self.calibration is not None and self.unlike:
            return f"the image is unlike those the model was trained on ({self.unlike})"
        return reason_not_calibrated(self.calibration, self.n, steps, sampler)

    @property
    def warning(self) -> str | None:
        """A sentence that the image is unlike the training images; None if nothing shows that it is."""
        if self.unlike is None:
            return None
        model = self.provenance.get("checkpoint", "the model")
        return f"This image is unlike the images that {model} was trained on ({self.unlike}): check every contour."

    @property
    def intervals_not_calibrated(self) -> str | None:
        """Why ``volume_intervals`` is only the range of the samples; None if it is calibrated."""
        reason = self.not_calibrated
        if reason is None and self.calibration is not None:
            reason = reason_intervals_not_calibrated(self.calibration, self.counts.size)
        return reason

    @property
    def _calibrated_for(self) -> str:
        if self.calibration is None or not self.images:
            return ""
        return f" The model was calibrated on cases of: {self.images}."

    @property
    def calibrated_probability(self) -> np.ndarray | None:
        """``mean_probability`` after temperature scaling (classes, *shape), float32, 0 to 1.

        None if ``not_calibrated``.
        """
        if self.calibration is None or self.not_calibrated:
            return None
        return apply_temperature(self.mean_probability, self.calibration.temperature)

    def volume_intervals(self) -> np.ndarray | None:
        """Return the interval of each foreground class's volume, (classes - 1, 2), in voxels.

        Split conformal intervals if calibrated, else the smallest and largest volume of the samples;
        None if not calibrated and below two samples. Widened to the label map's volume where it is outside.
        """
        voxels = self.voxel_counts()[:, 1:]
        if self.calibration is not None and not self.intervals_not_calibrated:
            low, high = volume_interval(voxels, np.array(self.calibration.volume_factors)).T
        elif len(voxels) > 1:
            low, high = voxels.min(0), voxels.max(0)
        else:
            return None
        counts = np.bincount(self.labels.ravel(), minlength=len(self.class_names))[1:]
        return np.stack([np.minimum(low, counts), np.maximum(high, counts)], axis=1)

    def voxel_counts(self) -> np.ndarray:
        """Return the voxels per class of each complete sample, int (N, classes).

        All frames of a sample have the same noise, so the spread is that of complete volumes.
        """
        complete = [self._voxels[i] for i in sorted(self._voxels)[: self.n]]
        return np.array(complete, dtype=np.int64).reshape(-1, len(self.class_names))

    @property
    def voxel_size(self) -> float:
        """mm^3 per voxel (mm^2 per pixel of a single slice), 1 where the image is not calibrated."""
        return self.scan.voxel_size

    def expected_error(self) -> float:
        """Return one minus the Dice of the label map that the model's probabilities predict, 0 to 1.

        See ``expected_error_of``, of the label map and the ``probability``. Use it to rank cases; as a
        measure of the error it is only as good as the calibration of p. Of ten scores it ranked the errors
        best, averaged over three models; ``benchmarks/expected_error.py`` compares them.
        """
        return expected_error_of(self.labels, self._probabilities())

    def summary(self, predictive_sd: np.ndarray | None = None) -> dict:
        """Return the classes with their sizes, the warning, the expected error, the mean SDs and the provenance.

        All of it can be written as JSON. Sizes are per time point: the mean over the frames of a loop.
        ``predictive_sd`` saves its computation where it is known.
        """
        time_points = math.prod(self.scan.shape[: -self.scan.space])
        unit_size = self.voxel_size / max(time_points, 1)
        counts = self.voxel_counts() * unit_size
        most = self.labels
        labels = [np.count_nonzero(most == c) * unit_size for c in range(len(self.class_names))]
        unit = "voxels"
        if self.scan.calibrated:
            unit = "mm3" if self.scan.space == 3 else "mm2"
        sd = self.sample_sd
        predictive_sd = self.predictive_sd if predictive_sd is None else predictive_sd
        intervals = self.volume_intervals()
        reason = self.intervals_not_calibrated
        return {
            "samples": self.n,
            "unit": unit,
            "time_points": time_points,
            "classes": {
                name: {
                    "size": float(labels[c]),
                    "sample_sizes": [float(v) for v in counts[:, c]],
                    "interval": None
                    if intervals is None
                    else [float(v * unit_size) for v in intervals[c - 1]],
                }
                for c, name in enumerate(self.class_names)
                if c > 0
            },
            "calibrated": {
                "probability": self.not_calibrated is None,
                "intervals": reason is None,
                "meaning": describe_intervals(self.calibration, reason) + self._calibrated_for,
            },
            "warning": self.warning,
            "expected_error": self.expected_error(),
            "expected_error_ranking": describe_ranking(self.calibration),
            "mean_sample_sd": None if sd is None else float(sd.mean()),
            "mean_predictive_sd": float(predictive_sd.mean()),
            "provenance": {
                **self.provenance,
                "samples": self.n,
                "calibrated": self.not_calibrated is None,
            },
        }


def _zeros(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return zeros, in a temporary file where they would take much of the free memory."""
    zeros = torch.zeros((), dtype=dtype)
    if zeros.itemsize * math.prod(shape) < MEMORY_SHARE * psutil.virtual_memory().available:
        return torch.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile() as file:  # stays until the array is gone
        return torch.from_numpy(np.memmap(file, zeros.numpy().dtype, "w+", shape=shape))
