"""What noise costs by the size of the structure, from the report of an evaluation.

python benchmarks/noise_by_size.py REPORT_JSON CONFIG [--bounds 40 80 160]

The report holds the part ``noise`` (``napari-ldseg evaluate ... --parts noise``); CONFIG says where its cases are.
DSC of one sample without noise and at the strongest, mean over the cases in which the expert outlined
so many pixels or voxels; those without a structure are left out.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.training.config import read_config


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("--bounds", nargs="*", type=int, default=[40, 80, 160])
    told = parser.parse_args()
    config = read_config(told.config)
    cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
    sizes = {case.name: int((case.read_label() > 0).sum()) for case in cases}
    dsc: dict[tuple[str, float], dict[str, list[float]]] = {}
    for row in json.loads(told.report.read_text())["cases"]:
        for figure in row["figures"]:
            if figure["part"] == "noise" and figure["metric"] == "DSC":
                key = figure["model"], figure["noise"]
                dsc.setdefault(key, {}).setdefault(row["case"], []).append(figure["value"])
    strongest = max(noise for _, noise in dsc)
    models = list(dict.fromkeys(model for model, _ in dsc))
    print("| voxels | cases |", *(f"{m}, SD 0 | SD {strongest} | lost |" for m in models))
    print("|---|---|" + "---|---|---|" * len(models))
    for low, high in pairwise([1, *told.bounds, np.inf]):
        chosen = [name for name in dsc[models[0], 0] if low <= sizes[name] < high]
        size = f"{low} to {high - 1}" if high < np.inf else f"{low} and more"
        text = f"| {size} | {len(chosen)} |"
        for model in models:
            clean, noisy = (
                np.nanmean([np.nanmean(dsc[model, sd][name]) for name in chosen])
                for sd in (0, strongest)
            )
            text += f" {clean:.3f} | {noisy:.3f} | {1 - noisy / clean:.0%} |"
        print(text)


if __name__ == "__main__":
    main()
