"""nnU-Net v2 as one of the rivals of rivals.py, with a shortened schedule.

python benchmarks/rivals_nnunet.py -o FOLDER [--data camus] [--hours H] [--cases N]

Needs an environment with this package (extra ``local``) and nnunetv2. nnU-Net plans, preprocesses, augments and
trains as it does by itself, on the same training images at 64 x 64 pixels, but its schedule is shortened to H hours of
CPU time of one core: the batch is that of the other rivals instead of the planned one, and ten epochs have as
many updates as fit, measured first. Images are predicted at 64 x 64 with its mirrored copies, and the
probabilities are enlarged to the image. Of LIDC each reader's mask is a case.

Seconds and memory are those of its network on a complete image with the mirrored copies, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from rivals import (
    DATA,
    NOISE,
    SIZE,
    SIZES,
    TIMED_UPDATES,
    WARM_UPDATES,
    configuration,
    folder_of,
    report,
    scores,
    with_noise,
    write_json,
)
from rows import prepare
from skimage.io import imsave
from skimage.transform import resize

from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.readers import energy_distance
from napari_ldseg.scans.scan import Scan

NAME, DATASET, EPOCHS = "nnU-Net", "Dataset001_Rival", 10
FOLDERS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"


def export(cases: Sequence[Case], raw: Path, classes: list[str]) -> list[str]:
    """Write the cases at 64 x 64 as nnU-Net reads them; return their names."""
    names = []
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        image = small(case.read_scan())
        for reader, read in enumerate(case.read_labels):
            names.append(f"{case.name}-{reader}")
            label = resize(read(), (SIZE, SIZE), order=0, preserve_range=True).astype(np.uint8)
            imsave(raw / "imagesTr" / f"{names[-1]}_0000.png", image, check_contrast=False)
            imsave(raw / "labelsTr" / f"{names[-1]}.png", label, check_contrast=False)
    described = {
        "channel_names": {"0": "image"},
        "labels": {name: value for value, name in enumerate(classes)},
        "numTraining": len(names),
        "file_ending": ".png",
    }
    write_json(raw / "dataset.json", described)
    return names


def small(scan: Scan) -> np.ndarray:
    """Return the image at 64 x 64 as grey values of 0 to 255, as the other rivals see it."""
    image = scan.array.astype(np.float32)
    image = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
    return np.round(resize(image, (SIZE, SIZE), anti_aliasing=True) * 255).astype(np.uint8)


def trainer_of(folder: Path, batch: int, updates: int) -> Any:
    """Return nnU-Net's trainer with the shortened schedule."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    torch.set_num_threads(1)  # its planning takes more
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    plans["configurations"]["2d"]["batch_size"] = batch
    described = json.loads((preprocessed / "dataset.json").read_text())
    plans["continue_training"] = False
    trainer = nnUNetTrainer(plans, "2d", 0, described, torch.device("cpu"))
    trainer.num_epochs = EPOCHS
    trainer.num_iterations_per_epoch = max(1, updates // EPOCHS)
    trainer.num_val_iterations_per_epoch = 1
    return trainer


def trained(folder: Path, batch: int, hours: float) -> tuple[Any, dict[str, Any]]:
    """Return the trained trainer and its row."""
    row_file = folder / "row.json"
    row = json.loads(row_file.read_text()) if row_file.is_file() else {}
    if not row:
        trainer = trainer_of(folder, batch, TIMED_UPDATES)
        trainer.on_train_start()
        times = []
        for _ in range(TIMED_UPDATES):
            began = time.process_time()
            trainer.train_step(next(trainer.dataloader_train))
            times.append(time.process_time() - began)
        seconds = float(np.median(times[WARM_UPDATES:]))
        updates = round(3600 * hours / seconds / EPOCHS) * EPOCHS
        row = {"hours": hours, "seconds_per_update": seconds, "updates": updates, "batch": batch}
        write_json(row_file, row)
    trainer = trainer_of(folder, batch, row["updates"])
    final = Path(trainer.output_folder) / "checkpoint_final.pth"
    if not final.is_file():
        trainer.run_training()
    else:
        trainer.initialize()
        trainer.network.load_state_dict(
            torch.load(final, weights_only=False)["network_weights"]  # of this run
        )
    return trainer, row


class Predictor:
    """The trained network with nnU-Net's own prediction."""

    def __init__(self, trainer: Any):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        self._predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        trainer.network.decoder.deep_supervision = False
        self._predictor.manual_initialization(
            trainer.network.eval(),
            trainer.plans_manager,
            trainer.configuration_manager,
            None,
            trainer.dataset_json,
            "nnUNetTrainer",
            trainer.inference_allowed_mirroring_axes,
        )

    @torch.inference_mode()
    def __call__(self, scan: Scan) -> np.ndarray:
        """Return the label map on the scan's own grid."""
        image = small(scan).astype(np.float32)[None]
        standard = (image - image.mean()) / max(float(image.std()), 1e-8)  # its preprocessing
        logits = self._predictor.predict_sliding_window_return_logits(
            torch.from_numpy(standard)[:, None]
        )
        probabilities = logits.float().softmax(0)[:, 0].numpy()
        large = [resize(one, scan.shape, order=1) for one in probabilities]
        return np.argmax(large, axis=0).astype(np.uint8)


def cost(folder: Path, size: int, batch: int) -> dict[str, float]:
    """Return the seconds and the peak MiB of one image of ``size`` pixels squared in a fresh process."""
    command = [sys.executable, __file__, "--sample", str(folder), str(size), str(batch)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = map(float, answer.stdout.split()[-2:])
    return {"seconds": seconds, "mib": peak}


@torch.inference_mode()
def sample(folder: Path, size: int, batch: int) -> None:
    """Print the shortest of three durations of one image, in seconds, and the peak memory in MiB."""
    trainer = trainer_of(folder, batch, EPOCHS)
    trainer.initialize()
    network = trainer.network.eval()
    network.decoder.deep_supervision = False
    axes = trainer.inference_allowed_mirroring_axes or ()
    image = torch.rand(1, 1, size, size)
    seconds, _ = machine.seconds(lambda: [network(image) for _ in range(2 ** len(axes))], 3)
    print(seconds, machine.peak_mib())


def measure(trainer: Any, cases: Sequence[Case], folder: Path, batch: int) -> dict[str, Any]:
    """Return the figures that rivals.py has of the others."""
    classes, predict = len(trainer.dataset_json["labels"]), Predictor(trainer)
    clean = scores(predict, cases, classes)
    noisy = {
        f"{sd}": clean["dsc"] - scores(predict, [with_noise(c, sd) for c in cases], classes)["dsc"]
        for sd in NOISE
    }
    return {
        "cases": len(cases),
        "dsc": {"1": clean["dsc"]},
        "steps_needed": None,
        "mean_of_samples": {"samples": 1, "steps": 1, **clean},
        "noise_loss": noisy,
        "cost": {f"{size}": cost(folder, size, batch) for size in SIZES},
        "weights": sum(weight.numel() for weight in trainer.network.parameters()),
    }


def measure_readers(trainer: Any, cases: Sequence[Case]) -> dict[str, Any]:
    """Return the mean GED^2 of its one answer to the readers."""
    predict, classes = Predictor(trainer), len(trainer.dataset_json["labels"])
    distances = [
        energy_distance([predict(c.read_scan())], [read() for read in c.read_labels], classes)
        for c in cases
    ]
    return {"cases": len(cases), "samples": 1, "ged": {"1": float(np.mean(distances))}}


def main() -> None:
    """Train and measure nnU-Net, and print the table of all rivals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--data", default="camus", choices=list(DATA))
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--sample", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.sample is None:
        folder = folder_of(arguments.data, NAME, arguments.output.resolve())
    else:
        folder = Path(arguments.sample[0])
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"}
    if arguments.sample is not None:
        sample(folder, *map(int, arguments.sample[1:]))
        return
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    config = configuration(arguments.data, "Res-UNet", 2)
    prepared = prepare(config, folder)
    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    if not (preprocessed / "splits_final.json").is_file():
        classes = [info.name for info in prepared.settings.classes]
        names = export(prepared.training, folder / FOLDERS[0] / DATASET, classes)
        api.extract_fingerprints([1], num_processes=1)
        plans = api.plan_experiments([1])
        api.preprocess([1], plans or "nnUNetPlans", configurations=["2d"], num_processes=[1])
        # It looks at its validation cases, but chooses nothing by them.
        write_json(preprocessed / "splits_final.json", [{"train": names, "val": names[:2]}])
    os.environ |= {"nnUNet_n_proc_DA": "0"}  # augmentation in this process, which planning refuses
    batch = prepared.settings.training.batch_size
    trainer, row = trained(folder, batch, arguments.hours)
    cases = prepared.held_out[: arguments.cases]
    if arguments.data == "lidc":
        row["figures"] = measure_readers(trainer, cases)
    else:
        row["figures"] = measure(trainer, cases, folder, batch)
    write_json(folder / "row.json", row)
    report(arguments.output.resolve(), arguments.hours)


if __name__ == "__main__":
    main()
