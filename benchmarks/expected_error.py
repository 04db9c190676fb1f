"""Which score of a result ranks the errors best? Spearman's correlation with 1 - DSC.

python benchmarks/expected_error.py MODEL FOLDER [--split split.json --part test] [--samples N]

FOLDER has images/ and labels/ of held-out cases, or of all cases with a split file. DSC is the mean over
the classes; intervals are 95 % bootstrap intervals over cases.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from skimage.segmentation import find_boundaries

from napari_ldseg import load_checkpoint, segment
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.overlap import overlap
from napari_ldseg.inference.posterior import Posterior


def scores(posterior: Posterior) -> dict[str, float]:
    """Return every candidate score; a larger one means a larger error."""
    labels, sd, predictive = posterior.labels, posterior.sample_sd, posterior.predictive_sd
    p = posterior.probability
    structure = labels > 0
    boundary = find_boundaries(labels, connectivity=1, mode="thick")
    band = distance_transform_edt(~boundary) <= 5
    volumes = posterior.voxel_counts()[:, 1:]
    return {
        "1 - expected Dice (chosen)": posterior.expected_error(),
        "predictive SD over the structure": predictive[structure].mean(),
        "sample SD over the structure": sd[structure].mean(),
        "predictive SD near the boundary": predictive[band].mean(),
        "sample SD near the boundary": sd[band].mean(),
        "predictive SD over the image": predictive.mean(),
        "predictive variance, sum / structure": (predictive**2).sum() / structure.sum(),
        "expected errors / structure": (1 - p.max(0)).sum() / structure.sum(),
        "spread of the volumes, SD / mean": np.mean(volumes.std(0) / volumes.mean(0)),
        "small structure": -structure.sum(),
    }


def measure(model: str, cases: list[Case], samples: int) -> None:
    """Print the correlations for one model and its cases."""
    checkpoint = load_checkpoint(find_checkpoint(model))
    by_case, errors = [], []
    for case in cases:
        scan, expert = case.read()
        posterior = segment(checkpoint, scan, samples)
        by_case.append(scores(posterior))
        dsc = overlap(posterior.labels, expert, len(checkpoint.metadata.classes))[0]
        errors.append(1 - np.nanmean(dsc))
    error = np.array(errors)
    name = f"{checkpoint.metadata.name} ({(checkpoint.sha256 or '')[:8]})"
    print(f"{name}: {len(cases)} cases, {samples} samples, DSC {1 - error.mean():.3f}")
    draws = np.random.default_rng(0).integers(0, len(cases), (1000, len(cases)))
    for score in by_case[0]:
        values = np.array([case_scores[score] for case_scores in by_case])
        low, high = np.nanpercentile(
            [spearmanr(values[d], error[d])[0] for d in draws], (2.5, 97.5)
        )
        print(f"  {score:42} {spearmanr(values, error)[0]:5.2f}  ({low:.2f} to {high:.2f})")


def main() -> None:
    """Measure one model on one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--part", default="test")
    parser.add_argument("--samples", type=int, default=10)
    arguments = parser.parse_args()
    cases = find_cases(DataSettings(folder=arguments.folder))
    if arguments.split:
        cases = read_split(arguments.split).cases(arguments.part, cases)
    measure(arguments.model, cases, arguments.samples)


if __name__ == "__main__":
    main()
