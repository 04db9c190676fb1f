"""Put a trained checkpoint into the package: checked, at most once per release, with its model card.

bundle_checkpoint.py MODEL.safetensors: the one way into napari_ldseg/checkpoints. The file gets the model's name.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from check_commit import CHECKPOINTS, MAX_CHECKPOINT_BYTES, ROOT, already_changed
from model_cards import card

from napari_ldseg.checkpoint.file import load_checkpoint
from napari_ldseg.checkpoint.metadata import Metadata
from napari_ldseg.errors import LDSegError
from napari_ldseg.utils.atomic import atomic_write

UNSTATED = ("", "none", "not stated", "unknown")


def bundle(model: Path, repository: Path = ROOT) -> Path:
    """Copy the checkpoint ``model`` into the package of ``repository``, write its card, and return its new path.

    Raises
    ------
    LDSegError
        If the file is no valid checkpoint of less than 10 MB with metrics, licence and split, or the bundled
        one was already changed since the last release. Nothing is written then.
    """
    metadata = load_checkpoint(model).metadata
    check(model, metadata)
    name = f"{CHECKPOINTS}/{metadata.name}.safetensors"
    target = repository / name
    reason = already_changed(repository, name)
    if reason is not None:
        raise LDSegError(f"{target.name} {reason}")
    try:
        text = card(metadata)
    except KeyError as error:
        raise LDSegError(
            f"The card of {metadata.name} lacks {error}; add what the model is for and where it fails to "
            "scripts/model_cards.py."
        ) from error
    with atomic_write(target, ".part") as temporary:
        shutil.copyfile(model, temporary)
    with atomic_write(target.with_suffix(".md"), ".part") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def check(model: Path, metadata: Metadata) -> None:
    """Raise LDSegError if the checkpoint lacks what a bundled one must tell, or tells too much."""
    size = model.stat().st_size
    if size >= MAX_CHECKPOINT_BYTES:
        raise LDSegError(
            f"{model.name} has {size / 1e6:.1f} MB; a bundled checkpoint has less than "
            f"{MAX_CHECKPOINT_BYTES // 1_000_000} MB, so train narrower networks."
        )
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", metadata.name):
        raise LDSegError(
            f"{model.name} is named {metadata.name!r}; a bundled model's name has lower-case letters, digits "
            "and hyphens, so that it can be a file's name."
        )
    if not metadata.metrics:
        raise LDSegError(
            f"{model.name} has no metrics; train it with held-out cases, to measure it on."
        )
    for field in ("licence", "split"):
        stated = getattr(metadata.training, field)
        if stated.split(";")[0].strip(" .").lower() in UNSTATED:
            raise LDSegError(
                f"{model.name} does not state its {field}; give it in the training's configuration."
            )
    if metadata.training.cases:
        raise LDSegError(
            f"{model.name} lists the names of its {len(metadata.training.cases)} training cases, which may "
            "identify patients; bundle a model that was trained with `napari-ldseg train`."
        )


def main() -> int:
    """Bundle the checkpoint that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a checkpoint that `napari-ldseg train` wrote")
    try:
        target = bundle(parser.parse_args().model)
    except (LDSegError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{target} and its card are written. Check its row in LICENSES/README.md, run scripts/model_cards.py for "
        "the README's table, and commit all of it together."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
