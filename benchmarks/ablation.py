"""What improves accuracy: the same training many times, each time with one setting changed.

python benchmarks/ablation.py -o FOLDER [--only NAME ...]

CAMUS (LDSEG_DATA/camus) with the split of the bundled model and its first 25 test patients, at 64 x 64,
with small networks (latent 8 x smaller) and 1200 updates of 8: small enough that every row takes some
minutes on one core. The first row is trained with three seeds, to show how much of a difference is
random; no row shows the accuracy of a long training. DSC is the mean of the three structures of one
sample in K steps. Finished rows are kept in FOLDER and not trained again; two processes with different
rows may use one folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import machine
import yaml
from rows import MODELS, changed, table, train_row

from napari_ldseg.datasets.split import read_split

TEST_CASES = 100
UPDATES = 1200

# The changes of each row against the first one, as dotted names of the configuration.
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "second seed": {"training.seed": 1},
    "third seed": {"training.seed": 2},
    "no label encoder": {"architecture.label_encoder": "nearest"},
    "no image encoder": {
        "architecture.image_encoder": "nearest",
        "architecture.embedding_channels": 1,
    },
    "neither encoder": {
        "architecture.label_encoder": "nearest",
        "architecture.image_encoder": "nearest",
        "architecture.embedding_channels": 1,
    },
    "1 embedding channel": {"architecture.embedding_channels": 1},
    "4 embedding channels": {"architecture.embedding_channels": 4},
    "1 latent channel": {"architecture.latent_channels": 1},
    "2 down-samplings": {
        "architecture.label_widths": [8, 16, 32],
        "architecture.image_widths": [8, 24, 48],
    },
    "image encoder half as wide": {"architecture.image_widths": [4, 8, 16, 24]},
    "image encoder twice as wide": {"architecture.image_widths": [16, 32, 64, 96]},
    "cosine schedule": {"schedule": "cosine"},
    "plain difference": {"parametrisation": "plain-difference"},
    "no augmentation": {
        f"training.augmentation.{name}": 0
        for name in ("rotation", "scale", "shift", "contrast", "noise", "blur")
    },
    "no EMA": {"training.ema_decay": 0.0},
    "no Dice (gamma 0)": {"training.gamma": 0.0},
    "no noise loss (lambda 0)": {"training.lambda_": 0.0},
    "Res-UNet": {"networks": "res-unet"},
}


def base(split: Path) -> dict[str, Any]:
    """Return the first row's configuration: the bundled model's with small networks and fewer updates."""
    config = yaml.safe_load((MODELS / "camus.yaml").read_text())
    config["grid"] = {"size": [64, 64]}
    config["architecture"] = {
        "label_widths": [8, 16, 24, 32],
        "image_widths": [8, 16, 32, 48],
        "denoiser_widths": [32, 64],
        "denoiser_attention": [1],
        "latent_channels": 4,
        "embedding_channels": 16,
        "image_attention": False,
    }
    config["data"]["split"] = str(split)
    config["training"] |= {"updates": UPDATES, "validate_every": UPDATES, "workers": 0}
    config["training"]["learning_rate"] = 2e-3
    config["training"]["augmentation"]["shift"] = 3.0
    return config


def smaller_split(folder: Path) -> Path:
    """Write the bundled model's split with fewer test cases, and return its file."""
    full = read_split(MODELS / "splits" / "camus.json")
    split = full.model_copy(update={"test": full.test[:TEST_CASES]})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "split.json"
    path.write_text(split.model_dump_json())
    return path


def main() -> None:
    """Train the missing rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    config = base(smaller_split(folder))
    rows = {
        n: train_row(changed(config, VARIANTS[n]), folder / n.replace(" ", "-"))
        for n in arguments.only
    }
    print(machine.describe(updates=UPDATES))
    print(table(rows))


if __name__ == "__main__":
    main()
