"""Write a data set of phantoms for ``napari-ldseg train``: images, labels and the split.

python scripts/make_phantoms.py echo | mri FOLDER [--count N] [--validation N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phantoms import echo_phantom, mri_phantom

from napari_ldseg.datasets.split import Split
from napari_ldseg.scans.files import write_like
from napari_ldseg.scans.nifti import LABEL_INTENT
from napari_ldseg.scans.scan import Scan

MAKERS = {"echo": echo_phantom, "mri": mri_phantom}
FIRST_VALIDATION_SEED = 5000


def main() -> None:
    """Write phantoms of seeds 0, 1, ... for training and of 5000, 5001, ... for validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=MAKERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000, help="for training, at most 5000")
    parser.add_argument("--validation", type=int, default=40)
    arguments = parser.parse_args()
    parts = {
        "training": range(min(arguments.count, FIRST_VALIDATION_SEED)),
        "validation": range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + arguments.validation),
    }
    for seeds in parts.values():
        for seed in seeds:
            phantom = MAKERS[arguments.kind](seed)
            scan = Scan(phantom.image, phantom.affine)
            name = f"phantom{seed:05d}.nii.gz"
            write_like(arguments.folder / "images" / name, phantom.image, scan)
            write_like(arguments.folder / "labels" / name, phantom.label, scan, LABEL_INTENT)
    names = {part: tuple(f"phantom{s:05d}" for s in seeds) for part, seeds in parts.items()}
    (arguments.folder / "split.json").write_text(Split(**names).model_dump_json(indent=1))


if __name__ == "__main__":
    main()
