"""The posterior given what the user knows: evidence changes the weights of the samples around it.

A sample that explains a stroke is likely to be right around the stroke as well. The weight of sample n
at voxel v is the softmax over n of

    sum over strokes s of  K(distance from v to s) * log-likelihood(n, s) / TEMPERATURE,

where the log-likelihood is the mean over the stroke's voxels of the log probability of the possible
classes, so that a long stroke counts once, and K falls from 1 at the stroke to 0 at a distance of REACH.
Farther away all weights are equal: with few samples a correlation across the image is mostly chance, and
weights that are the same everywhere made label maps worse (``benchmarks/conditioning.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .evidence import Evidence, Stroke
from .posterior import Frame, most_probable
from .samples import Samples

TEMPERATURE = 1.0
SMALLEST_PROBABILITY = 1e-3  # a sample that is sure and wrong is not excluded for ever
REACH = 0.28  # share of the shorter side of the networks' grid
FRAME_REACH = 3  # slices or frames to each side that a stroke has an effect on, less with distance
CACHED_VALUES = 2**27  # probabilities kept decoded between calls, 512 MiB

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ConditionedPosterior:
    """The posterior given the evidence, on the image's grid.

    Attributes
    ----------
    mean_probability
        Float32 (classes, *shape), 0 to 1; at voxels with evidence 0 for impossible classes and 1 for a
        known one; 0 in frames without samples.
    labels
        Most probable classes, uint8 ``shape``; at known voxels exactly the user's.
    error_probability
        1 - the largest mean probability, float32 ``shape``; 0 at known voxels and in frames without samples.
    runner_up
        Second most probable class, uint8 ``shape``.
    weights
        Weight of each sample at each stroke, float64 (strokes, N); a row sums to 1. Strokes without a
        voxel of effect and strokes in frames without samples have no row.
    redrawn
        How many latents (one sample of one frame each) were drawn anew.
    """

    mean_probability: np.ndarray
    labels: np.ndarray
    error_probability: np.ndarray
    runner_up: np.ndarray
    weights: np.ndarray
    redrawn: int

    @property
    def effective_samples(self) -> np.ndarray:
        """Effective sample size 1 / sum of squared weights at each stroke, float64 (strokes,), 1 to N."""
        return 1 / (self.weights**2).sum(1)


@dataclass(frozen=True)
class _Placed:
    """An effective stroke in its frame: ``number`` of the frame, voxels as flat indices of the frame."""

    number: int
    voxels: np.ndarray
    allowed: tuple[int, ...]


class Conditioner:
    """Conditions the samples of an image on evidence, as often as the evidence changes.

    Decoded samples of the frames that are affected are kept between calls, up to 512 MiB.

    Parameters
    ----------
    samples
        The samples of the result.
    mean_probability
        That of the result's posterior, float32 (classes, *shape), to save decoding unaffected frames.
    """

    def __init__(self, samples: Samples, mean_probability: np.ndarray | None = None):
        self.samples = samples
        self._dims = len(samples.mapping.shape)
        self._space = samples.shape[len(samples.shape) - self._dims :]
        self._prior = mean_probability
        self._decoded: dict[int, Tensor] = {}

    def condition(
        self, evidence: Evidence, on_progress: Progress = lambda share: None
    ) -> ConditionedPosterior:
        """Return the posterior given ``evidence``.

        ``on_progress`` is called with the finished share, 0 to 1, after each decoded sample; an exception
        that it raises cancels the work and leaves the conditioner usable.

        Raises
        ------
        ValueError
            If the evidence is for an image of another shape or other classes.
        """
        samples = self.samples
        classes = samples.metadata.architecture.classes
        if (evidence.shape, evidence.classes) != (samples.shape, classes):
            raise ValueError(
                f"evidence for {evidence.classes} classes and shape {evidence.shape} does not fit "
                f"samples of {classes} classes and shape {samples.shape}"
            )
        placed = self._placed(evidence.effective_strokes())
        reached = [n for n in range(len(samples.frames)) if any(self._near(n, s) for s in placed)]
        undecoded = reached if self._prior is not None else range(len(samples.frames))
        for done, number in enumerate(undecoded):
            self._decode(number, partial(_report, on_progress, done, len(undecoded)))
        likelihood = np.array(
            [log_likelihood(self._decode(s.number), s.voxels, s.allowed) for s in placed]
        ).reshape(-1, samples.n)
        mean = self._prior_mean()
        for number in reached:
            self._reweight(mean[_at(samples.frames[number])], number, placed, likelihood)
        apply_evidence(mean, evidence)
        on_progress(1.0)
        return _result(mean, samples.frames, self._weights(placed, likelihood), 0)

    def _placed(self, strokes: Sequence[Stroke]) -> list[_Placed]:
        """Return the strokes in sampled frames with their places in these."""
        size = math.prod(self._space)
        leading = self.samples.shape[: -self._dims]
        numbers = {
            int(np.ravel_multi_index(frame, leading)) if leading else 0: number
            for number, frame in enumerate(self.samples.frames)
        }
        placed = []
        for stroke in strokes:
            frames = stroke.voxels // size
            for frame in np.unique(frames).tolist():
                if frame in numbers:
                    voxels = stroke.voxels[frames == frame] - frame * size
                    placed.append(_Placed(numbers[frame], voxels, stroke.allowed))
        return placed

    def _decode(self, number: int, on_progress: Progress = lambda share: None) -> Tensor:
        """Return the probabilities of all samples of a frame, (N, classes, *space), decoded once."""
        if number not in self._decoded:
            decoded = []
            for sample in range(self.samples.n):
                decoded.append(self.samples.probabilities(sample, number))
                on_progress((sample + 1) / self.samples.n)
            values = self.samples.n * decoded[0].numel()
            while self._decoded and values * (len(self._decoded) + 1) > CACHED_VALUES:
                self._decoded.pop(next(iter(self._decoded)))
            self._decoded[number] = torch.stack(decoded)
        return self._decoded[number]

    def _prior_mean(self) -> Tensor:
        """Return a new copy of the samples' mean probability (classes, *shape)."""
        if self._prior is None:
            classes = self.samples.metadata.architecture.classes
            self._prior = np.zeros((classes, *self.samples.shape), np.float32)
            for number, frame in enumerate(self.samples.frames):
                self._prior[_at(frame)] = self._decode(number).mean(0).numpy()
        return torch.from_numpy(self._prior.copy())

    @property
    def _scale(self) -> np.ndarray:
        """Return the length of a voxel along each axis, in units of the reach."""
        mapping = self.samples.mapping
        lengths = np.empty(self._dims)
        for axis, inner in zip(mapping.order, mapping.inner, strict=True):
            lengths[axis] = inner / mapping.shape[axis]
        return lengths / (REACH * min(mapping.inner))

    def _frame_distance(self, number: int, stroke: _Placed) -> float:
        """Return the distance in frames between a frame and a stroke's, in units of the reach."""
        one, other = self.samples.frames[number], self.samples.frames[stroke.number]
        return math.dist(one, other) / (FRAME_REACH + 1)

    def _near(self, number: int, stroke: _Placed) -> bool:
        return self._frame_distance(number, stroke) < 1

    def _kernel(self, number: int, stroke: _Placed, box: tuple[slice, ...]) -> np.ndarray:
        """Return K in the ``box`` of a frame: 1 at the stroke, 0 outside its reach, float32."""
        away = np.ones(self._space, bool)
        away.ravel()[stroke.voxels] = False
        distance = ndimage.distance_transform_edt(away[box], self._scale)
        return falloff(np.hypot(distance, self._frame_distance(number, stroke)))

    def _box(self, strokes: Sequence[_Placed]) -> tuple[slice, ...]:
        """Return the box of the voxels that the strokes can have an effect on."""
        places = np.unravel_index(np.concatenate([s.voxels for s in strokes]), self._space)
        margins = np.ceil(1 / self._scale).astype(int)
        return tuple(
            slice(max(0, int(place.min()) - margin), int(place.max()) + margin + 1)
            for place, margin in zip(places, margins, strict=True)
        )

    def _reweight(
        self, mean: Tensor, number: int, placed: Sequence[_Placed], likelihood: np.ndarray
    ) -> None:
        """Write the weighted mean of the samples to ``mean`` (classes, *space) where strokes are near."""
        rows = [row for row, stroke in enumerate(placed) if self._near(number, stroke)]
        box = self._box([placed[row] for row in rows])
        scores: Tensor | float = 0.0
        for row in rows:
            kernel = torch.from_numpy(self._kernel(number, placed[row], box))
            scores = scores + torch.tensordot(torch.from_numpy(likelihood[row]).float(), kernel, 0)
        weights = torch.softmax(torch.as_tensor(scores) / TEMPERATURE, 0)
        part = (slice(None), *box)
        mean[part] = 0
        for weight, probabilities in zip(weights, self._decode(number), strict=True):
            mean[part] += weight * probabilities[part]

    def _weights(self, placed: Sequence[_Placed], likelihood: np.ndarray) -> np.ndarray:
        """Return the weight of each sample at each stroke, (strokes, N)."""
        scores = np.zeros((len(placed), self.samples.n))
        for row, at in enumerate(placed):
            for other, stroke in enumerate(placed):
                if self._near(at.number, stroke):
                    scores[row] += self._nearness(at, stroke) * likelihood[other]
        scores = scores / TEMPERATURE
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def _nearness(self, at: _Placed, stroke: _Placed) -> float:
        """Return K of ``stroke`` at the centre of ``at``."""
        if at is stroke:
            return 1.0
        centre, places = (
            np.stack(np.unravel_index(s.voxels, self._space), 1) * self._scale for s in (at, stroke)
        )
        distance = np.sqrt(((places - centre.mean(0)) ** 2).sum(1).min())
        return float(falloff(np.hypot(distance, self._frame_distance(at.number, stroke))))


