"""LDSeg and its rivals, trained for the same time and measured on the same frames.

python benchmarks/rivals.py -o FOLDER [--data camus] [--hours H] [--only NAME ...] [--cases N]

CAMUS (LDSEG_DATA/camus) at 64 x 64 pixels, with split and augmentation of the bundled model. Each rival is a
configuration of ``napari-ldseg train`` and is trained on one core: the CPU seconds per update are measured
first, and as many updates follow as fill H hours. Set OMP_NUM_THREADS=1. nnU-Net, which has an environment of its
own, is in rivals_nnunet.py.

Measured on the first N test frames: DSC (mean of the structures) of one sample in K steps; DSC and NSD (2
pixels) of the mean of 10 samples, with the better of K = 2 and 10; and how much DSC one sample loses on images
with noise of SD 0.1 and 0.2. "K needed" is the smallest K whose DSC is within 0.01 of the best K's. Seconds
(encode, K needed or 2 steps, decode) and peak resident memory, Python and PyTorch included, are those of one
sample of a random image in a process of its own. Deterministic networks have one answer and no steps.

With ``--data lidc`` (LIDC_READERS, made by scripts/lidc_readers.py) the same rivals learn from the masks of four
readers, at the same size. Measured is GED^2 of 16 samples to the readers, with the better of K = 2 and 10; a
deterministic network has one sample.

Rows are kept in FOLDER as row.json and are not trained again; the tables, rivals.json and
the figure rivals.png have all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
import yaml
from baseline import WIDTHS
from rows import MODELS, changed, prepare, train_row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from accuracy_tables import rivals_table
from rivals_figure import draw

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.noise import add_noise
from napari_ldseg.evaluation.overlap import evaluate, overlap
from napari_ldseg.evaluation.readers import energy_distance, sample_labels
from napari_ldseg.evaluation.surface import surface_metrics
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.segment import segment
from napari_ldseg.model.fast import inference_copy
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.loop import train
from napari_ldseg.training.run import CHECKPOINT

DATA = {
    "camus": "CAMUS, 2- and 4-chamber views, split of models/splits/camus.json",
    "lidc": "LIDC-IDRI, nodules with up to four readers, split of models/splits/lidc.json",
}
TRAINED_SIZE = {"camus": 128, "lidc": 64}  # of the bundled models, in pixels
STEPS = 1, 2, 5, 10, 50
SAMPLES, SAMPLES_FOR_GED = 10, 16
TOLERANCE = 0.01  # DSC
NSD_PIXELS = 2.0
NOISE = 0.1, 0.2
SIZES = 128, 256, 512
SIZE = 64  # where diffusion at full size can be trained on one core
TIMED_UPDATES, WARM_UPDATES = 14, 3
AUTOENCODER_SHARE = 0.3  # of LSegDiff's updates

# Diffusion at the image's size: label and image take the place of their embeddings.
FULL_SIZE = {
    "label_encoder": "nearest",
    "image_encoder": "nearest",
    "label_widths": [16],
    "image_widths": [16],
    "embedding_channels": 1,
    "denoiser_widths": [24, 48, 96, 128],
    "denoiser_attention": [3],
}

# The changes of each rival against the bundled model's configuration, as dotted names of the configuration.
RIVALS: dict[str, dict[str, Any]] = {
    "LDSeg": {},
    "LSegDiff": {"training.autoencoder_updates": 1},  # its share is known after the timing
    "full-size diffusion": {"architecture": FULL_SIZE},
    "signed distances": {"architecture": FULL_SIZE | {"label_encoder": "signed-distance"}},
    "Res-UNet": {"networks": "res-unet", "architecture": {"image_widths": WIDTHS}},
    "SwinUNETR": {
        "networks": "swin-unetr",
        "architecture": {"image_widths": [12, 12, 24, 48, 96, 192]},
    },
}
NAMES = [*RIVALS, "nnU-Net"]


def configuration(data: str, name: str, updates: int) -> dict[str, Any]:
    """Return the configuration of the rival ``name`` for a training of so many updates (at least 2)."""
    config = yaml.safe_load((MODELS / f"{data}.yaml").read_text())
    config = changed(config, {"name": name} | RIVALS[name])
    config["data"]["split"] = str((MODELS / config["data"]["split"]).resolve())
    config["grid"]["size"] = [SIZE, SIZE]
    if "label_encoder" in config.get("architecture", {}):
        config["architecture"]["latent_channels"] = len(config["classes"])
    config["training"] |= {"updates": updates, "validate_every": updates}
    config["training"]["augmentation"]["shift"] *= SIZE / TRAINED_SIZE[data]
    if "autoencoder_updates" in config["training"]:
        config["training"]["autoencoder_updates"] = max(1, round(AUTOENCODER_SHARE * updates))
    return config


def seconds_per_update(data: str, name: str, folder: Path) -> float:
    """Return the CPU seconds of one update with images that are in memory, the mean over a run's stages."""
    config = configuration(data, name, TIMED_UPDATES)
    first = 0
    if "autoencoder_updates" in config["training"]:
        first = TIMED_UPDATES
        config["training"] |= {"autoencoder_updates": first, "updates": 2 * TIMED_UPDATES}
    settings, metadata, training, _, _ = prepare(config, folder)
    few = training[: 2 * settings.training.batch_size]  # all read in the first two updates
    times = [time.process_time()]
    train(
        metadata,
        few,
        (),
        settings.training,
        on_progress=lambda progress: times.append(time.process_time()),
    )
    durations = np.diff(times)
    last = float(np.median(durations[first + WARM_UPDATES :]))
    if not first:
        return last
    share = AUTOENCODER_SHARE
    return share * float(np.median(durations[WARM_UPDATES:first])) + (1 - share) * last


