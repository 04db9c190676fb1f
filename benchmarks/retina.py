"""Retinal vessels on a camera that was left out: DiffDGSS, its ablations, and a plain U-Net.

python benchmarks/retina.py run -o FOLDER --task TASK --method METHOD [--seed 0]
python benchmarks/retina.py uncertainty -o FOLDER --task TASK --method METHOD [--seed 0] [--members 3]
python benchmarks/retina.py checkpoint -o FOLDER --task TASK --checkpoint FILE --split FILE [--scales S ...]
python benchmarks/retina.py table -o FOLDER [--json docs/data/retina.json]

LDSEG_DATA/retina, every photograph brought to 768 pixels. TASK is a camera to leave out (``stare``,
``chase``, ``drive``: trained on the other two), ``in-camera`` (trained on four fifths of each camera's
patients, tested on the others) or ``disc-cup`` (Drishti-GS1). METHOD is one of the rows below. ``run``
trains what is missing, measures, and writes one JSON file; a stopped run continues. ``checkpoint`` measures a
checkpoint of ``napari-ldseg train`` with the same metrics; its label map's probability is that of the plugin, with
``--scales`` the mean over the photograph at these multiples of 768 pixels.

The diffusion network is trained on images of DRIVE and Drishti-GS1 alone, so that neither STARE nor
CHASE was seen when it is left out. The threshold is the best one on two photographs of each source
camera that were not trained on. F1, AUC-PR and HD95 are means over photographs, inside the field of view.
``run`` tests on every second photograph. Training is in mixed precision (bfloat16). Seconds are CPU seconds; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fundus_data import SIZE, VESSEL_CAMERAS, Fundus, read_camera, split
from retina_metrics import Predict, dice, measure, measure_disc
from retina_training import train_diffusion, train_interpreter, train_unet
from torch import Tensor
from torch.nn.functional import interpolate

from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint
from napari_ldseg.evaluation.uncertainty import error_auroc
from napari_ldseg.inference.fundus import SMALLEST_INSIDE
from napari_ldseg.inference.symmetry import symmetries
from napari_ldseg.model.diffdgss.image_unet import ImageUNet
from napari_ldseg.model.diffdgss.model import DiffDGSS
from napari_ldseg.model.diffdgss.sizes import DiffDGSSSizes
from napari_ldseg.model.fast import inference_copy

SIZES = DiffDGSSSizes()
PATCH, BATCH = 128, 4
DIFFUSION_UPDATES, UPDATES = 8000, 1000
DIFFUSION_CAMERAS = ("drive", "drishti")
DROPOUT_PASSES, UNCERTAINTY_EVERY = 4, 5

METHODS: dict[str, dict[str, Any] | None] = {
    "anchored": {},
    "fine-tuned": {"times": (50,)},
    "chained": {"inversion": "chained"},
    "noised": {"inversion": "noised"},
    "single-time": {"times": (50,)},
    "no-frequency": {"frequency_aware": False},
    "unet": None,
    "unet-pretrained": None,
}


def cases_of(task: str) -> tuple[list[Fundus], list[Fundus], list[Fundus]]:
    """Return (training, validation, test) photographs of a task."""
    if task == "disc-cup":
        source, test = split(read_camera("drishti", 384))
        return source[2:], source[:2], test
    if task == "in-camera":
        parts = [split(read_camera(c)) for c in VESSEL_CAMERAS]
        sources, test = [p[0] for p in parts], [c for p in parts for c in p[1]]
    else:
        sources = [read_camera(c) for c in VESSEL_CAMERAS if c != task]
        test = read_camera(task)
    return [c for s in sources for c in s[2:]], [c for s in sources for c in s[:2]], test


def diffusion_of(folder: Path, sizes: DiffDGSSSizes) -> tuple[DiffDGSS, float]:
    """Return a model with the shared diffusion network, trained if that was not done yet."""
    torch.manual_seed(0)
    model = DiffDGSS(sizes)
    cases = [c for camera in DIFFUSION_CAMERAS for c in read_camera(camera)]
    state = folder / "diffusion.pt"
    return model, train_diffusion(model, cases, DIFFUSION_UPDATES, 0, state, PATCH, BATCH)


def trained(
    folder: Path, task: str, method: str, seed: int, cases: list[Fundus]
) -> tuple[Predict, dict[str, Any], DiffDGSS | None]:
    """Return what segments a photograph, facts about the training, and the model if it is a DiffDGSS."""
    state = folder / f"{task}-{method}-{seed}.pt"
    classes = 3 if task == "disc-cup" else 2
    changes = METHODS[method]
    if changes is None:
        torch.manual_seed(seed)
        network = ImageUNet(SIZES, classes)
        if method == "unet-pretrained":
            start = diffusion_of(folder, SIZES)[0].diffusion.state_dict()
            own = network.state_dict()
            network.load_state_dict(
                own | {k: v for k, v in start.items() if v.shape == own[k].shape}
            )
        seconds = train_unet(network, cases, classes, UPDATES, seed, state, PATCH, BATCH)
        network.eval()
        facts = {"weights": _count(network), "seconds": seconds}
        return _predictor(lambda x: network(x, torch.zeros(1))), facts, None
    model, diffusion_seconds = diffusion_of(folder, SIZES)
    sizes = replace(SIZES, classes=classes, **changes)
    torch.manual_seed(seed)
    built = DiffDGSS(sizes)
    built.diffusion.load_state_dict(model.diffusion.state_dict())
    frozen = method != "fine-tuned"
    seconds = train_interpreter(built, cases, UPDATES, seed, state, PATCH, BATCH, frozen)
    built.eval()
    facts = {
        "weights": _count(built),
        "interpreter_weights": _count(built.interpreter),
        "seconds": seconds,
        "diffusion_seconds": diffusion_seconds,
    }

    def logits(image: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return built(image, lambda t: torch.randn(image.shape, generator=generator))

    return _predictor(logits), facts, built


def _predictor(logits: Callable[[Tensor], Tensor]) -> Predict:
    def predict(case: Fundus) -> np.ndarray:
        image = _padded(case)
        h, w = case.inside.shape
        with torch.no_grad():
            return logits(image).softmax(1)[0, :, :h, :w].numpy()

    return predict


def _padded(case: Fundus) -> Tensor:
    """Return (1, 3, height, width) with the sizes padded to the networks' stride."""
    h, w = case.inside.shape
    pads = ((0, 0), (0, -h % SIZES.stride), (0, -w % SIZES.stride))
    return torch.from_numpy(np.pad(case.image, pads))[None]


