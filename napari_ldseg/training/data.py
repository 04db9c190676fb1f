"""Training samples on the networks' grid, cached, augmented, and keyed by (seed, epoch, case)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.utils import convert_to_tensor
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from ..checkpoint.metadata import Metadata
from ..datasets.case import Case, check_label
from ..datasets.slices import single_images
from ..errors import LDSegError
from ..inference.fundus import SMALLEST_INSIDE
from ..inference.preprocessing import grid_map, normalise, preprocess
from .augmentation import build_augmentation
from .settings import Augmentation

Prepared = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class CaseDataset(Dataset):
    """Samples of ``cases`` for the training loop, addressed by (epoch, index of the image).

    Each is a dict of ``image`` (channels, *size) float32 in [0, 1], ``label`` (1, *size) uint8, the
    diffusion ``time`` 0..T-1 and the ``noise`` (latent_channels, *cells); all of them depend only on
    (seed, epoch, index). If any of ``cases`` is partly annotated, each also has ``reviewed``
    (1, *size) uint8. With ``patch`` they are random square parts of so many pixels per axis, whose centres
    show something. Of fundus photographs the field of view is what counts. Of several readers one is drawn. ``cache_bytes`` bounds the memory for prepared
    cases. Each slice of a case ``by_slice`` is a separate image.
    """

    def __init__(
        self,
        metadata: Metadata,
        cases: Sequence[Case],
        augmentation: Augmentation,
        seed: int,
        cache_bytes: float = float("inf"),
        patch: int = 0,
    ):
        self.metadata, self.seed = metadata, seed
        self._change = build_augmentation(augmentation, metadata.architecture.dims, patch)
        self._partial = any(case.read_reviewed is not None for case in cases)
        self._fundus, self._patch = metadata.intensity.method == "fundus", patch
        self._cache: dict[int, Prepared] = {}
        self._free_bytes, self._full = cache_bytes, False
        # Of each image: its case, and the number of the case's first image.
        self._images: list[tuple[Case, int]] = []
        for case in cases:
            self._images += [(case, len(self._images))] * len(case.slices or (0,))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        image, labels, reviewed = self._prepared(index)
        state = np.random.SeedSequence([self.seed, epoch, index]).generate_state(3)
        self._change.set_random_state(seed=int(state[0]))
        label = labels[int(state[2]) % len(labels)][None]
        if self._partial:
            # Moved with the label; outside the image it becomes 0: everything counts there.
            missing = np.zeros_like(label) if reviewed is None else 1 - reviewed[None]
            label = np.concatenate([label, missing])
        if self._fundus:
            label = np.concatenate([label, image.any(0, keepdims=True).astype(np.uint8)])
        if self._patch:
            # Larger first, so that the changes seldom reach over its border.
            image, label = _random_part(image, label, self._patch, np.random.default_rng(state))
        changed = self._change({"image": torch.from_numpy(image), "label": torch.from_numpy(label)})
        moved = _bare(changed["label"]).to(torch.uint8)
        noisy = _bare(changed["image"]).float().numpy()
        generator = torch.Generator().manual_seed(int(state[1]))
        shape = self._noise_shape(noisy.shape[1:])
        known = {"reviewed": 1 - moved[1:2]} if self._partial else {}
        if self._fundus:
            inside = moved[-1:]
            known = {"reviewed": inside * known.get("reviewed", torch.ones_like(inside))}
            noisy = np.clip(noisy, SMALLEST_INSIDE, 1) * inside.numpy()
        else:
            # Like any image: strong noise narrows the range of what it is added to.
            noisy = normalise(self.metadata, noisy, blank_allowed=True)
        return known | {
            "image": torch.from_numpy(noisy),
            "label": moved[:1],
            "time": torch.randint(self.metadata.schedule_length, (), generator=generator),
            "noise": torch.randn(shape, generator=generator),
        }

    def _noise_shape(self, size: tuple[int, ...]) -> tuple[int, ...]:
        arch = self.metadata.architecture
        images = self.metadata.networks == "diffdgss"  # it denoises images, not latents
        return (arch.image_channels, *size) if images else arch.latent_shape(size)

    def _prepared(self, index: int) -> Prepared:
        if index in self._cache:
            return self._cache[index]
        case, first = self._images[index]
        blank_allowed = case.slices is not None
        # A volume is read once for all its slices, as long as there is memory for them.
        for number, image in enumerate(single_images(case), start=first):
            if number == index:
                wanted = prepare_case(self.metadata, image, blank_allowed)
                self._cache_case(number, wanted)
            elif number not in self._cache and not self._full:
                self._cache_case(number, prepare_case(self.metadata, image, blank_allowed))
        return wanted

    def _cache_case(self, index: int, prepared: Prepared) -> None:
        size = sum(array.nbytes for array in prepared if array is not None)
        self._full = size > self._free_bytes
        if not self._full:
            self._cache[index] = prepared
            self._free_bytes -= size


def _random_part(
    image: np.ndarray, label: np.ndarray, patch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the same part of 1.5 ``patch`` per axis of both (channels, *size), padded with zeros.

    Its centre is a random pixel where the image is not 0, as its padding and surround are.
    """
    length, size = math.ceil(1.5 * patch), image.shape[1:]
    shown = np.flatnonzero(image.any(0))
    chosen = int(shown[rng.integers(len(shown))]) if len(shown) else 0
    starts = [int(c) - length // 2 for c in np.unravel_index(chosen, size)]
    pads = [(max(0, -s), max(0, s + length - n)) for s, n in zip(starts, size, strict=True)]
    part = (slice(None), *(slice(max(0, s), s + length) for s in starts))
    cut_image, cut_label = (np.pad(values[part], ((0, 0), *pads)) for values in (image, label))
    return cut_image, cut_label


def _bare(tensor: Tensor) -> Tensor:
    """Return a tensor without MONAI's metadata, which would slow every operation of the networks."""
    return convert_to_tensor(tensor, track_meta=False)


class ErrorsAsItems(Dataset):
    """``dataset``, but a case that fails is returned as its error, so that a worker passes it on intact."""

    def __init__(self, dataset: CaseDataset):
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor] | LDSegError:
        try:
            return self.dataset[key]
        except LDSegError as error:
            return error


