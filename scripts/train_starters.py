"""Train the bundled starter checkpoints with the project's own loop and write their model cards.

python scripts/train_starters.py echo-phantom | mri-phantom | hippocampus [--updates N]

The hippocampus images come from the folder in LDSEG_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from pathlib import Path

import numpy as np

from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import (
    ClassInfo,
    FieldOfView,
    Grid,
    Intensity,
    Metadata,
    TrainingRecord,
)
from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.overlap import evaluate, metrics
from napari_ldseg.evaluation.steps import measure_label_steps, measure_posterior_steps
from napari_ldseg.inference.files import read_scan
from napari_ldseg.inference.scan import Scan
from napari_ldseg.io.phantoms import echo_phantom, mri_phantom
from napari_ldseg.model.architecture import Architecture
from napari_ldseg.training.loop import Progress, train
from napari_ldseg.training.settings import Augmentation, TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("LDSEG_DATA", ROOT.parent / "shared" / "data"))
CHECKPOINTS = ROOT / "napari_ldseg" / "checkpoints"
PHANTOM_LICENCE = "BSD-3-Clause (synthetic images from this project's own generator)"


# There is no end of phantoms: fresh ones do what augmentation does for a small data set.
NO_AUGMENTATION = Augmentation(rotation=0, scale=0, shift=0, noise=0, contrast=0, blur=0)


def phantom_cases(make, seeds: range) -> list[Case]:
    """Return one case per seed of the generator ``make``."""

    def scan(seed: int) -> Scan:
        phantom = make(seed)
        return Scan(phantom.image, phantom.affine, name=f"phantom {seed}")

    def label(seed: int) -> np.ndarray:
        return make(seed).label

    return [
        Case(
            f"phantom {s}",
            f"phantom {s}",
            functools.partial(scan, s),
            (functools.partial(label, s),),
        )
        for s in seeds
    ]


def hippocampus_cases() -> tuple[list[Case], list[Case]]:
    """Return training and validation cases: every fifth volume in name order is kept out."""

    def label(path: Path) -> np.ndarray:
        return np.asarray(read_scan(path.parents[1] / "labels" / path.name).array).astype(np.uint8)

    paths = sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))
    cases = [
        Case(
            p.name,
            p.name.removesuffix(".nii.gz"),
            functools.partial(read_scan, p),
            (functools.partial(label, p),),
        )
        for p in paths
    ]
    kept_out = cases[::5]
    return [case for case in cases if case not in kept_out], kept_out


def echo_starter():
    """Return the 2D phantom model's description, cases and settings."""
    metadata = Metadata(
        name="echo-phantom",
        description="Heart chambers in synthetic echocardiograms; for trying the plugin in 2D.",
        architecture=Architecture(
            dims=2,
            image_channels=1,
            classes=4,
            label_widths=(8, 16, 32, 48),
            image_widths=(16, 32, 48, 64),
            denoiser_widths=(48, 96),
            latent_channels=4,
            embedding_channels=16,
            denoiser_attention=(1,),
            dropout=0.0,
        ),
        channels=("ultrasound",),
        classes=(
            ClassInfo(name="background", colour="#000000"),
            ClassInfo(name="ventricle", colour="#4363d8"),
            ClassInfo(name="myocardium", colour="#3cb44b"),
            ClassInfo(name="atrium", colour="#42d4f4"),
        ),
        grid=Grid(size=(128, 128)),
        intensity=Intensity(method="min-max"),
        training=TrainingRecord(
            data="Synthetic echocardiograms of napari_ldseg.io.phantoms, seeds 0 to 1999",
            licence=PHANTOM_LICENCE,
            split="validation: seeds 5000 to 5039, never trained on",
        ),
    )
    settings = TrainingSettings(
        updates=2500, batch_size=8, learning_rate=2e-3, workers=1, validate_every=500
    )
    training = phantom_cases(echo_phantom, range(2000))
    return metadata, training, phantom_cases(echo_phantom, range(5000, 5040)), settings


def mri_starter():
    """Return the 3D phantom model's description, cases and settings."""
    metadata = Metadata(
        name="mri-phantom",
        description="Two touching nuclei in synthetic MRI volumes; for trying the plugin in 3D.",
        architecture=Architecture(
            dims=3,
            image_channels=1,
            classes=3,
            label_widths=(8, 16, 32),
            image_widths=(8, 24, 48),
            denoiser_widths=(32, 64),
            latent_channels=4,
            embedding_channels=24,
            denoiser_attention=(1,),
            dropout=0.0,
        ),
        channels=("MRI",),
        classes=(
            ClassInfo(name="background", colour="#000000"),
            ClassInfo(name="anterior nucleus", colour="#3cb44b"),
            ClassInfo(name="posterior nucleus", colour="#42d4f4"),
        ),
        orientation="SPL",
        grid=Grid(spacing=(1.2, 1.0, 1.0), minimum_size=(40, 56, 48)),
        field_of_view=FieldOfView(smallest=(48, 56, 48), largest=(48, 56, 48)),
        training=TrainingRecord(
            data="Synthetic MRI volumes of napari_ldseg.io.phantoms, seeds 0 to 4999",
            licence=PHANTOM_LICENCE,
            split="validation: seeds 5000 to 5019, never trained on",
        ),
    )
    settings = TrainingSettings(
        updates=3200,
        batch_size=2,
        learning_rate=1.5e-3,
        workers=1,
        validate_every=800,
        augmentation=NO_AUGMENTATION,
    )
    training = phantom_cases(mri_phantom, range(5000))
    return metadata, training, phantom_cases(mri_phantom, range(5000, 5020)), settings


