"""Whether the fast preset for glands is as accurate as the paper's, with the same training.

python benchmarks/presets.py -o FOLDER

GlaS (LDSEG_DATA/glas) with the split of the bundled model at 256 x 256, both with 700 updates of 4, the
same seed, schedule, learning rate and augmentation; only the networks differ. DSC is that of one sample in
K steps on the test images.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import yaml
from rows import MODELS, changed, table, train_row

from napari_ldseg.model.presets import preset

UPDATES = 700
FIXED = ("dims", "image_channels", "classes")


def config(name: str) -> dict[str, Any]:
    """Return the bundled gland model's configuration with the networks of the preset ``name``."""
    settings = yaml.safe_load((MODELS / "glas.yaml").read_text())
    sizes = asdict(preset(name).architecture)
    settings["architecture"] = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in sizes.items()
        if key not in FIXED
    }
    split = str(MODELS / "splits" / "glas.json")
    training = {"training.updates": UPDATES, "training.validate_every": UPDATES}
    return changed(settings, {"data.split": split, **training})


def main() -> None:
    """Train both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: train_row(config(name), folder / name) for name in ("glas", "glas-fast")}
    print(machine.describe(updates=UPDATES))
    print(table(rows))


if __name__ == "__main__":
    main()
