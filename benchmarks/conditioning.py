"""How much do corrections gain beyond the corrected voxels? DSC against the number of brush strokes.

python benchmarks/conditioning.py [MODEL ...] [--cases N] [--first INDEX] [--cache FOLDER] [--plot]

A simulated user paints, in one slice, a round dab in the middle of the largest wrongly labelled piece, with
the expert's class and inside the expert's structure; its radius is 2.5 % of the slice's shorter side, at
least one pixel. The known voxels are those that a stroke changed. Each method has its own strokes,
because its errors are its own; painted voxels are kept exactly by all:

- painting: the label map changes where it is painted only. Paint and keep, an ordinary run after each stroke
  with the painted voxels kept, is the same: the model does not see them, and its label map is one estimate;
- weights, global and local: samples are weighted by their likelihood at the strokes, the same everywhere or
  with an influence that falls with the distance from the strokes as in the product;
- conditioning: ``inference/conditioning.py``.

As in the product, the last three change the label map only where they change the most probable class: of the samples'
mean the weights, of the samples' and the label map's probability together the conditioning.

Cases are held out, one per patient: the test cases, or the validation cases where there are none. Writes
docs/data/conditioning.json; with --plot a plot of what is in it, docs/images/conditioning.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import forgetting
import machine
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import ndimage

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.correction.brush import brush_voxels
from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.overlap import mean_dsc
from napari_ldseg.inference.conditioning import REACH, SMALLEST, Conditioner, falloff
from napari_ldseg.inference.evidence import evidence_from_labels
from napari_ldseg.inference.probability import most_probable
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.inference.samples import Samples
from napari_ldseg.utils.atomic import atomic_write

DOCS = Path(__file__).parents[1] / "docs"
DATA, PLOT = DOCS / "data" / "conditioning.json", DOCS / "images" / "conditioning.png"
MODELS = "camus", "hippocampus", "glas", "lidc"
STROKES = 0, 1, 2, 3, 5, 8
SAMPLES = 16
BRUSH = 0.025  # radius, share of the shorter side of a slice
# Gives the label map (without painted voxels) for (labels, known voxels), where known.
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def draw(case: Case, model: str, cache: Path | None) -> tuple[Samples, np.ndarray]:
    """Return the samples of a case and its label map, from ``cache`` if they are there."""
    sampler = PosteriorSampler(load_checkpoint(find_checkpoint(model)), case.read_scan())
    posterior = sampler.posterior
    file = cache / f"{model}-{case.name}.pt" if cache else None
    if file is None or not file.is_file():
        for _ in sampler.run(SAMPLES):
            pass
        labels, estimate = posterior.labels, posterior.estimate
        if file is not None:
            torch.save((posterior.latents, torch.from_numpy(labels), estimate), file)
    else:
        latents, stored, estimate = torch.load(file, weights_only=True)
        posterior.latents.update(latents)
        posterior.counts[...] = SAMPLES
        labels = stored.numpy()
    samples = sampler.samples()
    assert samples is not None
    return replace(samples, estimate=estimate), labels


def stroke(labels: np.ndarray, expert: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Return the voxels that the next stroke changes, bool, and its class; None without errors."""
    slices = (labels[None], expert[None]) if labels.ndim == 2 else (labels, expert)
    wrong = slices[0] != slices[1]
    best, found = 0, None
    for z in np.flatnonzero(wrong.any((1, 2))):
        for c in np.unique(slices[1][z][wrong[z]]):
            pieces, _ = ndimage.label(wrong[z] & (slices[1][z] == c))
            sizes = np.bincount(pieces.ravel())[1:]
            if sizes.max() > best:
                best, found = sizes.max(), (z, int(c), pieces == 1 + sizes.argmax())
    if found is None:
        return None
    z, c, piece = found
    depth = ndimage.distance_transform_edt(np.pad(piece, 1))[1:-1, 1:-1]
    centre = np.unravel_index(depth.argmax(), depth.shape)
    size = 2 * max(1.0, BRUSH * min(piece.shape))
    dab = np.zeros(piece.shape, bool)
    dab[brush_voxels([int(i) for i in centre], size, (0, 1), piece.shape, (1, 1))] = True
    painted = np.zeros(wrong.shape, bool)
    painted[z] = dab & (slices[1][z] == c) & wrong[z]
    return painted.reshape(labels.shape), c


