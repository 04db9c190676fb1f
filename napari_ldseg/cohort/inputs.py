"""Which images a cohort consists of, and a name of its own for each. Knows no torch."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import LDSegError

KINDS = ("labels", "sample_sd", "predictive_sd")
SUFFIXES = (".nii.gz", ".nii", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


class Input(NamedTuple):
    """One image file and the name that its results carry."""

    name: str
    path: Path


def find_inputs(asked: Sequence[str | os.PathLike], output: Path) -> list[Input]:
    """Return the images that files, folders and patterns stand for, each once, in order.

    A folder stands for the images directly in it, a pattern (``scans/**/*.nii.gz``) for those it
    matches; hidden files and the results in ``output`` are left out. An image is called as its file is;
    where files of one name lie in different folders, as many of the folders' names go in front as tell
    them apart (``ward-a__scan``).

    Raises
    ------
    LDSegError
        If one of them does not exist, or there is no image at all.
    """
    # Links are not followed: a data manager's links have the names, their targets have hashes.
    results = [_absolute(output) / kind for kind in KINDS]
    paths: dict[Path, None] = {}
    for text in map(str, asked):
        for path in _expand(text):
            if _absolute(path).parent not in results:
                paths.setdefault(_absolute(path))
    if not paths:
        raise LDSegError(
            f"There are no images to segment; give files, folders or patterns of {', '.join(SUFFIXES)}."
        )
    return [Input(name, path) for name, path in zip(_names(list(paths)), paths, strict=True)]


def _expand(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        return [p for p in sorted(path.iterdir()) if _is_image(p)]
    if path.exists():
        return [path]
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True))
    images = [p for p in found if _is_image(p)]
    if not images:
        raise LDSegError(f"{text} is no file, no folder, and no pattern that matches an image.")
    return images


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES) and path.is_file()


def _names(paths: list[Path]) -> list[str]:
    """Return a different name for each path, also where case does not count."""
    stems = [_stem(path) for path in paths]
    twins = Counter((p.parent, stem.casefold()) for p, stem in zip(paths, stems, strict=True))
    parts = [
        (*p.parts[1:-1], p.name.replace(".", "_") if twins[p.parent, stem.casefold()] > 1 else stem)
        for p, stem in zip(paths, stems, strict=True)
    ]
    depths = [1] * len(paths)
    while True:
        names = ["__".join(p[-depth:]) for p, depth in zip(parts, depths, strict=True)]
        counts = Counter(name.casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if counts[name.casefold()] > 1]
        if not clashing:
            return names
        if all(depths[i] == len(parts[i]) for i in clashing):
            raise LDSegError(f"{names[clashing[0]]} would be the name of two images; rename one.")
        for i in clashing:
            depths[i] = min(depths[i] + 1, len(parts[i]))


def _stem(path: Path) -> str:
    ending = next((s for s in SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(ending)]
