"""Seconds per image: python benchmarks/speed.py [steps | size | samples | gains ...] [--model NAME].

NAME is a preset (glas, glas-fast, ...), or authors-2d or authors-3d for the authors' networks. Their
weights are those in the folder LDSEG_OFFICIAL (default ../shared/official from the repository) if it
exists; all other weights are random, which does not affect the times. Set OMP_NUM_THREADS to the number of
cores. Prints Markdown tables; the last column is the number of cores used by other processes.
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from machine import describe, peak_mib, seconds, table

from napari_ldseg.checkpoint.file import Checkpoint, build_model
from napari_ldseg.checkpoint.keras import import_keras
from napari_ldseg.checkpoint.metadata import ClassInfo, Grid, Intensity, Metadata, TrainingRecord
from napari_ldseg.inference.segment import segment
from napari_ldseg.model.authors_sizes import authors_architecture
from napari_ldseg.model.fast import inference_copy
from napari_ldseg.model.presets import PRESETS
from napari_ldseg.scans.scan import Scan

OFFICIAL = Path(os.environ.get("LDSEG_OFFICIAL", Path(__file__).parents[2] / "shared" / "official"))
AUTHORS = {"authors-2d": (2, 3, 2, (512, 512)), "authors-3d": (3, 1, 3, (128, 128, 256))}


def model_for(name: str, size: tuple[int, ...] | None = None) -> Checkpoint:
    """Return a checkpoint of the networks called ``name``, for images of ``size``."""
    if name in AUTHORS:
        dims, channels, classes, usual = AUTHORS[name]
        if OFFICIAL.is_dir() and size in (None, usual):
            return import_keras(OFFICIAL, dims)
        architecture, networks = authors_architecture(dims, channels, classes), "authors"
    else:
        architecture, usual = PRESETS[name].architecture, PRESETS[name].size
        networks = "ldseg"
    metadata = Metadata(
        name=name,
        description="Untrained networks, to measure their speed.",
        architecture=architecture,
        networks=networks,
        parametrisation="plain-difference" if networks == "authors" else "velocity",
        channels=tuple(f"channel {c}" for c in range(architecture.image_channels)),
        classes=tuple(
            ClassInfo(name=f"class {c}", colour="#808080") for c in range(architecture.classes)
        ),
        orientation=None if architecture.dims == 2 else "SPL",
        grid=Grid(size=size or usual),
        intensity=Intensity(method="min-max"),
        training=TrainingRecord(data="none", licence="none", split="none"),
    )
    torch.manual_seed(0)
    return Checkpoint(metadata, build_model(metadata).eval().requires_grad_(False))


def image_for(checkpoint: Checkpoint) -> Scan:
    """Return an image of the networks' size, so that it is not resampled."""
    metadata = checkpoint.metadata
    arch, size = metadata.architecture, tuple(metadata.grid.size or ())
    file = OFFICIAL / f"ref{arch.dims}d_components.npz"
    if (
        file.exists()
        and metadata.networks == "authors"
        and size == AUTHORS[f"authors-{arch.dims}d"][3]
    ):
        key = "image" if arch.dims == 2 else "image_case1_uint8"
        array = np.load(file)[key][0].astype(np.float32)
    else:
        array = np.random.default_rng(0).random((*size, arch.image_channels), dtype=np.float32)
    if arch.image_channels == 1:
        return Scan(array[..., 0])
    return Scan(array, channels=True)


def run(checkpoint: Checkpoint, n: int, steps: int, device: str, precision: str, repeats: int = 1):
    """Return (seconds, cores used by others) of ``segment`` after one short run to warm up."""
    scan = image_for(checkpoint)
    call = functools.partial(segment, checkpoint, scan, device=device, precision=precision)
    call(1, steps=1)
    return seconds(lambda: call(n, steps=steps), repeats)


def by_steps(arguments) -> None:
    """Print the seconds per image for 1, 2, 10, 50 steps and N = 1, 16, 100."""
    checkpoint = model_for(arguments.model)
    rows = []
    for steps in (1, 2, 10, 50):
        times = [
            run(checkpoint, n, steps, arguments.device, arguments.precision, 5 if n == 1 else 1)
            for n in (1, 16, 100)
        ]
        rows.append([steps, *(f"{t:.3f}" for t, _ in times), f"{max(b for _, b in times):.2f}"])
    print(table(["steps", "N = 1", "N = 16", "N = 100", "others"], rows))


