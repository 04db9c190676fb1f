"""Every table of docs/accuracy.md: the bundled models and a Res-UNet of the same data on held-out cases.

python benchmarks/accuracy.py -o FOLDER [--only MODEL ...] [--keep]

Needs the data of the models' configurations in models/ (LDSEG_DATA; LIDC_READERS, made by scripts/lidc_readers.py
with ``--centre 64``). Trains each Res-UNet (benchmarks/baseline.py) into FOLDER/MODEL/res-unet and writes the
report of ``napari-ldseg evaluate`` into FOLDER/MODEL/report. ``--keep`` makes the reports those of the documentation.
What is in FOLDER already is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rows import MODELS

HERE = Path(__file__).parent
ROOT = HERE.parent


class Evaluation(NamedTuple):
    """What is evaluated of a model, and the updates of its Res-UNet, until whose validation DSC hardly rose."""

    baseline_updates: int
    parts: str = "overlap,steps,noise,uncertainty"
    options: tuple[str, ...] = ()


EVALUATIONS = {
    "glas": Evaluation(600),
    "hippocampus": Evaluation(500),
    "lidc": Evaluation(
        1500, "overlap,steps,noise,uncertainty,readers", ("--samples", "16")
    ),  # as the LIDC protocol
    "camus": Evaluation(1200, options=("--cases", "160")),
}


def main() -> None:
    """Evaluate the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(EVALUATIONS), choices=list(EVALUATIONS))
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.only:
        report = evaluate(name, arguments.output.resolve() / name)
        if arguments.keep:
            call(ROOT / "scripts" / "accuracy_tables.py", report)


def evaluate(name: str, folder: Path) -> Path:
    """Return the report of a model, made if it is not in ``folder`` yet."""
    evaluation, baseline = EVALUATIONS[name], folder / "res-unet"
    report = folder / "report" / "report.json"
    if report.is_file():
        return report
    call(HERE / "baseline.py", name, evaluation.baseline_updates, "-o", baseline)
    call(
        *("-m", "napari_ldseg", "evaluate", name, MODELS / f"{name}.yaml", "-o", report.parent),
        *("--baseline", baseline / "checkpoint.safetensors", "--parts", evaluation.parts),
        *evaluation.options,
    )
    return report


def call(*arguments: object) -> None:
    """Run a Python program."""
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
