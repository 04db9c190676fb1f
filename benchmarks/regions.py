"""The share of wrong voxels in the first uncertain regions and in random places of the same size.

python benchmarks/regions.py [MODELS ...] [--cases 20] [--cache FOLDER] [--output docs/data/regions.json]

Validation cases of the bundled models (splits in ``models/splits``, data in LDSEG_DATA, default
../shared/data), N = 10 samples with the model's default steps. A voxel is wrong if the label map differs
from the expert. Sets of places:

- regions: the first five of ``uncertain_regions``;
- boundary: around five random voxels of the label map's boundary, the nearest voxels within two voxels
  of the boundary, as many as in the regions: what a reviewer of the contour finds without the model;
- band: around the same five voxels, the nearest uncertain voxels, as many as in the regions;
- views: all uncertain voxels within the radius of a region around the same five voxels: as many looks
  of the same size, without the ranking.

The random ones are the mean of 20 draws. With a cache folder, a case is sampled once.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import machine
import numpy as np
from rows import validation_cases
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from napari_ldseg import load_checkpoint, segment
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.datasets.case import Case
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.machine import describe_machine
from napari_ldseg.review.regions import (
    UNCERTAIN,
    expected_error_left,
    piece_radius,
    uncertain_regions,
)

ROOT = Path(__file__).parents[1]
SPLITS = "models/splits/{}.json"
FIRST, SAMPLES, DRAWS, NEAR = 5, 10, 20, 2
SHARES = ("regions", "boundary", "band", "views")


def result_of(checkpoint: Checkpoint, case: Case, cache: Path | None) -> dict[str, np.ndarray]:
    """Return a case's error probability, label map, runner-up, expert label and spacing."""
    path = cache / f"{checkpoint.metadata.name}_{case.name}.npz" if cache else None
    if path and path.is_file():
        with np.load(path) as stored:
            return dict(stored)
    scan, expert = case.read()
    posterior = segment(checkpoint, scan, SAMPLES)
    spacing = scan.spacing[-scan.space :] if scan.calibrated else (1.0,) * scan.space
    arrays = {
        "error": posterior.error_probability,
        "labels": posterior.labels,
        "runner_up": posterior.runner_up,
        "expert": expert,
        "spacing": np.array(spacing),
    }
    if path:
        np.savez_compressed(path, **arrays)
    return arrays


def random_share(
    wrong: np.ndarray, voxels: np.ndarray, centres: np.ndarray, sizes: Sequence[int]
) -> float:
    """Return the share of ``wrong`` in the ``sizes`` of ``voxels`` nearest to each centre, none of them twice."""
    hits, free = 0, voxels
    for centre, size in zip(centres, sizes, strict=True):
        distance = ((free - centre) ** 2).sum(1)
        order = np.argpartition(distance, min(size, len(free) - 1)) if len(free) else []
        hits += int(wrong[tuple(free[order[:size]].T)].sum())
        free = free[order[size:]]
    return hits / int(wrong.sum())


def view_share(
    wrong: np.ndarray,
    voxels: np.ndarray,
    centres: np.ndarray,
    spacing: Sequence[float],
    radius: float,
) -> float:
    """Return the share of ``wrong`` in those of ``voxels`` within ``radius`` of any centre."""
    squared = [(((voxels - centre) * spacing) ** 2).sum(1) for centre in centres]
    seen = voxels[np.min(squared, axis=0) <= radius**2]
    return int(wrong[tuple(seen.T)].sum()) / int(wrong.sum())


def measure(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """Return the shares of the wrong voxels of one case, and what the regions are like."""
    error, labels = arrays["error"], arrays["labels"]
    wrong = labels != arrays["expert"]
    spacing = [float(s) for s in arrays["spacing"]]
    regions = uncertain_regions(error, labels, arrays["runner_up"], spacing)
    first = regions[:FIRST]
    sizes = [int(region.mask.sum()) for region in first]
    boundary = find_boundaries(labels, connectivity=1, mode="thick")
    near = np.argwhere(distance_transform_edt(~boundary) <= NEAR)
    band, contour = np.argwhere(error >= UNCERTAIN), np.argwhere(boundary)
    radius, draws = piece_radius(labels, spacing), []
    for _ in range(DRAWS):
        centres = contour[rng.integers(len(contour), size=len(first))]
        shares = [random_share(wrong, voxels, centres, sizes) for voxels in (near, band)]
        draws.append([*shares, view_share(wrong, band, centres, spacing, radius)])
    hits = sum(int((wrong[region.box] & region.mask).sum()) for region in first)
    expected = sum(region.expected for region in first) / np.prod(spacing)
    return {
        "regions": hits / int(wrong.sum()),
        **dict(zip(SHARES[1:], np.mean(draws, axis=0).tolist(), strict=True)),
        "expected": expected / expected_error_left(error),
        "image": sum(sizes) / labels.size,
        "number": len(regions),
    }


def measure_model(name: str, most: int, cache: Path | None) -> dict:
    """Return the results of the validation cases of one model, ready for JSON."""
    cases, available = validation_cases(name, most)
    checkpoint = load_checkpoint(find_checkpoint(name))
    by_case, patients = {}, []
    for index, case in cases.items():
        arrays = result_of(checkpoint, case, cache)
        if (arrays["labels"] != arrays["expert"]).any():
            by_case[case.name] = measure(arrays, np.random.default_rng(index))
            patients.append(case.patient)
    measured = list(by_case.values())
    columns = {key: [one[key] for one in measured] for key in measured[0]}
    columns |= {
        f"regions - {other}": [one["regions"] - one[other] for one in measured]
        for other in SHARES[1:]
    }
    means = {}
    for key, values in columns.items():
        estimate = mean_by_patient(values, patients)
        means[key] = {"mean": round(estimate.value, 4)}
        if estimate.low is not None:
            means[key] |= {"low": round(estimate.low, 4), "high": round(estimate.high, 4)}
    return {
        "checkpoint_sha256": checkpoint.sha256,
        "data": f"LDSEG_DATA/{name}",
        "split": SPLITS.format(name),
        "part": "validation",
        "available": available,
        "cases": len(measured),
        "patients": len(set(patients)),
        "samples": SAMPLES,
        "steps": checkpoint.metadata.posterior_steps,
        "means": means,
        "by_case": {
            case: {key: round(value, 4) for key, value in one.items()}
            for case, one in by_case.items()
        },
    }


def main() -> None:
    """Measure the models, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["hippocampus", "camus", "glas"])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "data" / "regions.json")
    arguments = parser.parse_args()
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LDSEG_DATA", str(ROOT.parent / "shared" / "data"))
    models = {
        name: measure_model(name, arguments.cases, arguments.cache) for name in arguments.models
    }
    heads = ["model", "cases", *SHARES, *(f"regions - {other}" for other in SHARES[1:])]
    heads += ["expected share", "share of the image", "regions per case"]
    rows = []
    for name, result in models.items():
        means = result["means"]
        rows.append([name, result["cases"], *(f"{means[key]['mean']:.3f}" for key in SHARES)])
        for other in SHARES[1:]:
            one = means[f"regions - {other}"]
            rows[-1].append(f"{one['mean']:.3f} ({one.get('low')} to {one.get('high')})")
        rows[-1] += [f"{means[key]['mean']:.3f}" for key in ("expected", "image")]
        rows[-1].append(f"{means['number']['mean']:.0f}")
    print(machine.describe())
    print(machine.table(heads, rows))
    report = {"first": FIRST, "draws": DRAWS, "machine": describe_machine("cpu"), "models": models}
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
