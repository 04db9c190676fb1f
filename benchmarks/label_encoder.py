"""What the label encoder brings at the sizes of GlaS: a training with it and one without, at 256 and 512 pixels.

python benchmarks/label_encoder.py -o FOLDER [--only NAME ...]

GlaS (LDSEG_DATA/glas) with the split of the bundled model, its networks and augmentation, from new weights. Without the
label encoder the latent is the label itself, one-hot, reduced to the latent's grid by the nearest neighbour. All rows see the same
number of pixels: UPDATES of 4 images at 256 pixels, of 1 at 512. DSC of one sample in K steps on the 17 test images.
Finished rows are kept in FOLDER and not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import machine
import yaml
from rows import MODELS, changed, table, train_row

UPDATES = 800
SIZES = {256: 4, 512: 1}  # pixels, and images in a batch
ENCODERS: dict[str, dict[str, Any]] = {
    "label encoder": {},
    "no label encoder": {
        "architecture.label_encoder": "nearest",
        "architecture.latent_channels": 2,
    },
}


def configuration(size: int, encoder: dict[str, Any]) -> dict[str, Any]:
    """Return the bundled model's configuration at ``size`` with another label encoder."""
    config = yaml.safe_load((MODELS / "glas.yaml").read_text())
    split = str(MODELS / config["data"]["split"])
    shift = config["training"]["augmentation"]["shift"] * size / 256
    return changed(
        config,
        {
            "data.split": split,
            "grid.size": [size, size],
            **encoder,
            "training.augmentation.shift": shift,
            "training.updates": UPDATES,
            "training.validate_every": UPDATES,
            "training.batch_size": SIZES[size],
        },
    )


def main() -> None:
    """Train the missing rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    names = {
        f"{size}, {title}": (size, value) for size in SIZES for title, value in ENCODERS.items()
    }
    parser.add_argument("--only", nargs="*", default=list(names), choices=list(names))
    arguments = parser.parse_args()
    rows = {
        name: train_row(
            configuration(*names[name]),
            arguments.output.resolve() / name.replace(", ", "-").replace(" ", "-"),
        )
        for name in arguments.only
    }
    print(machine.describe(updates=UPDATES))
    print(table(rows))


if __name__ == "__main__":
    main()
