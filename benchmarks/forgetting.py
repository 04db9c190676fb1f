"""How much fine-tuning on ten corrected images with another contrast gains on such images and forgets.

python benchmarks/forgetting.py MODEL [--gamma 0.4] [--speckle 0.6] [--blur 1.5] [--set NAME=VALUE ...]

A bundled model and the data of its ``models/MODEL.yaml``, with held-out patients only: its test cases, or
the validation cases if there are none. Up to ten cases of as many patients are shifted (gamma, speckle,
blur) and trained on; the same shift of up to thirty other patients measures the gain, and up to forty
other patients without a shift measure what is forgotten. DSC is the mean of the classes. Every row is an
interpolation between the old weights (0) and the fine-tuned ones (1); the plugin uses the marked one.
``--set`` changes a training setting (``--set learning_rate=3.0e-4``).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
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
from napari_ldseg.datasets.split import read_split
from napari_ldseg.evaluation.bootstrap import mean_by_patient
from napari_ldseg.evaluation.overlap import evaluate
from napari_ldseg.finetuning.plan import settings_for
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.config import read_config
from napari_ldseg.training.loop import train

MODELS = Path(__file__).parents[1] / "models"
TRAINED, SHIFTED, ORIGINAL = 10, 30, 40
SHARES = (0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True)
class Shift:
    """A domain shift: a gamma, a blur in pixels, and multiplicative speckle of this SD."""

    gamma: float = 0.4
    speckle: float = 0.6
    blur: float = 1.5

    def of(self, scan: Scan, seed: int) -> Scan:
        """Return ``scan`` with this shift, 0..255, without a blur across channels."""
        array = np.asarray(scan.array, np.float32)
        low, high = array.min(), array.max()
        unit = ((array - low) / max(high - low, 1)) ** self.gamma
        spread = [1.0] * (array.ndim - scan.channels) + [0.0] * scan.channels
        unit = gaussian_filter(unit, [self.blur * s for s in spread])
        grain = np.random.default_rng(seed).standard_normal(unit.shape)
        grain = gaussian_filter(grain, spread)
        unit = np.clip(unit * (1 + self.speckle * grain / grain.std()), 0, 1)
        return replace(scan, array=(255 * unit).astype(np.uint8))

    def of_case(self, case: Case, seed: int) -> Case:
        """Return ``case`` with its image shifted."""
        return replace(case, read_scan=lambda: self.of(case.read_scan(), seed))


def held_out(model: str) -> list[Case]:
    """Return one case of each patient held out from the training of the bundled ``model``."""
    config = read_config(MODELS / f"{model}.yaml")
    cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
    split = read_split(config.data.split)
    return one_per_patient(split.cases("test" if split.test else "validation", cases))


def one_per_patient(cases: list[Case]) -> list[Case]:
    """Return one case of each patient, drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    patients: dict[str, list[Case]] = {}
    for case in cases:
        patients.setdefault(case.patient, []).append(case)
    return [frames[rng.integers(len(frames))] for frames in patients.values()]


def dsc(checkpoint: Checkpoint, cases: list[Case]) -> np.ndarray:
    """Return the mean DSC per case of one sample with the label steps."""
    return np.nanmean(evaluate(checkpoint, cases, 1, checkpoint.metadata.label_steps)[:, 0], axis=1)


def main() -> None:
    """Fine-tune and print the DSC before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    for name, value in asdict(Shift()).items():
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--pace", default="quick", choices=["quick", "thorough"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    base = load_checkpoint(find_checkpoint(arguments.model))
    shift = Shift(arguments.gamma, arguments.speckle, arguments.blur)
    cases = held_out(arguments.model)
    first = min(TRAINED, len(cases) // 5)
    second = first + min(SHIFTED, (len(cases) - first) // 2)
    training = [shift.of_case(case, i) for i, case in enumerate(cases[:first])]
    shifted = [shift.of_case(case, 100 + i) for i, case in enumerate(cases[first:second])]
    original = cases[second : second + ORIGINAL]
    changes = {k: yaml.safe_load(v) for k, v in (pair.split("=", 1) for pair in arguments.set)}
    settings = settings_for(arguments.pace, base.metadata, base.metadata).model_copy(update=changes)
    old = [dsc(base, part) for part in (shifted, original)]
    started = time.monotonic()
    trained = train(
        base.metadata, training, [], settings.model_copy(update={"blend": 1.0}), start=base
    )
    seconds = time.monotonic() - started
    print(machine.describe())
    print(f"{arguments.model}, {shift}, {arguments.pace}, {changes}")
    print(f"cases: {len(training)} trained on, {len(shifted)} shifted, {len(original)} original")
    print(
        f"{settings.updates} updates in {seconds:.0f} s; mean DSC before and after, 95 % interval"
    )
    for share in sorted({*SHARES, settings.blend}):
        tuned = blended(base, trained, share)
        row = f"{share:.2f}{'*' if share == settings.blend else ' '}"
        for name, part, before in zip(
            ("shifted", "original"), (shifted, original), old, strict=True
        ):
            after = dsc(tuned, part)
            gain = mean_by_patient(list(after - before), [case.patient for case in part])
            assert gain is not None and gain.low is not None and gain.high is not None
            row += (
                f"  {name} {before.mean():.3f} -> {after.mean():.3f}, {gain.value:+.3f} "
                f"({gain.low:+.3f} to {gain.high:+.3f})"
            )
        print(row, flush=True)


def blended(base: Checkpoint, trained: Checkpoint, share: float) -> Checkpoint:
    """Return the interpolation of the weights: ``base`` for 0, ``trained`` for 1."""
    model = build_model(base.metadata)
    old, new = base.model.state_dict(), trained.model.state_dict()
    model.load_state_dict({name: torch.lerp(old[name], new[name], share) for name in old})
    return Checkpoint(base.metadata, model.eval())


if __name__ == "__main__":
    main()
