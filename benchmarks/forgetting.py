"""What fine-tuning on ten corrected cases of a shifted kind gains there and loses elsewhere.

python benchmarks/forgetting.py CAMUS_FOLDER [--set NAME=VALUE ...]

The bundled camus model, patients of its test split alone. Ten frames of ten patients are shifted (gamma,
speckle, blur) and learnt from; the same shift on frames of thirty other patients, and unshifted frames of
forty others, tell what was gained and what was forgotten. DSC is the mean of the three structures.
Every row is a share of the way from the old weights to the learnt ones; the plugin takes the marked one.
``--set`` changes a training setting (``--set learning_rate=3.0e-4``), to compare.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import torch
import yaml
from scipy.ndimage import gaussian_filter

from napari_ldseg import load_checkpoint
from napari_ldseg.checkpoint.bundled import find_checkpoint
from napari_ldseg.checkpoint.file import Checkpoint, build_model
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.folders import find_cases
from napari_ldseg.datasets.settings import DataSettings
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.overlap import evaluate
from napari_ldseg.finetuning.plan import settings_for
from napari_ldseg.inference.scan import Scan
from napari_ldseg.training.loop import train

SPLIT = Path(__file__).parents[1] / "models" / "splits" / "camus.json"
LEARNT, SHIFTED, ORIGINAL = 10, 30, 40
GAMMA, SPECKLE, BLUR = 0.4, 0.6, 1.5
SHARES = (0.2, 0.3, 0.5, 1.0)


def shifted(scan: Scan, seed: int) -> Scan:
    """Return ``scan`` with a steeper contrast, blurred, and with multiplicative speckle."""
    array = np.asarray(scan.array, np.float32)
    low, high = array.min(), array.max()
    unit = ((array - low) / max(high - low, 1)) ** GAMMA
    unit = gaussian_filter(unit, BLUR)
    grain = gaussian_filter(np.random.default_rng(seed).standard_normal(unit.shape), 1.0)
    unit = np.clip(unit * (1 + SPECKLE * grain / grain.std()), 0, 1)
    return replace(scan, array=(255 * unit).astype(np.uint8))


def shifted_case(case: Case, seed: int) -> Case:
    """Return ``case`` with its image shifted."""
    return replace(case, read_scan=lambda: shifted(case.read_scan(), seed))


def one_per_patient(cases: list[Case]) -> list[Case]:
    """Return a frame of each patient, always the same."""
    rng = np.random.default_rng(0)
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(case.patient, []).append(case)
    return [frames[rng.integers(len(frames))] for frames in patients.values()]


def dsc(checkpoint: Checkpoint, cases: list[Case]) -> np.ndarray:
    """Return the mean DSC per case, with the label map's own settings."""
    return np.nanmean(evaluate(checkpoint, cases, 1, checkpoint.metadata.label_steps)[:, 0], axis=1)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pace", default="quick", choices=["quick", "thorough"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    told = parser.parse_args()
    base = load_checkpoint(find_checkpoint("camus"))
    found = find_cases(DataSettings(folder=told.folder, patient=r"(patient\d+)"))
    cases = one_per_patient(read_split(SPLIT).cases("test", found))
    learnt = [shifted_case(case, i) for i, case in enumerate(cases[:LEARNT])]
    aside = [shifted_case(c, 100 + i) for i, c in enumerate(cases[LEARNT : LEARNT + SHIFTED])]
    original = cases[LEARNT + SHIFTED : LEARNT + SHIFTED + ORIGINAL]
    changes = {k: yaml.safe_load(v) for k, v in (pair.split("=", 1) for pair in told.set)}
    settings = settings_for(told.pace, base.metadata, base.metadata).model_copy(update=changes)
    old = [dsc(base, part) for part in (aside, original)]
    began = time.monotonic()
    learnt_weights = train(
        base.metadata, learnt, [], settings.model_copy(update={"blend": 1.0}), start=base
    )
    seconds = time.monotonic() - began
    print(machine.describe())
    print(f"shift: gamma {GAMMA}, speckle {SPECKLE}, blur {BLUR} pixels; {told.pace}, {changes}")
    print(
        f"{settings.updates} updates in {seconds:.0f} s; mean DSC before and after, 95 % interval"
    )
    for share in sorted({*SHARES, settings.blend}):
        tuned = blended(base, learnt_weights, share)
        shown = f"{share:.2f}{'*' if share == settings.blend else ' '}"
        for name, part, before in zip(("shifted", "original"), (aside, original), old, strict=True):
            after = dsc(tuned, part)
            gain = mean_by_patient(list(after - before), [case.patient for case in part])
            assert gain is not None and gain.low is not None and gain.high is not None
            shown += (
                f"  {name} {before.mean():.3f} -> {after.mean():.3f}, {gain.value:+.3f} "
                f"({gain.low:+.3f} to {gain.high:+.3f})"
            )
        print(shown, flush=True)


def blended(base: Checkpoint, learnt: Checkpoint, share: float) -> Checkpoint:
    """Return the model ``share`` of the way from ``base`` to ``learnt``."""
    model = build_model(base.metadata)
    old, new = base.model.state_dict(), learnt.model.state_dict()
    model.load_state_dict({name: torch.lerp(old[name], new[name], share) for name in old})
    return Checkpoint(base.metadata, model.eval())


if __name__ == "__main__":
    main()