def trained(data: str, name: str, folder: Path, hours: float) -> tuple[Checkpoint, dict[str, Any]]:
    """Return the rival's checkpoint and its row in ``folder``, which says how long it was trained."""
    file = folder / "row.json"
    row = json.loads(file.read_text()) if file.is_file() else {}
    if row.get("hours", hours) != hours:
        raise SystemExit(f"{folder} was trained for {row['hours']} hours; choose another folder.")
    if not row:
        seconds = seconds_per_update(data, name, folder)
        updates = max(2, round(3600 * hours / seconds))
        row = {"hours": hours, "seconds_per_update": seconds, "updates": updates}
        write_json(file, row)
    new = not (folder / CHECKPOINT).is_file()
    started = time.perf_counter()
    checkpoint = train_row(configuration(data, name, row["updates"]), folder, ())
    if new:
        row["hours_since_last_start"] = (time.perf_counter() - started) / 3600
        write_json(file, row)
    return checkpoint, row


def measure(checkpoint: Checkpoint, cases: Sequence[Case], file: Path) -> dict[str, Any]:
    """Return the figures of the checkpoint in ``file`` on ``cases``."""
    deterministic = checkpoint.metadata.deterministic
    dsc = {k: one_sample(checkpoint, cases, k) for k in ((1,) if deterministic else STEPS)}
    needed = needed_steps(dsc)
    means = [
        mean_of_samples(checkpoint, cases, *sampling)
        for sampling in ([(1, 1)] if deterministic else [(SAMPLES, 2), (SAMPLES, 10)])
    ]
    noisy = {
        f"{sd}": dsc[needed] - one_sample(checkpoint, [with_noise(c, sd) for c in cases], needed)
        for sd in NOISE
    }
    steps = 1 if deterministic else max(2, needed)
    return {
        "cases": len(cases),
        "dsc": {f"{k}": value for k, value in dsc.items()},
        "steps_needed": None if deterministic else needed,
        "mean_of_samples": max(means, key=lambda mean: mean["dsc"]),
        "noise_loss": noisy,
        "cost": {f"{size}": cost(file, size, steps) for size in SIZES},
        "weights": sum(weight.numel() for weight in checkpoint.model.parameters()),
    }


def one_sample(checkpoint: Checkpoint, cases: Sequence[Case], steps: int) -> float:
    """Return the DSC of one sample in K = ``steps``, mean over cases and structures."""
    return float(np.nanmean(evaluate(checkpoint, cases, 1, steps, "cpu")[:, 0]))


def needed_steps(dsc: dict[int, float]) -> int:
    """Return the smallest K whose DSC is within 0.01 of the best K's."""
    return min(k for k, value in dsc.items() if value >= max(dsc.values()) - TOLERANCE)


def mean_of_samples(
    checkpoint: Checkpoint, cases: Sequence[Case], samples: int, steps: int
) -> dict[str, float]:
    """Return DSC and NSD of the mean of ``samples`` samples, means over cases and structures."""

    def label_map(scan: Scan) -> np.ndarray:
        return segment(checkpoint, scan, samples, steps=steps, device="cpu").labels

    classes = checkpoint.metadata.architecture.classes
    return {"samples": samples, "steps": steps, **scores(label_map, cases, classes)}


