"""How close imported weights are to the authors' code: python benchmarks/authors_parity.py [2] [3].

Prints the largest absolute difference of each component from the reference outputs in the folder
LDSEG_OFFICIAL (default ../shared/official from the repository), and the Dice of the authors' autoencoders
on real labels in LDSEG_DATA (default ../shared/data).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch

from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.checkpoint.keras import import_keras

ROOT = Path(__file__).parents[1]
OFFICIAL = Path(os.environ.get("LDSEG_OFFICIAL", ROOT.parent / "shared" / "official"))
DATA = Path(os.environ.get("LDSEG_DATA", ROOT.parent / "shared" / "data"))
TIMES = ("0", "500.5", "999")


def channels_first(array: np.ndarray) -> torch.Tensor:
    """Return (batch, *space, channels) as a float32 tensor (batch, channels, *space)."""
    return torch.from_numpy(np.moveaxis(array.astype(np.float32), -1, 1).copy())


def one_hot(label: np.ndarray, classes: int) -> torch.Tensor:
    """Return a label (batch, *space) as float32 (batch, classes, *space)."""
    return torch.from_numpy(np.stack([label == k for k in range(classes)], 1).astype(np.float32))


def largest(value: torch.Tensor, reference: np.ndarray) -> float:
    """Return the largest absolute difference of (batch, channels, *space) from (batch, *space, channels)."""
    return float(np.abs(np.moveaxis(value.numpy(), 1, -1) - reference).max())


@torch.inference_mode()
def component_maxima(checkpoint: Checkpoint, full: bool = True) -> dict[str, float]:
    """Return each component's largest difference.

    Without ``full`` one 3D case, no random latent, and the decoder's last level only around what is compared.
    """
    model, arch = checkpoint.model, checkpoint.metadata.architecture
    size = checkpoint.metadata.grid.size
    reference = np.load(OFFICIAL / f"ref{arch.dims}d_components.npz")
    exact = np.load(OFFICIAL / f"ref{arch.dims}d_z_image_exact_moments.npz")["z_image"]
    if arch.dims == 2:
        image, label = reference["image"], reference["label"]
    else:
        image = reference["image_case1_uint8"].astype(np.float32) / 255
        label = reference["label_case1"]
        if full:
            label = np.concatenate([label, reference["label_syn"]])
    result = {}
    z_label = model.encode_label(one_hot(label, arch.classes))
    result["label encoder"] = largest(z_label, reference["z_label"][: len(label)])
    result["image encoder"] = largest(model.encode_image(channels_first(image)), exact)
    z, z_i = channels_first(reference["denoiser_z"]), channels_first(reference["z_image"])
    for t in TIMES:
        noise = model.denoiser(z, z_i, torch.full((len(z),), float(t)))
        result[f"denoiser t={t}"] = largest(noise, reference[f"denoiser_t{t}"])

    def probabilities(latent: torch.Tensor) -> torch.Tensor:
        if arch.dims == 2:
            return model.decode(latent, size).softmax(1)[:, 1:2]
        crop = np.array(reference["crop"])
        if full:
            return model.decode(latent, size).softmax(1)[(..., *(slice(*r) for r in crop))]
        margin = 4  # an even number of voxels; the three convolutions there reach 3
        part = [slice((a - margin) // 2, (b + margin) // 2) for a, b in crop]
        last = model.label_decoder.layers[-2]
        hook = last.register_forward_pre_hook(lambda _, inputs: (inputs[0][(..., *part)],))
        p = model.decode(latent, tuple(b - a for a, b in crop)).softmax(1)  # crops the margin
        hook.remove()
        return p

    names = ("decoder_prob1", "recon_prob1")
    if arch.dims == 3:
        names = ("decoder_prob_crop_f32", "recon_case1_prob_crop_f32")
    expected = [reference[n] if arch.dims == 3 else reference[n][..., None] for n in names]
    if full or arch.dims == 2:
        result["label decoder"] = largest(
            probabilities(channels_first(reference["decoder_z"])), expected[0]
        )
    cases = len(expected[1])
    result["reconstruction"] = largest(probabilities(z_label[:cases]), expected[1])
    return result


@torch.inference_mode()
def reconstruction_dice(checkpoint: Checkpoint, label: np.ndarray) -> float:
    """Return the mean Dice of a label (*size) and its reconstruction over the foreground classes."""
    model, classes = checkpoint.model, checkpoint.metadata.architecture.classes
    z = model.encode_label(one_hot(label[None], classes))
    back = model.decode(z, label.shape).argmax(1)[0].numpy()
    scores = [
        2 * ((label == k) & (back == k)).sum() / ((label == k).sum() + (back == k).sum())
        for k in range(1, classes)
        if (label == k).any()
    ]
    return float(np.mean(scores))


def real_labels(
    dims: int, size: tuple[int, ...], limit: int | None = None
) -> dict[str, np.ndarray]:
    """Return file name to label (*size), resized to the nearest pixel: GlaS in 2D, knee in 3D."""
    import nibabel as nib
    from skimage.io import imread

    labels = {}
    files = sorted((DATA / ("glas" if dims == 2 else "knee") / "labels").iterdir())[:limit]
    for path in files:
        label = imread(path) > 0 if dims == 2 else np.asarray(nib.load(path).dataobj).T
        index = np.ix_(*(np.arange(m) * n // m for m, n in zip(size, label.shape, strict=True)))
        labels[path.name] = label[index].astype(np.uint8)
    return labels


def main() -> None:
    """Print all results for the given dimensions, by default both."""
    for dims in [int(a) for a in sys.argv[1:]] or [2, 3]:
        checkpoint = import_keras(OFFICIAL, dims)
        for name, value in component_maxima(checkpoint).items():
            print(f"{dims}D {name}: {value:.1e}", flush=True)
        if not DATA.is_dir():
            print(f"{DATA} is absent: no reconstruction of real labels")
            continue
        labels = real_labels(dims, checkpoint.metadata.grid.size)
        scores = {n: reconstruction_dice(checkpoint, label) for n, label in labels.items()}
        lowest = min(scores, key=scores.get)
        print(
            f"{dims}D reconstruction Dice of {len(scores)} real labels: mean "
            f"{np.mean(list(scores.values())):.4f}, lowest {scores[lowest]:.4f} ({lowest})"
        )


if __name__ == "__main__":
    main()