def _report(on_progress: Progress, done: int, total: int, share: float) -> None:
    on_progress((done + share) / total)


def _at(frame: Frame) -> tuple[slice | int, ...]:
    """Return the index of a frame of all classes."""
    return (slice(None), *frame)


def falloff(distance: np.ndarray) -> np.ndarray:
    """Return K for distances in units of the reach: 1 at 0, 0 from 1 on, float32.

    (1 - d^2)^4 is close to a Gaussian of SD 0.35, but ends at the reach.
    """
    return (np.clip(1 - np.square(distance), 0, None) ** 4).astype(np.float32)


def log_likelihood(probabilities: Tensor, voxels: np.ndarray, allowed: Sequence[int]) -> np.ndarray:
    """Return the mean log probability of the ``allowed`` classes over ``voxels``, float64 (N,).

    ``probabilities`` is (N, classes, *space), ``voxels`` flat indices into space. Probabilities count
    as at least ``SMALLEST_PROBABILITY``.
    """
    chosen = probabilities.flatten(2)[:, list(allowed)][..., torch.from_numpy(voxels)].sum(1)
    return chosen.clamp(SMALLEST_PROBABILITY, 1).log().double().mean(1).numpy()


def apply_evidence(mean: Tensor, evidence: Evidence) -> None:
    """Set impossible classes of ``mean`` (classes, *shape) to 0, in place, and renormalise.

    Where the samples give the possible classes no probability, each has the same.
    """
    voxels, possible = evidence.merged()
    at = torch.from_numpy(voxels)
    flat = mean.view(len(mean), -1)
    allowed = torch.from_numpy(possible.T.astype(np.float32))
    values = flat[:, at] * allowed + 1e-12 * allowed
    flat[:, at] = values / values.sum(0)


def _result(
    mean: Tensor, frames: Sequence[Frame], weights: np.ndarray, redrawn: int
) -> ConditionedPosterior:
    labels = most_probable(mean)
    error = (1 - mean.amax(0)).clamp_(min=0)
    error[mean.sum(0) == 0] = 0
    others = mean.clone()
    others.scatter_(0, labels[None].long(), -1)
    return ConditionedPosterior(
        mean.numpy(), labels.numpy(), error.numpy(), most_probable(others).numpy(), weights, redrawn
    )