def _count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def run(folder: Path, task: str, method: str, seed: int) -> None:
    """Train and measure one row."""
    training, validation, test = cases_of(task)
    if task != "disc-cup":
        test = test[::2]  # K times are slow; of CHASE_DB1 the left eyes
    predict, facts, _ = trained(folder, task, method, seed, training)
    result = (
        measure_disc(predict, test) if task == "disc-cup" else measure(predict, validation, test)
    )
    facts |= {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    facts |= {"task": task, "method": method, "seed": seed, "updates": UPDATES}
    (folder / f"{task}-{method}-{seed}.json").write_text(json.dumps(facts | result, indent=1))
    print(facts, means(result), flush=True)


def measure_checkpoint(
    folder: Path, task: str, path: Path, split_file: Path, scales: Sequence[float]
) -> None:
    """Measure a checkpoint on the camera that it was not trained on, or on its split's test part.

    The threshold is the best one on the validation photographs of its split.
    """
    checkpoint, parts = load_checkpoint(path), json.loads(split_file.read_text())
    every = {c.name: c for camera in VESSEL_CAMERAS for c in read_camera(camera)}
    if task in VESSEL_CAMERAS:
        test = [c for n, c in every.items() if n.startswith(task)]
        assert not {c.name for c in test} & {n for part in parts.values() for n in part}
    else:
        test = [every[n] for n in parts["test"]]
    result = measure(_plugin(checkpoint, scales), [every[n] for n in parts["validation"]], test)
    facts = {
        "task": task,
        "method": f"{checkpoint.metadata.networks} of napari-ldseg train",
        "seed": checkpoint.metadata.training.settings["seed"],
        "weights": _count(checkpoint.model),
        "updates": checkpoint.metadata.training.updates,
        "scales": list(scales),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    (folder / f"{task}-{path.stem}-{len(scales)}.json").write_text(
        json.dumps(facts | result, indent=1)
    )
    print(facts, means(result), flush=True)


def _plugin(checkpoint: Checkpoint, scales: Sequence[float]) -> Predict:
    """Return the probabilities of a checkpoint's label map: the mean over the symmetries, and over ``scales``."""
    model = inference_copy(checkpoint.model)
    turns = symmetries(checkpoint.metadata, (SIZE, SIZE))

    @torch.inference_mode()
    def predict(case: Fundus) -> np.ndarray:
        h, w = case.inside.shape
        shown = np.maximum((case.image + 1) / 2, SMALLEST_INSIDE) * case.inside
        pads = [((SIZE - n) // 2, SIZE - n - (SIZE - n) // 2) for n in (h, w)]
        grid = torch.from_numpy(np.pad(shown, ((0, 0), *pads)).astype("f4"))
        mean = torch.zeros(len(checkpoint.metadata.classes), SIZE, SIZE)
        for scale in scales:
            scaled = _resized(grid, round(SIZE * scale / SIZES.stride) * SIZES.stride)
            for turn in turns:
                found = turn.undo(model.encode_image(turn.apply(scaled)[None]).softmax(1)[0])
                mean += _resized(found, SIZE) / len(turns) / len(scales)
        (top, _), (left, _) = pads
        return mean[:, top : top + h, left : left + w].numpy()

    return predict


def _resized(image: Tensor, size: int) -> Tensor:
    """Return (channels, size, size) by linear interpolation, smoothed before it is reduced."""
    if image.shape[-1] == size:
        return image
    return interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0]


def uncertainty(folder: Path, task: str, method: str, seed: int, members: int) -> None:
    """Measure how well each candidate finds the wrong pixels of every fifth test photograph (AUROC),
    and F1 of each time alone at the threshold of all.

    The ensemble's ``members`` have the seeds from ``seed`` on; the wrong pixels are those of the first.
    """
    training, _, test = cases_of(task)
    found_models = [trained(folder, task, method, seed + m, training)[2] for m in range(members)]
    models = [m for m in found_models if m is not None]
    if len(models) < members:
        raise SystemExit("only of DiffDGSS")
    model = models[0]
    threshold = json.loads((folder / f"{task}-{method}-{seed}.json").read_text())["threshold"]
    rows = []
    for case in test[::UNCERTAINTY_EVERY]:
        image, (h, w) = _padded(case), case.inside.shape
        with torch.no_grad():
            logits = model.logits_over_times(image)
            p = model.interpreter.weighting(logits).softmax(1)[0, 1]
            times = logits.softmax(2)[0, :, 1]
            model.interpreter.expert.train()
            passes = [model(image).softmax(1)[0, 1] for _ in range(DROPOUT_PASSES)]
            model.interpreter.expert.eval()
            answers = torch.stack([p, *(m(image).softmax(1)[0, 1] for m in models[1:])])
        maps = {
            "predictive SD": (p * (1 - p)).sqrt(),
            "spread over times": times.std(0, correction=0),
            "spread over dropout": torch.stack(passes).std(0, correction=0),
        }
        mean = answers.mean(0)
        if members > 1:
            maps["spread over members"] = answers.std(0, correction=0)
            maps["predictive SD of members"] = (mean * (1 - mean)).sqrt()
        wrong = (p.numpy()[:h, :w] > threshold) != (case.label > 0)
        found = {
            n: error_auroc(m.numpy()[:h, :w][case.inside], wrong[case.inside])
            for n, m in maps.items()
        }
        for t, one in zip(model.sizes.times, times.numpy()[:, :h, :w], strict=True):
            found[f"f1 at t = {t}"] = dice((one > threshold) & case.inside, case.label > 0)
        if members > 1:
            chosen = (mean.numpy()[:h, :w] > threshold) & case.inside
            found["f1 of members"] = dice(chosen, case.label > 0)
        rows.append(found)
        print(case.name, {k: round(v, 4) for k, v in found.items()}, flush=True)
    facts = {
        "kind": "uncertainty",
        "task": task,
        "method": method,
        "seed": seed,
        "members": members,
        "threshold": threshold,
    }
    name = f"uncertainty-{task}-{method}-{seed}.json"
    cases = {c.name: r for c, r in zip(test[::UNCERTAINTY_EVERY], rows, strict=True)}
    (folder / name).write_text(json.dumps(facts | {"cases": cases}, indent=1))


def means(result: dict[str, Any]) -> dict[str, float]:
    """Return the mean of every metric over the photographs."""
    rows = list(result["cases"].values())
    return {name: float(np.nanmean([r[name] for r in rows])) for name in rows[0]}


def table(folder: Path, json_file: Path | None) -> None:
    """Print all rows in ``folder`` and write them as one JSON file."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        cameras = {"all": result}
        if result["task"] == "in-camera":
            for camera in VESSEL_CAMERAS:
                chosen = {k: v for k, v in result["cases"].items() if k.startswith(camera)}
                cameras[camera] = {"cases": chosen}
        for camera, part in cameras.items():
            facts = {k: v for k, v in result.items() if k != "cases"}
            rows.append(facts | {"camera": camera, "photographs": len(part["cases"])} | means(part))
    for row in rows:
        print(
            " | ".join(
                f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            )
        )
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Run one row or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "action", choices=("run", "table", "diffusion", "uncertainty", "checkpoint")
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--task", choices=(*VESSEL_CAMERAS, "in-camera", "disc-cup"))
    parser.add_argument("--method", choices=list(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--scales", type=float, nargs="*", default=[1.0])
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.action == "table":
        table(arguments.output, arguments.json)
    elif arguments.action == "checkpoint":
        given = arguments.task, arguments.checkpoint, arguments.split, arguments.scales
        measure_checkpoint(arguments.output, *given)
    elif arguments.action == "diffusion":
        diffusion_of(arguments.output, SIZES)
    else:
        given = arguments.output, arguments.task, arguments.method, arguments.seed
        if arguments.action == "uncertainty":
            uncertainty(*given, arguments.members)
        else:
            run(*given)


if __name__ == "__main__":
    main()
