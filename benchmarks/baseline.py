"""A Res-UNet trained like a bundled model, for ``napari-ldseg evaluate --baseline``.

python benchmarks/baseline.py MODEL UPDATES -o FOLDER

MODEL is a name in models/; data, split, grid, batch, learning rate and augmentation are the model's. The
widths are the same for every model, so that a small LDSeg is not compared with a small baseline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import machine
import yaml
from rows import MODELS, changed, table, train_row

WIDTHS = [16, 32, 64, 128]


def main() -> None:
    """Train it and print its metrics."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("updates", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    config = yaml.safe_load((MODELS / f"{arguments.model}.yaml").read_text())
    changes = {
        "name": f"Res-UNet {arguments.model}",
        "networks": "res-unet",
        "architecture": {"image_widths": WIDTHS},
        "data.split": str((MODELS / config["data"]["split"]).resolve()),
        "training.updates": arguments.updates,
        "training.validate_every": arguments.updates,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    row = train_row(changed(config, changes), arguments.output)
    print(machine.describe(updates=arguments.updates))
    print(table({changes["name"]: row}))


if __name__ == "__main__":
    main()
