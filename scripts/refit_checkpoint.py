"""Measure bundled checkpoints anew for what is stored beside their weights, which stay.

refit_checkpoint.py domain [MODEL ...]: what the training images look like, and their size.
refit_checkpoint.py calibration [MODEL ...]: the calibration on the validation cases.

By default all bundled models (without the phantoms for the calibration). The data are found as their configurations
in models/ say (LDSEG_DATA, LIDC_READERS); of the phantoms as many as needed are made anew. Writes the cards, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from model_cards import ROOT, card
from phantoms import echo_phantom, mri_phantom

from napari_ldseg.checkpoint.bundled import bundled_checkpoints
from napari_ldseg.checkpoint.file import Checkpoint, load_checkpoint, save_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.commands.info import describe_calibration
from napari_ldseg.datasets.case import Case
from napari_ldseg.datasets.split import load_or_draw_split
from napari_ldseg.errors import LDSegError
from napari_ldseg.evaluation.calibration import measure_calibration
from napari_ldseg.inference.checks import training_size
from napari_ldseg.project.labelled_cases import find_labelled_cases
from napari_ldseg.scans.scan import Scan
from napari_ldseg.training.config import read_config
from napari_ldseg.training.domain import with_domain
from napari_ldseg.training.measure import SAMPLES, calibration_cases
from napari_ldseg.training.reporter import Reporter

PHANTOMS = {"echo-phantom": echo_phantom, "mri-phantom": mri_phantom}
PHANTOM_SEEDS = {"training": range(120), "validation": range(5000, 5020)}


def cases_of(name: str) -> dict[str, list[Case]]:
    """Return the cases of a bundled model by part of its split; of phantoms without labels.

    Raises
    ------
    LDSegError
        If its data are not there.
    """
    if name in PHANTOMS:
        return {
            part: [_phantom(name, seed) for seed in seeds] for part, seeds in PHANTOM_SEEDS.items()
        }
    config = read_config(ROOT / "models" / f"{name}.yaml")
    cases, _ = find_labelled_cases(config.data, [c.name for c in config.classes])
    assert config.data.split is not None
    split = load_or_draw_split(config.data, cases, config.data.split)
    return {part: split.cases(part, cases) for part in ("training", "validation", "test")}


def with_new_domain(checkpoint: Checkpoint) -> Checkpoint:
    """Return ``checkpoint`` with the domain and sizes of its training images. Raises LDSegError as ``cases_of``."""
    parts = cases_of(checkpoint.metadata.name)
    reporter = Reporter(None, stop=lambda: False)
    fitted = with_domain(checkpoint, parts["training"], parts["validation"], "cpu", reporter)
    return replace(fitted, metadata=_with_sizes(fitted.metadata, parts["training"]))


def with_new_calibration(checkpoint: Checkpoint) -> Checkpoint:
    """Return ``checkpoint`` calibrated on its validation cases. Raises LDSegError as ``cases_of``."""
    images = calibration_cases(cases_of(checkpoint.metadata.name)["validation"])
    calibration = measure_calibration(checkpoint, images, SAMPLES, device="cpu")
    metadata = checkpoint.metadata.model_copy(update={"calibration": calibration})
    return replace(checkpoint, metadata=metadata)


REFIT = {"domain": with_new_domain, "calibration": with_new_calibration}


def rewrite(path: Path, refit: Callable[[Checkpoint], Checkpoint]) -> Metadata:
    """Replace the checkpoint at ``path`` and its card by what ``refit`` makes of it; return the new metadata.

    Raises
    ------
    LDSegError
        If the data are not there, or the weights would not be the same afterwards.
    """
    before = load_checkpoint(path)
    written = refit(before)
    new = path.with_suffix(".new")
    try:
        save_checkpoint(written, new)
        after = load_checkpoint(new)
        if not _same_weights(before, after):
            raise LDSegError(f"{path.name} would not have the same weights; it was not changed.")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    path.with_suffix(".md").write_text(card(after.metadata), encoding="utf-8")
    return after.metadata


def _with_sizes(metadata: Metadata, training: Sequence[Case]) -> Metadata:
    """Return the metadata with the size of the training images, and what the configuration does with larger ones."""
    config = read_config(ROOT / "models" / f"{metadata.name}.yaml")
    fields = {
        "larger_images": config.larger_images,
        "training_size": training_size(metadata, (case.read_scan() for case in training)),
    }
    return Metadata.model_validate(metadata.model_dump() | fields)


def _phantom(name: str, seed: int) -> Case:
    def read() -> Scan:
        phantom = PHANTOMS[name](seed)
        return Scan(phantom.image, phantom.affine)

    return Case(f"phantom{seed:05d}", f"phantom{seed:05d}", read, (partial(_no_label, read),))


def _no_label(read: Any) -> Any:
    return 0 * read().array


def _same_weights(before: Checkpoint, after: Checkpoint) -> bool:
    old, new = before.model.state_dict(), after.model.state_dict()
    return old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)


def describe(metadata: Metadata, part: str) -> str:
    """Return one line on what was stored."""
    if part == "calibration":
        return describe_calibration(metadata.calibration)
    domain = metadata.domain
    assert domain is not None
    size = len(domain.model_dump_json()) / 1000
    return (
        f"{domain.images} training images, {len(domain.mean)} features, usual up to {domain.limit:g}, "
        f"{size:.0f} kB"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the models that the command line names."""
    bundled = bundled_checkpoints()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=REFIT)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    given = parser.parse_args(arguments)
    labelled = [name for name in bundled if name not in PHANTOMS]
    for name in given.models or (bundled if given.part == "domain" else labelled):
        try:
            if name not in bundled:
                raise LDSegError(f"no bundled model has this name; these do: {', '.join(bundled)}.")
            if given.part == "calibration" and name in PHANTOMS:
                raise LDSegError("its phantoms are made without labels here; train it anew.")
            metadata = rewrite(bundled[name], REFIT[given.part])
        except (LDSegError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {describe(metadata, given.part)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
