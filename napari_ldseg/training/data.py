"""Training cases on the networks' grid, cached, augmented, and keyed by (seed, epoch, case)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
)
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..checkpoint.metadata import Metadata
from ..datasets.case import Case, check_label
from ..inference.preprocessing import grid_map, preprocess
from .settings import Augmentation


class CaseDataset(Dataset):
    """Samples of ``cases`` for the training loop, addressed by (epoch, index).

    Each is a dict of ``image`` (channels, *size) float32 in [0, 1], ``label`` (1, *size) uint8, the
    diffusion ``time`` 0..T-1 and the ``noise`` (latent_channels, *cells); all of them depend on
    (seed, epoch, index) alone.
    """

    def __init__(
        self,
        metadata: Metadata,
        cases: Sequence[Case],
        augmentation: Augmentation,
        seed: int,
    ):
        self.metadata, self.cases, self.seed = metadata, cases, seed
        self._change = build_augmentation(augmentation, metadata.architecture.dims)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        if index not in self._cache:
            self._cache[index] = prepare_case(self.metadata, self.cases[index])
        image, label = self._cache[index]
        state = np.random.SeedSequence([self.seed, epoch, index]).generate_state(2)
        self._change.set_random_state(seed=int(state[0]))
        changed = self._change({"image": torch.from_numpy(image), "label": torch.from_numpy(label)})
        generator = torch.Generator().manual_seed(int(state[1]))
        shape = self.metadata.architecture.latent_shape(image.shape[1:])
        return {
            "image": torch.as_tensor(changed["image"]).float().clamp(0, 1),
            "label": torch.as_tensor(changed["label"]).to(torch.uint8),
            "time": torch.randint(self.metadata.schedule_length, (), generator=generator),
            "noise": torch.randn(shape, generator=generator),
        }


class EndlessShuffle(Sampler):
    """(epoch, index) for ever; each epoch a permutation that depends on (seed, epoch) alone."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = 0
        while True:
            for index in np.random.default_rng([self.seed, epoch]).permutation(self.size):
                yield epoch, int(index)
            epoch += 1


def prepare_case(metadata: Metadata, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return image (channels, *size) float32 and label (1, *size) uint8 on the networks' grid.

    Raises
    ------
    LDSegError
        If the label does not fit the image or holds a value outside the classes.
    """
    scan, label = case.read()
    classes = metadata.architecture.classes
    check_label(case.name, scan, label, classes)
    way = grid_map(metadata, scan.shape, scan.affine)
    array = np.asarray(scan.array)
    channels = np.moveaxis(array, -1, 0) if scan.channels else array[None]
    image = preprocess(metadata, channels, way, case.name).numpy()
    return image, way.label_to_grid(label, classes)[None]


def build_augmentation(settings: Augmentation, dims: int) -> Compose:
    """Return MONAI's transform of ``image`` and ``label`` (channels first)."""
    both = ["image", "label"]
    shift, blur = settings.shift, (0.2, settings.blur)
    spatial = settings.rotation or settings.scale or settings.shift
    changes = [
        RandAffined(
            both,
            prob=0.9,
            rotate_range=[settings.rotation] * (1 if dims == 2 else 3),
            scale_range=[settings.scale] * dims,
            translate_range=[shift] * dims,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        )
        if spatial
        else None,
        RandAdjustContrastd("image", prob=0.5, gamma=(1 - settings.contrast, 1 + settings.contrast))
        if settings.contrast
        else None,
        RandGaussianSmoothd("image", blur, blur, blur, prob=0.2) if settings.blur else None,
        RandGaussianNoised("image", prob=0.5, std=settings.noise) if settings.noise else None,
        *(RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in settings.flip_axes),
    ]
    return Compose([change for change in changes if change is not None])
