"""Fine-tuning the interpreter on ten photographs of a new camera: F1 of others of that camera before and after.

python benchmarks/retina_finetune.py -o FOLDER [--camera chase] [--seed 0] [--pace quick]

FOLDER is that of ``retina.py``, with the anchored model trained without the camera (trained if it is missing).
The settings are those of a retraining in the window. CHASE_DB1's photographs are of both eyes of each child: the
first five children are trained on, the left eyes of the others tested. LDSEG_DATA as in ``retina.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import machine
import numpy as np
import torch
from fundus_data import DATA, SIZE, Fundus
from retina import SIZES, _predictor, cases_of, means, trained
from retina_metrics import measure

from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.datasets.case import Case
from napari_ldseg.finetuning.plan import settings_for
from napari_ldseg.model.diffdgss.model import DiffDGSS
from napari_ldseg.scans.files import read_labels, read_scan
from napari_ldseg.training.loop import train

PHOTOGRAPHS, METHOD = 10, "anchored"
FIELDS = {
    "name": "vessels",
    "description": "vessels",
    "architecture": {"dims": 2, "image_channels": 3, "classes": 2},
    "networks": "diffdgss",
    "channels": ("red", "green", "blue"),
    "classes": (
        {"name": "background", "colour": "#000000"},
        {"name": "vessel", "colour": "#ff0000"},
    ),
    "grid": {"size": (SIZE, SIZE), "keep_shape": True},
    "intensity": {"method": "fundus"},
    "schedule_length": SIZES.schedule_length,
    "training": {"data": "retina", "licence": "research", "split": "without one camera"},
}


def case_of(photograph: Fundus, camera: str) -> Case:
    """Return a photograph as a project has it: its file and its label."""
    image = DATA / camera / "images" / f"{photograph.name}.jpg"
    label = DATA / camera / "labels" / f"{photograph.name}.png"
    read = partial(read_scan, image)

    def vessels() -> np.ndarray:
        return (np.asarray(read_labels(label).array) > 0).astype(np.uint8)

    return Case(photograph.name, photograph.name.rstrip("LR"), read, (vessels,), image)


def predictor(model: DiffDGSS):
    """Return what segments a photograph with the mean over the times."""
    model.eval()
    return _predictor(lambda image: model(image))


def main() -> None:
    """Train, measure before and after, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--camera", choices=("stare", "chase", "drive"), default="chase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", choices=("quick", "thorough"), default="quick")
    arguments = parser.parse_args()
    sources, validation, photographs = cases_of(arguments.camera)
    own, others = photographs[:PHOTOGRAPHS], photographs[PHOTOGRAPHS:]
    if arguments.camera == "chase":
        others = others[::2]
    _, _, model = trained(arguments.output, arguments.camera, METHOD, arguments.seed, sources)
    assert model is not None
    metadata = Metadata.model_validate(FIELDS | {"diffdgss": asdict(model.sizes)})
    base = Checkpoint(metadata, model)
    before = measure(predictor(model), validation, others)
    settings = settings_for(arguments.pace, metadata, metadata)
    began = time.monotonic()
    cases = [case_of(photograph, arguments.camera) for photograph in own]
    tuned = train(metadata, cases, [], settings, start=base)
    seconds = time.monotonic() - began
    frozen = zip(model.diffusion.parameters(), tuned.model.diffusion.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in frozen)
    after = measure(predictor(tuned.model), validation, others)
    gains = [after["cases"][n]["f1"] - before["cases"][n]["f1"] for n in before["cases"]]
    facts = {
        "kind": "fine-tuning",
        "task": arguments.camera,
        "method": METHOD,
        "seed": arguments.seed,
        "updates": settings.updates,
        "trained_on": len(own),
        "photographs": len(others),
        "before": means(before)["f1"],
        "after": means(after)["f1"],
        "best_before": means(before)["best_f1"],
        "best_after": means(after)["best_f1"],
        "better": sum(gain > 0 for gain in gains),
        "seconds": seconds,
        "machine": machine.describe(),
    }
    print(facts, flush=True)
    name = f"tuned-{arguments.camera}-{arguments.seed}-{arguments.pace}.txt"
    (arguments.output / name).write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
