"""Sampling segmentations of an image, all of it at once."""

from __future__ import annotations

import datetime
import hashlib
import math
import os
import platform
from collections.abc import Hashable, Iterator, Sequence
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Metadata
from ..errors import LDSegError, is_out_of_memory
from ..model.deterministic import Deterministic
from ..model.fast import inference_copy
from ..scans.scan import Scan
from ..utils.text import count_text
from .checks import (
    check_fit,
    check_grid_memory,
    check_integer,
    check_memory,
    warn_of_unknown_size,
)
from .devices import PRECISIONS, resolve_device, resolve_precision, supports_float64
from .domain import distance, far_from_training, features, is_blank, resizing_of
from .noise import sample_noise
from .posterior import Frame, Posterior
from .preprocessing import GridMap, grid_map, preprocess
from .probability import estimate_share
from .region import Region, full_region
from .samples import Samples, stacked_latents
from .similarity import training_images, unlike_training
from .symmetry import Symmetry, symmetries

# Voxels per decoded batch, and denoiser evaluations of latent cells per sampled batch: large enough to be
# fast, small enough to stop within a second.
BATCH_VOXELS = {"cpu": 2**18, "mps": 2**21, "cuda": 2**24}
BATCH_EVALUATIONS = {"cpu": 2**18, "mps": 2**21, "cuda": 2**24}
BATCH_LIMIT = 16
# A deterministic model's answers are kept up to this size, as each is asked for again.
ANSWERS_BYTES = 2**28


