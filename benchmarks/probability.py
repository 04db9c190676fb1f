"""Which class probabilities find the label map's errors: the samples' mean, the label map's estimate, or both.

python benchmarks/probability.py [MODELS ...] [--cases 60]

Validation cases of the bundled models (splits in ``models/splits``, data in LDSEG_DATA; LIDC_READERS, made by
scripts/lidc_readers.py with ``--centre 64``), N = 10 samples with the model's default steps. For each of the three:
the AUROC of the predictive SD as a detector of wrong voxels, and the calibration error, both within five voxels of the
label map's boundary. Writes docs/data/probability.json.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import machine
import numpy as np
from rivals import write_json
from rows import MODELS, validation_cases

from napari_ldseg import load_checkpoint, segment
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.datasets.case import consensus
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.uncertainty import (
    error_auroc,
    near_boundary,
    reliability,
    reliability_sums,
)
from napari_ldseg.inference.probability import predictive_sd_of

SAMPLES = 10


def measure(name: str, most: int) -> dict[str, Any]:
    """Return the AUROC and the calibration error of each kind of probability for one model."""
    cases, _ = validation_cases(name, most)
    checkpoint = load_checkpoint(find_checkpoint(name))
    aurocs: dict[str, list[float]] = {}
    sums: dict[str, list[np.ndarray]] = {}
    patients = []
    for case in cases.values():
        expert = consensus([np.asarray(read()).astype(np.uint8) for read in case.read_labels])
        posterior = segment(checkpoint, case.read_scan(), SAMPLES)
        estimate, band = posterior.estimate, near_boundary(posterior.labels)
        assert estimate is not None
        if not band.any():
            continue
        patients.append(case.patient)
        probabilities = {
            "samples": posterior.mean_probability,
            "estimate": estimate.float().numpy(),
            "both": posterior.probability,
        }
        wrong = (posterior.labels != expert)[band]
        for kind, p in probabilities.items():
            aurocs.setdefault(kind, []).append(error_auroc(predictive_sd_of(p)[band], wrong))
            sums.setdefault(kind, []).append(reliability_sums(p[:, band], expert[band]))
    result: dict[str, Any] = {"checkpoint_sha256": checkpoint.sha256, "cases": len(patients)}
    for kind, values in aurocs.items():
        auroc, error = (
            mean_by_patient(values, patients),
            reliability(np.stack(sums[kind]), patients),
        )
        assert error is not None
        result[kind] = {"AUROC": asdict(auroc), "ECE": asdict(error.error)}
    return result


def main() -> None:
    """Measure the models, print what was found and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["camus", "glas", "hippocampus", "lidc"]
    parser.add_argument("models", nargs="*", default=names)
    parser.add_argument("--cases", type=int, default=60)
    arguments = parser.parse_args()
    models = {}
    for name in arguments.models:
        models[name] = measure(name, arguments.cases)
        print(name, models[name], flush=True)
    content = {"machine": machine.describe(), "samples": SAMPLES, "models": models}
    write_json(MODELS.parent / "docs" / "data" / "probability.json", content)


if __name__ == "__main__":
    main()