def by_size(arguments) -> None:
    """Print the seconds per image for sizes of 128 to 1024 pixels and 2 steps."""
    rows = []
    for size in (128, 256, 512, 1024):
        checkpoint = model_for(arguments.model, (size, size))
        times = [
            run(checkpoint, n, 2, arguments.device, arguments.precision, 4 if n == 1 else 1)
            for n in (1, 16)
        ]
        rows.append([size, *(f"{t:.3f}" for t, _ in times), f"{max(b for _, b in times):.2f}"])
    print(table(["size", "N = 1", "N = 16", "others"], rows))


def by_samples(arguments) -> None:
    """Print seconds and peak memory against N for 2 steps, each in a separate process."""
    rows = []
    for n in (1, 4, 16, 64, 100):
        command = [sys.executable, __file__, "once", "--samples", str(n)]
        for option in ("model", "device", "precision"):
            command += [f"--{option}", getattr(arguments, option)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append([n, *answer.stdout.split()[-3:]])
    print(table(["N", "seconds", "peak MiB", "others"], rows))


def once(arguments) -> None:
    """Print seconds, peak MiB and cores used by others of one run in this process."""
    checkpoint = model_for(arguments.model)
    scan = image_for(checkpoint)
    elapsed, busy = seconds(
        lambda: segment(
            checkpoint,
            scan,
            arguments.samples,
            steps=2,
            device=arguments.device,
            precision=arguments.precision,
        ),
        1,
    )
    print(f"{elapsed:.2f} {peak_mib():.0f} {busy:.2f}")


@torch.inference_mode()
def gains(arguments) -> None:
    """Print the gain of each optimisation and the change of the results, on one image and one latent."""
    checkpoint = model_for(arguments.model)
    model, size = checkpoint.model, checkpoint.metadata.grid.size
    scan = image_for(checkpoint)
    array = np.moveaxis(np.asarray(scan.array), -1, 0) if scan.channels else scan.array[None]
    image = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32) / array.max())[None]
    z = torch.randn(1, *model.latent_shape(size), generator=torch.Generator().manual_seed(0))
    channels_last = copy.deepcopy(model).to(
        memory_format=torch.channels_last if z.ndim == 4 else torch.channels_last_3d
    )
    variants = {
        "as trained": model,
        "channels last": channels_last,
        "rewritten, float32": inference_copy(model, torch.float32),
        "rewritten, bfloat16": inference_copy(model, torch.bfloat16),
    }
    if arguments.compile:
        compiled = inference_copy(model, torch.bfloat16)
        compiled.image_encoder.compile()
        compiled.label_decoder.compile()
        variants["rewritten, bfloat16, torch.compile"] = compiled
    z_i, expected = model.encode_image(image), model.decode(z, size).softmax(1)
    rows = []
    for name, variant in variants.items():
        embedding, logits = variant.encode_image(image), variant.decode(z, size)
        encoding = seconds(functools.partial(variant.encode_image, image), arguments.repeats)
        decoding = seconds(functools.partial(variant.decode, z, size), arguments.repeats)
        probabilities = logits.softmax(1)
        change = (probabilities - expected).abs()
        labels = (probabilities.argmax(1) != expected.argmax(1)).float().mean()
        rows.append(
            [
                name,
                f"{encoding[0]:.3f}",
                f"{decoding[0]:.3f}",
                f"{float((embedding - z_i).pow(2).mean().sqrt() / z_i.std()):.1e}",
                f"{float(change.mean()):.1e}",
                f"{float(change.max()):.1e}",
                f"{100 * float(labels):.3f} %",
                f"{max(encoding[1], decoding[1]):.2f}",
            ]
        )
    heads = ["networks", "encoder s", "decoder s", "z_i, RMS of its SD", "p, mean", "p, largest"]
    print(table([*heads, "labels changed", "others"], rows))


PARTS = {"steps": by_steps, "size": by_size, "samples": by_samples, "gains": gains, "once": once}


def main() -> None:
    """Print the chosen tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=PARTS, default=["steps"])
    parser.add_argument("--model", choices=[*AUTHORS, *PRESETS], default="authors-2d")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="gains: torch.compile as well")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part != "once":
            settings = {"device": arguments.device, "precision": arguments.precision}
            print(f"\n{arguments.model}, {part}: {describe(**settings)}\n")
        PARTS[part](arguments)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