def collate(samples: Sequence[dict[str, Tensor] | LDSegError]) -> dict[str, Tensor] | LDSegError:
    """Stack samples into a batch; the first error instead, if there is one."""
    errors = (sample for sample in samples if isinstance(sample, LDSegError))
    return next(errors, None) or default_collate(list(samples))


class JointBatches(Sampler):
    """One process's share of each update's batch, as lists of (epoch, index), without end.

    The joint batch of all ``world`` processes depends only on (seed, update); each epoch is a
    permutation of ``size`` images that depends on (seed, epoch). ``start`` is the first update.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, start: int = 0
    ):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world, self.start = rank, world, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position, known, order = self.start * self.batch_size, -1, np.empty(0, int)
        while True:
            batch = []
            for place in range(position, position + self.batch_size):
                epoch, index = divmod(place, self.size)
                if epoch != known:
                    known = epoch
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
                batch.append((epoch, int(order[index])))
            position += self.batch_size
            yield batch[self.rank :: self.world]


def prepare_case(metadata: Metadata, case: Case, blank_allowed: bool = False) -> Prepared:
    """Return image (channels, *size) float32, labels (readers, *size) uint8 and reviewed (*size) uint8.

    All are on the networks' grid; ``reviewed`` is 1 where most of what a voxel shows counts, None if all
    does. With ``blank_allowed`` an image of one value becomes 0: resampled, a slice may show nothing.

    Raises
    ------
    LDSegError
        If the label does not fit the image or holds a value outside the classes, or the image does not
        fit the networks.
    """
    scan = case.read_scan()
    arch = metadata.architecture
    if len(scan.shape) != arch.dims:
        raise LDSegError(
            f"{case.name} has {len(scan.shape)} axes, but the networks are {arch.dims}D; leave it "
            "out, or change grid."
        )
    if scan.channel_count != arch.image_channels:
        raise LDSegError(
            f"{case.name} has {scan.channel_count} channels instead of {arch.image_channels}; leave "
            "it out or convert it."
        )
    mapping = grid_map(metadata, scan.shape, scan.affine)
    wanted = metadata.grid.size or metadata.grid.minimum_size
    if wanted is not None and mapping.size != tuple(wanted):
        raise LDSegError(
            f"{case.name} needs a grid of {mapping.size} voxels, more than the {tuple(wanted)} of "
            "grid.minimum_size; raise it to the largest image's."
        )
    array = np.asarray(scan.array)
    channels = np.moveaxis(array, -1, 0) if scan.channels else array[None]
    image = preprocess(metadata, channels, mapping, case.name, blank_allowed).numpy()
    labels = []
    for read_label in case.read_labels:
        label = np.asarray(read_label())
        check_label(case.name, scan, label, arch.classes)
        labels.append(mapping.label_to_grid(label, arch.classes))
    labels = labels or [np.zeros(mapping.size, np.uint8)]  # only stages without labels use it
    if case.read_reviewed is None:
        return image, np.stack(labels), None
    missing = ~np.asarray(case.read_reviewed(), bool)
    if missing.shape != scan.shape:
        raise LDSegError(
            f"{case.name}: the reviewed mask's size {missing.shape} is not the image's {scan.shape}."
        )
    return image, np.stack(labels), 1 - mapping.label_to_grid(missing.astype(np.uint8), 2)