class PosteriorSampler:
    """Samples any number of segmentations of one image, in any number of calls.

    Sample i depends only on (image, checkpoint, settings, seed, i). A 2D checkpoint segments a volume or
    a video slice by slice along its leading axes; sample i has the same noise in every slice, so that
    the samples are consistent across slices.

    The samples of a deterministic model are its answers for the image in each of the ``symmetries`` in turn.

    The label map is not that of the samples but an estimate with the checkpoint's ``label_steps``, the mean over
    the ``symmetries`` of its training images. So it is the same for any number of samples.

    Parameters
    ----------
    checkpoint
        What ``load_checkpoint`` returns.
    scan
        The image; an array (*leading, *space) is one with 1 mm voxels. For a checkpoint of several channels
        it is (*leading, *space, channels), in the order of ``checkpoint.metadata.channels``.
    seed
        0 or greater.
    steps
        Sampling times K; by default the checkpoint's ``label_steps`` for a single sample and its
        ``posterior_steps`` for several, because few steps underestimate the spread. With a number, the label map
        is that of the mean of the samples.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    frames
        Leading indices of the slices to segment, by default all of them.
    keep_labels
        Whether the posterior keeps each sample's label map.
    precision
        Precision of the image encoder and the label decoder: ``"float32"``, ``"bfloat16"`` (CPU only),
        or ``"auto"``, bfloat16 for large images on a CPU with instructions for it. It does not affect
        the denoiser and the sampler.

    Raises
    ------
    LDSegError
        If the checkpoint does not suit the image.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scan: Scan | np.ndarray,
        *,
        seed: int = 0,
        steps: int | None = None,
        device: str = "auto",
        frames: Sequence[Frame] | None = None,
        keep_labels: bool = False,
        precision: str = "auto",
    ):
        if not isinstance(checkpoint, Checkpoint):
            raise LDSegError(
                f"The checkpoint must be what load_checkpoint returns, not a {type(checkpoint).__name__}."
            )
        if isinstance(scan, str | os.PathLike):
            raise LDSegError(f"The image must be what read_scan returns, not the path {scan}.")
        scan = scan if isinstance(scan, Scan) else as_scan(scan, checkpoint.metadata)
        check_integer("The seed", seed, 0)
        if steps is not None:
            check_integer("The number of steps", steps, 1)
        metadata = checkpoint.metadata
        if steps is not None and steps > metadata.schedule_length:
            raise LDSegError(
                f"{metadata.name} has {metadata.schedule_length} times; {steps} steps are too many."
            )
        warn_of_unknown_size(metadata, scan)
        dims = metadata.architecture.dims
        self.metadata, self.scan, self.seed = metadata, scan, seed
        self.notice = ""  # what the user should know of how the run goes on
        self._steps = steps
        self._device = resolve_device(device)
        size, shape = self._prepare_grid()
        voxels = math.prod(size)
        self._precision = resolve_precision(self._device, voxels, precision)
        self._model = checkpoint.model
        if not checkpoint.model.fast_networks:
            self._precision = "float32"
        elif self._device.type == "cpu":
            self._model = inference_copy(checkpoint.model, PRECISIONS[self._precision])
        voxels = max(voxels, math.prod(shape))
        self._batch = min(BATCH_LIMIT, max(1, BATCH_VOXELS[self._device.type] // voxels))
        leading = scan.shape[:-dims]
        planned = tuple(dict.fromkeys(np.ndindex(*leading) if frames is None else frames))
        if not planned:
            raise LDSegError(f"No slice of {scan.name} is selected; select at least one.")
        for frame in planned:
            if len(frame) != len(leading) or any(
                not 0 <= i < n for i, n in zip(frame, leading, strict=True)
            ):
                raise LDSegError(f"{scan.name} has no slice {frame}.")
        self._symmetries = symmetries(metadata, size)
        self._embeddings: dict[Frame, Tensor] = {}
        self._answers: dict[tuple[Frame, int], Tensor] = {}
        self._distances: dict[Hashable, float] = {}
        self._digest = hashlib.sha256()
        self._shrunk = False
        self._frames = planned
        self._keep_labels = keep_labels
        self._unlike = unlike_training(metadata, scan)
        self._checkpoint_sha256 = checkpoint.sha256
        self.posterior = self._empty_posterior()

    @property
    def _typical_part(self) -> float:
        """The quantile of the distances of the scan's parts that stands for the scan: the median."""
        return 0.5

    def _prepare_grid(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Check the scan and set up the networks' grid; return its size and that of the image part."""
        metadata, scan = self.metadata, self.scan
        check_fit(metadata, scan)
        check_memory(metadata, scan)
        dims = metadata.architecture.dims
        self._map: GridMap = grid_map(metadata, scan.shape[-dims:], scan.affine)
        check_grid_memory(metadata, self._map.size)
        return self._map.size, self._map.shape

    def run(self, n: int) -> Iterator[Posterior]:
        """Add ``n`` samples; yield the same, growing posterior after every batch.

        Stopping early leaves a valid posterior with the samples so far. Another call continues the
        sequence, except that a single sample drawn with ``label_steps`` is drawn again with the steps
        of several samples.
        """
        check_integer("The number of samples", n, 1)
        total = self.posterior.n + n
        steps = self.steps_for(total)
        if self.posterior.provenance.get("steps", steps) != steps:
            self.posterior = self._empty_posterior()
        posterior = self.posterior
        posterior.provenance |= {"steps": steps, "label_map": self.label_map_source(total)}
        self._model.to(self._device)
        items = [
            (frame, sample)
            for sample in range(posterior.n, total)
            for frame in posterior.planned_frames
            if (frame, sample) not in posterior.latents
        ]
        # One block for all latents, because many small ones fragment the memory as N grows.
        cells = self._model.latent_shape(self._map.size)
        latents = torch.empty(len(items), *cells)
        done = sampled = 0
        while done < len(items):
            batch = items[done : done + self._batch]
            try:
                if done == sampled:
                    ahead = items[done : done + self._sampling_batch(steps)]
                    sampled += len(ahead)
                    latents[done:sampled] = self._sample(ahead, steps)
                batch = items[done : min(done + self._batch, sampled)]
                if self.has_label_pass(total):
                    self._estimate_labels([frame for frame, _ in batch])
                self._decode(batch, latents[done : done + len(batch)])
            except (RuntimeError, MemoryError) as error:
                self._halve_batch(error)
                done = sampled = done + sum(item in posterior.latents for item in batch)
                continue
            done += len(batch)
            yield posterior

    def has_label_pass(self, n: int) -> bool:
        """Whether with ``n`` samples in total the label map is an estimate of its own."""
        if self._steps is not None:
            return False
        return self.steps_for(n) != self.metadata.label_steps or len(self._symmetries) > 1

    def label_map_source(self, n: int) -> str:
        """Return in a few words what the label map of ``n`` samples in total is."""
        if not self.has_label_pass(n):
            return "the sample" if n == 1 else "mean of the samples"
        estimate = f"estimate in {count_text(self.metadata.label_steps, 'step')}"
        if len(self._symmetries) == 1:
            return estimate
        return f"{estimate}, mean of the image mirrored or turned in {len(self._symmetries)} ways"

    def fraction(self, n: int) -> float:
        """Return the part of the work for ``n`` samples in total that is done, 0 to 1."""
        return len(self.posterior.latents) / (n * len(self._frames))

    def sampled_region(self) -> Region:
        """Return the part of the scan that ``samples`` are of."""
        return full_region(self.scan)

    def release(self) -> None:
        """Free the device's memory; the posterior is kept, and more samples can be added."""
        self._model.to("cpu")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def samples(self) -> Samples | None:
        """Return the complete samples so far, to be decoded one by one; there must be at least one.

        None if they are too large to be kept.
        """
        posterior = self.posterior
        frames = posterior.planned_frames
        return Samples(
            self.metadata,
            self._model,
            self._map,
            posterior.scan.shape,
            frames,
            stacked_latents(posterior.latents, frames, posterior.n),
            {**posterior.provenance, "samples": posterior.n},
            posterior.estimate,
        )

    def steps_for(self, n: int) -> int:
        """Return the number of sampling times K that ``n`` samples are drawn with."""
        return self._steps or self.metadata.steps_for(n)

    def latents(self, n: int) -> Tensor:
        """Return ``n`` label embeddings of the first frame, (n, latent_channels, *cells), undecoded."""
        self._model.to(self._device)
        frame = self._frames[0]
        return self._sample([(frame, i) for i in range(n)], self.steps_for(n)).float().cpu()

    @torch.inference_mode()
    def _sample(self, batch: list[tuple[Frame, int]], steps: int) -> Tensor:
        z_i = torch.cat([self._embedding(frame) for frame, _ in batch]).to(self._device)
        if isinstance(self._model, Deterministic):
            return self._in_symmetries(z_i, batch)
        return self._sample_from(z_i, [sample for _, sample in batch], steps)

    def _in_symmetries(self, z_i: Tensor, batch: list[tuple[Frame, int]]) -> Tensor:
        """Return a deterministic model's answers for the image in each sample's symmetry, turned back.

        An answer is computed once, and kept for the label map and for later samples.
        """
        wanted = [(frame, sample % len(self._symmetries)) for frame, sample in batch]
        found = {key: z for key, z in zip(wanted, z_i, strict=True) if key[1] == 0}
        found |= {key: self._answers[key].to(z_i.device) for key in wanted if key in self._answers}
        missing = [key for key in dict.fromkeys(wanted) if key not in found]
        if missing:
            inputs = {frame: self._input(frame, self._image(frame)) for frame, _ in missing}
            turned = [self._symmetries[number].apply(inputs[frame]) for frame, number in missing]
            answers = self._model.encode_image(torch.stack(turned).to(self._device))
            for (frame, number), answer in zip(missing, answers, strict=True):
                found[frame, number] = self._symmetries[number].undo(answer)
                if (len(self._answers) + 1) * answer.nbytes <= ANSWERS_BYTES:
                    self._answers[frame, number] = found[frame, number].cpu()
        return torch.stack([found[key] for key in wanted])

    def _sample_from(self, z_i: Tensor, samples: Sequence[int], steps: int) -> Tensor:
        """Return z_l(0) of ``samples``, each with its image embedding."""
        shape = self._model.latent_shape(self._map.size)
        noise = torch.stack([sample_noise(self.seed, sample, shape) for sample in samples])
        dtype = torch.float64 if supports_float64(self._device) else torch.float32
        return self._model.sample(z_i, noise.to(self._device, dtype), steps)

    @torch.inference_mode()
    def _estimate_labels(self, frames: Sequence[Frame]) -> None:
        """Estimate the label map of each of ``frames`` that has none."""
        steps, size = self.metadata.label_steps, self._map.size
        for frame in dict.fromkeys(frames):
            if self.posterior.has_label_map(frame):
                continue
            mean = torch.zeros(self.metadata.architecture.classes, *size)
            for first in range(0, len(self._symmetries), self._batch):
                numbers = range(len(self._symmetries))[first : first + self._batch]
                for probabilities in self._estimates(frame, numbers, steps):
                    mean += probabilities / len(self._symmetries)
            self.posterior.set_label_map(frame, 0, self._map.restore(mean))

    def _estimates(self, frame: Frame, numbers: Sequence[int], steps: int) -> list[Tensor]:
        """Return the probabilities estimated from the image in each of the symmetries, turned back."""
        if isinstance(self._model, Deterministic) or len(self._symmetries) == 1:
            identity = Symmetry(len(self._map.size))
            turned = [identity for _ in numbers]  # samples are turned back already
            latents = self._sample([(frame, number) for number in numbers], steps)
        else:
            turned = [self._symmetries[number] for number in numbers]
            grid = self._input(frame, self._image(frame))
            images = torch.stack([symmetry.apply(grid) for symmetry in turned])
            z_i = self._model.encode_image(images.to(self._device))
            latents = self._sample_from(z_i, [0] * len(numbers), steps)
        decoded = self._model.decode(latents, self._map.size).softmax(1).float().cpu()
        return [one.undo(p) for one, p in zip(turned, decoded, strict=True)]

    def _sampling_batch(self, steps: int) -> int:
        """Return how many latents to sample together: a multiple of the decoded batch."""
        if self._shrunk or len(self._embeddings) < len(self._frames):
            return self._batch
        cost = steps * math.prod(self._model.latent_shape(self._map.size))
        cost *= 3 ** (self.metadata.architecture.dims - 2)
        limit = min(BATCH_LIMIT, BATCH_EVALUATIONS[self._device.type] // cost)
        return self._batch * max(1, limit // self._batch)

    @torch.inference_mode()
    def _decode(self, batch: list[tuple[Frame, int]], latents: Tensor) -> None:
        """Decode ``latents`` and add them to the posterior."""
        decoded = self._model.decode(latents.to(self._device), self._map.size)
        for (frame, sample), latent, logits in zip(batch, latents, decoded, strict=True):
            probabilities = self._map.restore(logits.softmax(0))
            self.posterior.add(frame, sample, probabilities, latent)

    def _embedding(self, frame: Frame) -> Tensor:
        if frame not in self._embeddings:
            image = self._image(frame)  # read once, as it may be on the disk
            grid = self._input(frame, image)
            self._embeddings[frame] = self._model.encode_image(grid[None].to(self._device)).cpu()
            self._digest.update(np.ascontiguousarray(image).tobytes())
            self._measure_distance(frame, grid, self._embeddings[frame], self._map.content)
        self.posterior.provenance["image_sha256"] = self._digest.hexdigest()
        return self._embeddings[frame]

    def _image(self, frame: Frame) -> np.ndarray:
        return np.asarray(self.scan.array[frame] if frame else self.scan.array)

    def _input(self, frame: Frame, image: np.ndarray) -> Tensor:
        """Return the networks' input for the ``image`` of a frame, (image_channels, *size), 0 to 1."""
        channels = np.moveaxis(image, -1, 0) if self.scan.channels else image[None]
        name, blank_allowed = self._frame_name(frame), len(self._frames) > 1
        return preprocess(self.metadata, channels, self._map, name, blank_allowed)

    def _frame_name(self, frame: Frame) -> str:
        place = ", ".join(str(i) for i in frame)
        return f"{self.scan.name} at slice {place}" if frame else self.scan.name

    def _measure_distance(
        self, part: Hashable, grid: Tensor, embedding: Tensor, content: Sequence[slice]
    ) -> None:
        """Measure how far a part of the scan is from the training images, once, and note what all parts say."""
        domain = self.metadata.domain
        if domain is None or part in self._distances or is_blank(grid):
            return
        self._distances[part] = distance(domain, features(grid, embedding, content))
        self._note_distance(self.posterior)

    def _note_distance(self, posterior: Posterior) -> None:
        """Note the distance of the parts from the training images, and whether it is unusual."""
        domain = self.metadata.domain
        if domain is None or not self._distances:
            return
        found = float(np.quantile(list(self._distances.values()), self._typical_part))
        posterior.provenance |= {"distance": round(found, 3), "usual_distance": domain.limit}
        posterior.unlike = self._unlike or far_from_training(
            domain, found, resizing_of(self.metadata, self._map)
        )

    def _empty_posterior(self) -> Posterior:
        provenance = {
            "image": self.scan.name,
            "checkpoint": self.metadata.name,
            "checkpoint_sha256": self._checkpoint_sha256,
            "seed": self.seed,
            "sampler": "ddim",
            "device": str(self._device),
            "precision": self._precision,
            "napari_ldseg": version("napari-ldseg"),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        names = tuple(c.name for c in self.metadata.classes)
        leading = len(self.scan.shape) - self.metadata.architecture.dims
        posterior = Posterior(
            self.scan,
            names,
            leading,
            provenance,
            self._frames,
            self.metadata.calibration,
            self._keep_labels,
            self._unlike,
            training_images(self.metadata),
            estimate_share=estimate_share(self.metadata),
        )
        self._note_distance(posterior)
        return posterior

    def _halve_batch(self, error: Exception) -> None:
        """Halve the batch after running out of memory, then move to the CPU; re-raise any other error.

        Smaller tiles would be different samples, as the networks see less of the image at a time.
        """
        if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise error
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self._batch > 1 or not self._shrunk:
            self._batch, self._shrunk = max(1, self._batch // 2), True
            self.notice = f"{self._device} ran out of memory: continued in smaller batches"
        elif self._device.type != "cpu":
            self.notice = f"{self._device} ran out of memory: continued on the CPU"
            self.posterior.provenance["device"] = f"{self._device}, then cpu"
            self._device = torch.device("cpu")
            self._model.to("cpu")
        else:
            raise LDSegError(
                f"{self._device} ran out of memory on {self.scan.name}; close other programs or draw a "
                "box around the structure."
            ) from error


def as_scan(array: np.ndarray, metadata: Metadata) -> Scan:
    """Return the scan of an array, whose last axis is that of the channels if the checkpoint has several."""
    channels, dims = metadata.architecture.image_channels, metadata.architecture.dims
    several = channels > 1 and array.ndim > dims and array.shape[-1] == channels
    return Scan(array, channels=several)