def scores(
    label_map: Callable[[Scan], np.ndarray], cases: Sequence[Case], classes: int
) -> dict[str, float]:
    """Return DSC and NSD of the label maps, means over cases and structures."""
    values = []
    for case in cases:
        scan, expert = case.read()
        labels = label_map(scan)
        spacing = (1.0,) * labels.ndim  # pixels
        nsd = surface_metrics(labels, expert, classes, spacing, NSD_PIXELS)[1]
        values.append([overlap(labels, expert, classes)[0], nsd])
    dsc, nsd = np.nanmean(np.array(values), axis=(0, 2))
    return {"dsc": float(dsc), "nsd": float(nsd)}


def measure_readers(checkpoint: Checkpoint, cases: Sequence[Case], file: Path) -> dict[str, Any]:
    """Return the mean GED^2 to the readers of ``cases`` by number of steps."""
    deterministic = checkpoint.metadata.deterministic
    samples, classes = 1 if deterministic else SAMPLES_FOR_GED, len(checkpoint.metadata.classes)
    found = {}
    for steps in (1,) if deterministic else (2, 10):
        distances = []
        for case in cases:
            sampler = PosteriorSampler(
                checkpoint, case.read_scan(), steps=steps, device="cpu", keep_labels=True
            )
            for _ in sampler.run(samples):
                pass
            readers = [read() for read in case.read_labels]
            distances.append(energy_distance(sample_labels(sampler.posterior), readers, classes))
        found[f"{steps}"] = float(np.mean(distances))
    return {"cases": len(cases), "samples": samples, "ged": found}


def with_noise(case: Case, sd: float) -> Case:
    """Return ``case`` with noise on its image."""
    return replace(case, read_scan=lambda: add_noise(case.read_scan(), sd))


def cost(file: Path, size: int, steps: int) -> dict[str, float]:
    """Return the seconds and the peak MiB of one sample of ``size`` pixels squared in a fresh process."""
    command = [sys.executable, __file__, "--sample", str(file), str(size), str(steps)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = map(float, answer.stdout.split())
    return {"seconds": seconds, "mib": peak}


@torch.inference_mode()
def sample(file: str, size: int, steps: int) -> None:
    """Print the shortest of three durations of one sample, in seconds, and the peak memory in MiB."""
    model = inference_copy(load_checkpoint(file).model)
    image = torch.rand(1, model.architecture.image_channels, size, size)
    noise = torch.randn(1, *model.latent_shape((size, size)))

    def run() -> None:
        model.decode(model.sample(model.encode_image(image), noise, steps), (size, size))

    run()
    seconds, _ = machine.seconds(run, 3)
    print(seconds, machine.peak_mib())


def folder_of(data: str, name: str, output: Path) -> Path:
    """Return the folder of the rival ``name``."""
    return output / data / name.replace(" ", "-")


def finished(data: str, output: Path) -> dict[str, dict[str, Any]]:
    """Return the rows in ``output`` that have been measured, also by earlier calls."""
    files = {name: folder_of(data, name, output) / "row.json" for name in NAMES}
    rows = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    return {name: row for name, row in rows.items() if "figures" in row}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` as JSON."""
    path.write_text(json.dumps(content, indent=1))


def main() -> None:
    """Train and measure the missing rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--data", default="camus", choices=list(DATA))
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--sample", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.sample:
        file, size, steps = arguments.sample
        sample(file, int(size), int(steps))
        return
    if arguments.output is None:
        parser.error("-o FOLDER is missing")
    output = arguments.output.resolve()
    data = arguments.data
    for name in arguments.only:
        folder = folder_of(data, name, output)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, row = trained(data, name, folder, arguments.hours)
        config = configuration(data, name, row["updates"])
        cases = prepare(config, folder).held_out[: arguments.cases]
        if row.get("figures", {}).get("cases") != len(cases):
            figures = measure_readers if data == "lidc" else measure
            row["figures"] = figures(checkpoint, cases, folder / CHECKPOINT)
            write_json(folder / "row.json", row)
        print(f"{name}: {row}", file=sys.stderr, flush=True)
    report(output, arguments.hours)


def report(output: Path, hours: float) -> None:
    """Write all rows in ``output`` as rivals.json and its figure, and print the tables."""
    content = {"machine": machine.describe(hours=hours), "data": DATA, "hours": hours}
    content |= {"rows": finished("camus", output), "readers": finished("lidc", output)}
    write_json(output / "rivals.json", content)
    draw(content, output / "rivals.png")
    print(f"{content['machine']}\n\n{rivals_table(content)}")


if __name__ == "__main__":
    main()
