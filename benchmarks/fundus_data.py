"""Fundus photographs for benchmarks/retina.py: reading, splits and strongly augmented patches."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from napari_ldseg.inference.fundus import field_of_view, standardised_fundus

SIZE = 768
DATA = Path(os.environ.get("LDSEG_DATA", "../shared/data")) / "retina"
VESSEL_CAMERAS = ("drive", "chase", "stare")


@dataclass(frozen=True)
class Fundus:
    """One photograph, its longest side ``SIZE`` pixels.

    ``image`` (3, height, width) in [-1, 1]; ``inside`` the field of view and ``label`` the classes, both
    (height, width).
    """

    name: str
    image: np.ndarray
    inside: np.ndarray
    label: np.ndarray


def read_camera(camera: str, size: int = SIZE) -> list[Fundus]:
    """Read all photographs of one camera, in the order of their names."""
    return [read(path, size) for path in sorted((DATA / camera / "images").glob("*.jpg"))]


def read(path: Path, size: int) -> Fundus:
    """Read one photograph and the label of the first expert, and bring both to ``size``."""
    photograph = Image.open(path).convert("RGB")
    mask = Image.open(path.parent.parent / "labels" / f"{path.stem}.png")
    factor = size / max(photograph.size)
    shape = tuple(round(n * factor) for n in photograph.size)
    array = np.asarray(photograph.resize(shape, Image.Resampling.BICUBIC))
    inside = field_of_view(array)
    classes = np.asarray(mask)
    shares = [
        np.asarray(
            Image.fromarray((classes == c).astype(np.float32)).resize(
                shape, Image.Resampling.BILINEAR
            )
        )
        for c in range(classes.max() + 1)
    ]
    label = np.argmax(shares, axis=0).astype(np.uint8)
    return Fundus(path.stem, standardised_fundus(array, inside), inside, label)


def split(cases: list[Fundus], every: int = 5) -> tuple[list[Fundus], list[Fundus]]:
    """Split one camera into (training, other): every fifth patient, CHASE's two images being of one child."""
    patients = [c.name.rstrip("LR") for c in cases]
    order = sorted(set(patients))
    other = set(order[::every])
    return (
        [c for c, p in zip(cases, patients, strict=True) if p not in other],
        [c for c, p in zip(cases, patients, strict=True) if p in other],
    )


class Patches:
    """Random augmented patches; the same seed and index give the same batch."""

    def __init__(self, cases: list[Fundus], patch: int, batch: int, seed: int):
        self.patch, self.batch, self.seed = patch, batch, seed
        self.stacks = [
            torch.from_numpy(np.concatenate([c.image, c.inside[None], c.label[None]]).astype("f4"))
            for c in cases
        ]
        self.centres = [np.argwhere(c.inside) for c in cases]

    def batch_of(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (batch, 3, p, p), labels and fields of view (batch, 1, p, p) of one update."""
        rng = np.random.default_rng([self.seed, index])
        items = [self._one(rng) for _ in range(self.batch)]
        image, inside, label = (torch.stack(part) for part in zip(*items, strict=True))
        return image, label, inside

    def _one(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        k = int(rng.integers(len(self.stacks)))
        stack, p = self.stacks[k], self.patch
        y, x = self.centres[k][rng.integers(len(self.centres[k]))]
        angle = rng.uniform(0, 2 * math.pi)
        zoom = math.exp(rng.uniform(-0.35, 0.35))
        flip = 1 if rng.random() < 0.5 else -1
        matrix = zoom * np.array(
            [
                [flip * math.cos(angle), -math.sin(angle)],
                [flip * math.sin(angle), math.cos(angle)],
            ]
        )
        r = math.ceil(p * zoom * 0.72) + 2
        top, left = max(0, y - r), max(0, x - r)
        part = stack[:, top : y + r, left : x + r]
        steps = torch.arange(p, dtype=torch.float32) - (p - 1) / 2
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        m = matrix.astype(np.float32)
        xs = m[0, 0] * columns + m[0, 1] * rows + float(x - left)
        ys = m[1, 0] * columns + m[1, 1] * rows + float(y - top)
        height, width = part.shape[1:]
        grid = torch.stack([2 * xs / (width - 1) - 1, 2 * ys / (height - 1) - 1], dim=-1)
        smooth = F.grid_sample(part[None, :4], grid[None], align_corners=True)[0]
        if stack[4].max() <= 1:
            label = F.grid_sample(part[None, 4:], grid[None], align_corners=True)[0] > 0.5
        else:
            label = F.grid_sample(part[None, 4:], grid[None], mode="nearest", align_corners=True)[0]
        inside = (smooth[3:] > 0.99).float()
        return self._other_camera(smooth[:3], rng) * inside, inside, label.long()

    def _other_camera(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Change colours, illumination, sharpness and noise as another camera or eye would."""

        def normal(*shape: int, sd: float) -> Tensor:
            return torch.from_numpy(rng.normal(0, sd, shape).astype("f4"))

        mixed = torch.einsum("ij,jhw->ihw", torch.eye(3) + normal(3, 3, sd=0.15), image)
        mixed = mixed * torch.exp(normal(3, 1, 1, sd=0.25)) + normal(3, 1, 1, sd=0.12)
        gamma = math.exp(rng.normal(0, 0.25))
        mixed = 2 * ((mixed.clamp(-1, 1) + 1) / 2) ** gamma - 1
        light = normal(1, 1, 3, 3, sd=0.15)
        mixed = mixed + F.interpolate(light, mixed.shape[1:], mode="bicubic", align_corners=True)[0]
        if rng.random() < 0.4:
            mixed = _blurred(mixed, rng.uniform(0.3, 1.3))
        if rng.random() < 0.5:
            mixed = mixed + normal(*mixed.shape, sd=rng.uniform(0, 0.1))
        return mixed.clamp(-1, 1)


def _blurred(image: Tensor, sd: float) -> Tensor:
    steps = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (steps / sd) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1)
    padded = F.pad(image[None], (4, 4, 4, 4), mode="reflect")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=3)
    return F.conv2d(rows, kernel[:, None, None, :], groups=3)[0]