def methods(samples: Samples, label_map: np.ndarray) -> dict[str, Method]:
    """Return the methods for one case with its ``samples`` and the ``label_map`` before corrections."""
    probabilities = torch.stack([samples.probabilities(i, 0) for i in range(samples.n)])
    mean = most_probable(probabilities.mean(0)).numpy()
    classes, dims = probabilities.shape[1], mean.ndim
    conditioner = Conditioner(samples, samples.with_estimate(probabilities.mean(0), 0).numpy())

    def weighted(labels: np.ndarray, known: np.ndarray, local: bool) -> np.ndarray:
        scores = torch.zeros(len(probabilities), *mean.shape)
        for one in evidence_from_labels(labels, known, classes, dims).strokes:
            chosen = probabilities.flatten(2)[:, one.allowed[0], torch.from_numpy(one.voxels)]
            likelihood = chosen.clamp_min(SMALLEST).log().mean(1)
            away = np.ones(mean.shape, bool)
            away.ravel()[one.voxels] = False
            reach = REACH * min(mean.shape)
            near = falloff(ndimage.distance_transform_edt(away) / reach) if local else 1 / 3
            kernel = torch.as_tensor(near, dtype=torch.float32).expand(mean.shape)
            scores += torch.tensordot(likelihood, kernel, 0)
        after = most_probable((scores.softmax(0)[:, None] * probabilities).sum(0)).numpy()
        return np.where(after == mean, label_map, after)

    def conditioned(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
        evidence = evidence_from_labels(labels, known, classes, dims)
        return conditioner.condition(evidence, labels=np.where(known, labels, label_map)).labels

    return {
        "painting": lambda labels, known: label_map,
        "weights, global": lambda labels, known: weighted(labels, known, False),
        "weights, local": lambda labels, known: weighted(labels, known, True),
        "conditioning": conditioned,
    }


def curve(method: Method, expert: np.ndarray, classes: int) -> Iterator[float]:
    """Yield the DSC after each of ``STROKES``."""
    labels, known = np.zeros_like(expert), np.zeros(expert.shape, bool)
    for count in range(max(STROKES) + 1):
        shown = np.where(known, labels, method(labels, known))
        if count in STROKES:
            yield mean_dsc(shown, expert, classes)
        if (painted := stroke(shown, expert)) is not None:
            known |= painted[0]
            labels[painted[0]] = painted[1]


def measure(model: str, cases: list[Case], cache: Path | None) -> Iterator[dict]:
    """Yield after each case the DSC of each method on the cases of a model so far."""
    curves: dict[str, list[list[float]]] = {}
    cpu: dict[str, float] = {}
    for number, case in enumerate(cases, start=1):
        samples, label_map = draw(case, model, cache)
        expert = np.asarray(case.read_label()).astype(np.uint8)
        for name, method in methods(samples, label_map).items():
            started = time.process_time()
            classes = len(samples.metadata.classes)
            curves.setdefault(name, []).append(list(curve(method, expert, classes)))
            cpu[name] = cpu.get(name, 0.0) + time.process_time() - started
        patients = [case.patient for case in cases[:number]]
        painting = np.array(curves["painting"])
        result: dict = {"cases": [case.name for case in cases[:number]], "start": "label map"}
        result["methods"] = {}
        for name, values in curves.items():
            gains = [
                mean_by_patient(list(gain), patients) for gain in (np.array(values) - painting).T
            ]
            extra = (cpu[name] - cpu["painting"]) / number / max(STROKES)
            result["methods"][name] = {
                "dsc": np.mean(values, 0).round(4).tolist(),
                "gain": [[g.value, g.low, g.high] for g in gains],
                "CPU seconds per stroke": round(extra, 3),
            }
        yield result


def table(model: str, result: dict) -> str:
    """Return the results of a model as Markdown."""
    rows = []
    for name, one in result["methods"].items():
        value, low, high = (np.nan if v is None else v for v in one["gain"][-1])
        dsc = (f"{v:.3f}" for v in one["dsc"])
        rows.append([name, *dsc, f"{value:+.3f} ({low:+.3f} to {high:+.3f})"])
    heads = [f"{model}, {len(result['cases'])} cases", *map(str, STROKES), "gain over painting"]
    return machine.table(heads, rows)


def keep(model: str, result: dict) -> None:
    """Write the results of a model to the file of all."""
    kept = json.loads(DATA.read_text(encoding="utf-8")) if DATA.is_file() else {"models": {}}
    kept["settings"] = {
        "samples": SAMPLES,
        "strokes": STROKES,
        "brush radius": BRUSH,
        "split": "test cases, or validation cases of a model without; one per patient",
        "machine": machine.describe(),
    }
    kept["models"][model] = result
    with atomic_write(DATA, ".json") as temporary:
        temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")


def plot(results: dict) -> None:
    """Draw the curves of the methods that all models have."""
    common = set.intersection(*(set(result["methods"]) for result in results.values()))
    figure = Figure(figsize=(3.2 * len(results), 3), layout="constrained")
    for i, (model, result) in enumerate(results.items()):
        axes = figure.add_subplot(1, len(results), i + 1)
        for name, values in result["methods"].items():
            if name not in common:
                continue
            axes.plot(STROKES, values["dsc"], "o-", ms=3, label=name)
        axes.set_title(f"{model}, {len(result['cases'])} cases", fontsize=9)
        axes.set_xlabel("brush strokes")
        if i == 0:
            axes.set_ylabel("DSC")
            axes.legend(fontsize=7, frameon=False)
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    """Measure, print and keep the results of the models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--cases", type=int, default=12, help="per model")
    parser.add_argument("--first", type=int, default=0, help="index of the first held-out case")
    parser.add_argument("--cache", type=Path, help="folder for the samples' latents")
    parser.add_argument("--plot", action="store_true", help="only draw what was measured before")
    arguments = parser.parse_args()
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    for model in () if arguments.plot else arguments.models:
        held_out = forgetting.held_out(model)[arguments.first :][: arguments.cases]
        for result in measure(model, held_out, arguments.cache):
            keep(model, result)
        print(table(model, result), flush=True)
    if arguments.plot:
        plot(json.loads(DATA.read_text(encoding="utf-8"))["models"])


if __name__ == "__main__":
    main()
