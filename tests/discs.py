"""An easy task for training tests: bright discs or balls on a dark ground, in memory and in files."""

import nibabel as nib
import numpy as np
import torch
from skimage.io import imsave

from napari_ldseg.datasets.case import Case
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.settings import Augmentation, TrainingSettings

STILL = Augmentation(rotation=0, scale=0, shift=0, noise=0, contrast=0, blur=0)
WIDTHS = {
    "label_widths": (8, 8),
    "image_widths": (8, 8),
    "denoiser_widths": (16, 16),
    "dropout": 0.0,
}
SIZES = {2: 16, 3: 12}


def disc(dims, seed):
    """A bright disc or ball on a dark ground, at a random place, and its label."""
    rng = np.random.default_rng(seed)
    n = SIZES[dims]
    centre, radius = rng.uniform(0.35, 0.65, dims) * n, rng.uniform(0.2, 0.3) * n
    squares = (np.indices((n,) * dims) - centre.reshape(-1, *(1,) * dims)) ** 2
    label = (squares.sum(0) < radius**2).astype(np.uint8)
    return Scan(rng.normal(0.1, 0.05, label.shape) + 0.7 * label, name=f"disc {seed}"), label


def case_of(name, read):
    return Case(name, name, lambda: read()[0], (lambda: read()[1],))


def discs(dims, n=8):
    return [case_of(f"disc {i}", lambda i=i: disc(dims, i)) for i in range(n)]


def settings(**changes):
    defaults = {"batch_size": 4, "learning_rate": 5e-3, "warmup": 10, "precision": "32-true"}
    return TrainingSettings(**defaults | {"augmentation": STILL, "ema_decay": 0.98} | changes)


def equal(first, second):
    """Whether two checkpoints have bitwise the same weights."""
    weights = first.model.state_dict(), second.model.state_dict()
    return all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def write_discs(folder, n=12, dims=2):
    """Write ``n`` discs as images/ and labels/, two of each patient: PNG in 2D, NIfTI in 3D."""
    for i in range(n):
        scan, label = disc(dims, i)
        name = f"p{i // 2:02d}_{i % 2}"
        for kind, array in (("images", (np.clip(scan.array, 0, 1) * 255)), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            if dims == 2:
                imsave(folder / kind / f"{name}.png", array.astype(np.uint8), check_contrast=False)
            else:
                image = nib.Nifti1Image(array.astype(np.uint8), np.eye(4))
                nib.save(image, folder / kind / f"{name}.nii.gz")
    return folder
