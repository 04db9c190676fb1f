"""The loss of DSC by noise for structures of different sizes, from the report of an evaluation.

python benchmarks/noise_by_size.py REPORT_JSON CONFIG [--bounds 40 80 160]

The report must have the part ``noise`` (``napari-ldseg evaluate ... --parts noise``); CONFIG is the
training configuration with the data. DSC of one sample without noise and with the strongest noise, mean
over the cases with this many pixels or voxels in the expert's label; empty labels are omitted.
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
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
    sizes = {case.name: int((case.read_label() > 0).sum()) for case in cases}
    dsc: dict[tuple[str, float], dict[str, list[float]]] = {}
    for row in json.loads(arguments.report.read_text())["cases"]:
        for metric in row["figures"]:
            if metric["part"] == "noise" and metric["metric"] == "DSC":
                key = metric["model"], metric["noise"]
                dsc.setdefault(key, {}).setdefault(row["case"], []).append(metric["value"])
    strongest = max(noise for _, noise in dsc)
    models = list(dict.fromkeys(model for model, _ in dsc))
    print("| voxels | cases |", *(f"{m}, SD 0 | SD {strongest} | lost |" for m in models))
    print("|---|---|" + "---|---|---|" * len(models))
    for low, high in pairwise([1, *arguments.bounds, np.inf]):
        names = [name for name in dsc[models[0], 0] if low <= sizes[name] < high]
        size = f"{low} to {high - 1}" if high < np.inf else f"{low} and more"
        text = f"| {size} | {len(names)} |"
        for model in models:
            clean, noisy = (
                np.nanmean([np.nanmean(dsc[model, sd][name]) for name in names])
                for sd in (0, strongest)
            )
            text += f" {clean:.3f} | {noisy:.3f} | {1 - noisy / clean:.0%} |"
        print(text)


if __name__ == "__main__":
    main()