def hippocampus_starter():
    """Return the hippocampus model's description, cases and settings."""
    training, validation = hippocampus_cases()
    extents = np.array(
        [np.array(c.read()[0].shape) * c.read()[0].spacing for c in [*training, *validation]]
    )
    metadata = Metadata(
        name="hippocampus",
        description="Anterior and posterior hippocampus in T1 MRI cropped around it.",
        architecture=Architecture(
            dims=3,
            image_channels=1,
            classes=3,
            label_widths=(8, 16, 32, 32),
            image_widths=(8, 16, 32, 48),
            denoiser_widths=(32, 60),
            latent_channels=8,
            embedding_channels=16,
            denoiser_attention=(0, 1),
            dropout=0.0,
        ),
        channels=("T1 MRI",),
        classes=(
            ClassInfo(name="background", colour="#000000"),
            ClassInfo(name="anterior", colour="#3cb44b"),
            ClassInfo(name="posterior", colour="#42d4f4"),
        ),
        orientation="SPL",
        grid=Grid(spacing=(1.0, 1.0, 1.0), minimum_size=(48, 64, 48)),
        field_of_view=FieldOfView(
            smallest=tuple(extents.min(0).tolist()), largest=tuple(extents.max(0).tolist())
        ),
        training=TrainingRecord(
            data="Medical Segmentation Decathlon, Task04 Hippocampus (arXiv 1902.09063), 160 volumes",
            licence="CC BY-SA 4.0",
            split="every fifth of the 200 labelled volumes in name order kept out: "
            + ", ".join(c.patient.removeprefix("hippocampus_") for c in validation),
        ),
    )
    settings = TrainingSettings(
        updates=2600,
        batch_size=4,
        learning_rate=2e-3,
        workers=1,
        validate_every=400,
        augmentation=Augmentation(flip_axes=(2,), rotation=0.25, scale=0.2),
    )
    return metadata, training, validation, settings


STARTERS = {
    "echo-phantom": echo_starter,
    "mri-phantom": mri_starter,
    "hippocampus": hippocampus_starter,
}


def finish(checkpoint: Checkpoint, validation: list[Case], split: str) -> Checkpoint:
    """Measure the two step counts and the figures on the validation cases and store them."""
    posterior_steps, spreads = measure_posterior_steps(checkpoint, validation[:3], n=16)
    print("latent spread by K:", {k: round(v, 4) for k, v in sorted(spreads.items())}, flush=True)
    label_steps = measure_label_steps(checkpoint, validation[:20])
    update = {"posterior_steps": posterior_steps, "label_steps": label_steps}
    checkpoint = Checkpoint(checkpoint.metadata.model_copy(update=update), checkpoint.model)
    figures = ()
    for n, steps in ((1, label_steps), (10, posterior_steps)):
        results = evaluate(checkpoint, validation, n, steps)
        figures += metrics(results, checkpoint, split, n, steps)
    metadata = checkpoint.metadata.model_copy(update={"metrics": figures})
    return Checkpoint(metadata, checkpoint.model)


def main() -> None:
    """Train one starter, save it with its log, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=STARTERS)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from, at half the rate")
    parser.add_argument("--measure", type=Path, help="only measure this checkpoint anew")
    parser.add_argument("--out", type=Path, default=CHECKPOINTS)
    arguments = parser.parse_args()
    metadata, training, validation, settings = STARTERS[arguments.name]()
    if arguments.updates:
        settings = settings.model_copy(update={"updates": arguments.updates})
    start = None
    if arguments.start:
        start = load_checkpoint(arguments.start)
        settings = settings.model_copy(
            update={"learning_rate": settings.learning_rate / 2, "seed": settings.seed + 1}
        )
    started = time.monotonic()

    def report(progress: Progress) -> None:
        if progress.update % 50 == 0 or progress.validation_dsc is not None:
            terms = " ".join(f"{k} {float(v):.3f}" for k, v in progress.loss._asdict().items())
            dsc = "" if progress.validation_dsc is None else f" DSC {progress.validation_dsc:.4f}"
            print(
                f"{progress.update}/{progress.updates} {terms}{dsc} "
                f"{progress.seconds_left / 60:.1f} min left",
                flush=True,
            )

    if arguments.measure:
        checkpoint = load_checkpoint(arguments.measure)
    else:
        kept_out = validation[:10]
        checkpoint = train(metadata, training, kept_out, settings, start=start, on_progress=report)
        print(f"trained in {(time.monotonic() - started) / 60:.1f} min", flush=True)
    checkpoint = finish(checkpoint, validation, "validation")
    path = save_checkpoint(checkpoint, arguments.out / f"{arguments.name}.safetensors")
    print(path, f"{path.stat().st_size / 2**20:.1f} MiB")
    for metric in checkpoint.metadata.metrics:
        print(metric.name, metric.class_name, metric.value, f"N={metric.samples} K={metric.steps}")


if __name__ == "__main__":
    main()
