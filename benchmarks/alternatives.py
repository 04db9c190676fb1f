"""How near the distinct alternatives among the samples come to each of four readers, on lung nodules.

python benchmarks/alternatives.py [--cases 60] [--seed 0] [--output docs/data/alternatives.json]

The bundled model lidc on its test patients (split in ``models/splits``, crops in LDSEG_DATA/lidc, default
../shared/data): one random slice of each of some random patients, 16 samples with the model's
``posterior_steps``. The IoU and the Dice between each reader's mask, which may be empty, and

- label map: that of the mean of the first 10 samples, which the window shows by default;
- alternatives: the best of the k medoids of ``find_alternatives``, among all 16 samples;
- random samples: the best of k random ones of the 16, the exact mean over all choices;
- all samples: the best of the 16, which is the most that any choice among them can reach.

"Best" is the nearest to the reader: the choice of a reviewer who knows the answer, by the metric of the
column. Both metrics are 1 for two empty masks. Means over (slice, reader), intervals by patient.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import machine
import numpy as np

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.alternatives import find_alternatives
from napari_ldseg.evaluation.bootstrap import Estimate, mean_by_patient
from napari_ldseg.evaluation.machine import describe_machine
from napari_ldseg.evaluation.readers import READER_SAMPLES, pairwise_iou, sample_labels
from napari_ldseg.inference.sampler import PosteriorSampler
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.training.config import read_config

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from lidc_readers import convert

ROOT = Path(__file__).parents[1]
SPLIT, CENTRE, DEFAULT = "models/splits/lidc.json", 64, 10
CHOICES = ("label map", "alternatives", "random samples", "all samples")
GAINS = {
    "alternatives - label map": ("alternatives", "label map"),
    "alternatives - random samples": ("alternatives", "random samples"),
}
METRICS = "IoU", "Dice"


def best_of_random(values: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of the largest of ``k`` of the ``values`` (n, readers) over all choices of k."""
    n = len(values)
    rank = [math.comb(i, k - 1) / math.comb(n, k) for i in range(n)]  # of the largest being i-th
    return np.array(rank) @ np.sort(values, axis=0)


def measure(checkpoint: Checkpoint, case: Case) -> dict:
    """Return the number of alternatives of a case and, per metric, each choice's values by reader."""
    sampler = PosteriorSampler(checkpoint, case.read_scan(), device="cpu", keep_labels=True)
    for _ in sampler.run(DEFAULT):
        pass
    label_map = sampler.posterior.labels
    for _ in sampler.run(READER_SAMPLES - DEFAULT):
        pass
    samples = sample_labels(sampler.posterior)
    readers = [read() for read in case.read_labels]
    classes = checkpoint.metadata.architecture.classes
    found = find_alternatives(samples, classes)
    iou = pairwise_iou([label_map, *samples], readers, classes)
    result: dict = {"alternatives": len(found)}
    for metric, values in zip(METRICS, (iou, 2 * iou / (1 + iou)), strict=True):
        of_samples = values[1:]
        arrays = (
            values[0],
            of_samples[[one.medoid for one in found]].max(0),
            best_of_random(of_samples, len(found)),
            of_samples.max(0),
        )
        result[metric] = {
            name: [round(float(v), 4) for v in array]
            for name, array in zip(CHOICES, arrays, strict=True)
        }
    return result


def chosen_cases(cases: Sequence[Case], number: int, seed: int) -> list[Case]:
    """Return one random case of each of ``number`` random patients."""
    order = np.random.default_rng(seed).permutation(len(cases))
    by_patient: dict[str, Case] = {}
    for index in order:
        by_patient.setdefault(cases[index].patient, cases[index])
    return list(by_patient.values())[:number]


def summary(results: dict[str, dict], patients: Sequence[str]) -> dict:
    """Return the means of every metric and choice with their intervals, ready for JSON."""
    means: dict[str, dict] = {}
    for metric in METRICS:
        of = {name: [one[metric][name] for one in results.values()] for name in CHOICES}
        owners = [p for p, values in zip(patients, of[CHOICES[0]], strict=True) for _ in values]
        flat = {name: np.concatenate(values) for name, values in of.items()}
        flat |= {gain: flat[a] - flat[b] for gain, (a, b) in GAINS.items()}
        means[metric] = {
            name: as_json(mean_by_patient(values.tolist(), owners)) for name, values in flat.items()
        }
    return means


def as_json(estimate: Estimate | None) -> dict:
    """Return the mean and its interval, rounded."""
    assert estimate is not None
    values = {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
    return {key: None if value is None else round(value, 4) for key, value in values.items()}


def text(one: dict) -> str:
    """Return a mean and its interval for a table."""
    return f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def main() -> None:
    """Measure the cases, print the tables and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/data/alternatives.json")
    arguments = parser.parse_args()
    data = Path(os.environ.get("LDSEG_DATA", ROOT.parent / "shared" / "data"))
    checkpoint = load_checkpoint(find_checkpoint("lidc"))
    with tempfile.TemporaryDirectory() as folder:
        convert(data / "lidc" / "lidc.npz", Path(folder), CENTRE)
        os.environ["LIDC_READERS"] = folder
        config = read_config(ROOT / "models" / "lidc.yaml")
        cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
        held_out = read_split(ROOT / SPLIT).cases("test", cases)
        chosen = chosen_cases(held_out, arguments.cases, arguments.seed)
        results = {case.name: measure(checkpoint, case) for case in chosen}
    patients = [case.patient for case in chosen]
    several = {name: one for name, one in results.items() if one["alternatives"] > 1}
    owners = [p for p, name in zip(patients, results, strict=True) if name in several]
    parts = {"all": summary(results, patients)}
    if len(set(owners)) > 1:
        parts["with several alternatives"] = summary(several, owners)
    share = as_json(mean_by_patient([float(name in several) for name in results], patients))
    print(machine.describe(steps=checkpoint.metadata.posterior_steps))
    for part, means in parts.items():
        number = len(results if part == "all" else several)
        print(f"\n{part}: {number} slices")
        rows = [[name, *(text(means[m][name]) for m in METRICS)] for name in (*CHOICES, *GAINS)]
        print(machine.table(["best of", *METRICS], rows))
    print(f"\nshare of the slices with more than one alternative: {text(share)}")
    report = {
        "checkpoint_sha256": checkpoint.sha256,
        "data": f"LDSEG_DATA/lidc, central {CENTRE} x {CENTRE} pixels",
        "split": SPLIT,
        "part": "test",
        "available": len(held_out),
        "cases": len(results),
        "patients": len(set(patients)),
        "readers": len(config.data.labels),
        "seed": arguments.seed,
        "samples": READER_SAMPLES,
        "label_map_samples": DEFAULT,
        "steps": checkpoint.metadata.posterior_steps,
        "machine": describe_machine("cpu"),
        "share_with_several": share,
        "means": parts,
        "by_case": results,
    }
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
