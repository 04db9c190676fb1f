"""Which images a cohort consists of, and a name of its own for each. Knows no torch."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import LDSegError

KINDS = ("labels", "sample_sd", "predictive_sd")
SUFFIXES = (".nii.gz", ".nii", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


class Input(NamedTuple):
    """One image file and the name that its results carry."""

    name: str
    path: Path


def find_images(
    asked: Sequence[str | os.PathLike], output: Path, say: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Return the images that files, folders and patterns stand for, each once, in order.

    A folder stands for the images directly in it, and ``say`` takes a line about those in its
    sub-folders; a pattern (``scans/**/*.nii.gz``) stands for those it matches. Hidden files and the results
    in ``output`` are left out.

    Raises
    ------
    LDSegError
        If one of them does not exist, cannot be read or is no image, or there is no image at all.
    """
    results = {os.path.realpath(output / kind) for kind in KINDS}
    paths: dict[tuple[str, str], Path] = {}
    below: dict[str, list[tuple[str, str]]] = {}
    for text in map(str, asked):
        try:
            for path in _expand(text):
                # Folders can be reached in many ways. Links to files are not followed: those of a data
                # manager have the names, their targets have hashes.
                folder = os.path.realpath(path.parent)
                if folder not in results:
                    paths.setdefault((folder, path.name), Path(os.path.abspath(path)))
            below[text] = _below(Path(text).expanduser(), results)
        except OSError as error:
            raise LDSegError(
                f"{text} cannot be read: {error.strerror or error}; give images that you may read."
            ) from error
    for path in paths.values():
        if not _is_text(path):
            shown = os.fsencode(path).decode("utf-8", "replace")
            raise LDSegError(f"The name of {shown} is not in UTF-8; rename it, with plain letters.")
    left_out = []
    for text, files in below.items():
        if count := len(set(files) - set(paths)):
            pattern = Path(glob.escape(text)) / "**" / "*"
            images = "1 image" if count == 1 else f"{count} images"
            left_out.append(f"{images} in sub-folders of {text}: give the pattern '{pattern}'")
    if not paths and left_out:
        raise LDSegError(f"There are no images to segment but {'; '.join(left_out)}.")
    if not paths:
        raise LDSegError(
            f"There are no images to segment; give files, folders or patterns of {', '.join(SUFFIXES)}."
        )
    for line in left_out:
        say(f"Left out: {line} to take them too.")
    return list(paths.values())


def name_images(paths: Sequence[Path], known: Mapping[str, str]) -> list[Input]:
    """Return ``paths`` with their names: those that have one in ``known`` (path to name) keep it.

    The others are called as their files are; where files of one name lie in different folders, as many
    of the folders' names go in front as tell them apart (``ward-a__scan``).

    Raises
    ------
    LDSegError
        If two images would have the same name.
    """
    names = _names(list(paths), [known.get(str(path)) for path in paths])
    return [Input(name, path) for name, path in zip(names, paths, strict=True)]


def _expand(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        return [p for p in sorted(path.iterdir()) if _is_image(p)]
    if path.exists():
        if not path.name.lower().endswith(SUFFIXES):
            raise LDSegError(
                f"{text} is no image that can be segmented; give {', '.join(SUFFIXES)}, and of a DICOM "
                "series one NIfTI file, as dcm2niix makes it."
            )
        return [path]
    # The shortest way to a file comes first.
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda p: (len(p.parts), p))
    images = [p for p in found if _is_image(p)]
    if not images:
        raise LDSegError(f"{text} is no file, no folder, and no pattern that matches an image.")
    return images


def _below(top: Path, results: set[str]) -> list[tuple[str, str]]:
    """Return folder and name of each image in sub-folders of ``top``; none where it is no folder."""
    found, seen = [], set(results)
    for folder, below, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        if folder != str(top):
            found += [(real, name) for name in names if _is_image(Path(folder, name))]
    return found


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES) and path.is_file()


def _names(paths: list[Path], fixed: list[str | None]) -> list[str]:
    """Return a different name for each path, also where case does not count; some are ``fixed``."""
    stems = [_stem(path) for path in paths]
    twins = Counter((p.parent, stem.casefold()) for p, stem in zip(paths, stems, strict=True))
    parts = [
        (*p.parts[1:-1], p.name.replace(".", "_") if twins[p.parent, stem.casefold()] > 1 else stem)
        for p, stem in zip(paths, stems, strict=True)
    ]
    depths = [1] * len(paths)
    while True:
        names = [
            name or "__".join(p[-depth:])
            for p, depth, name in zip(parts, depths, fixed, strict=True)
        ]
        counts = Counter(name.casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if counts[name.casefold()] > 1]
        if not clashing:
            return names
        if all(fixed[i] or depths[i] == len(parts[i]) for i in clashing):
            raise LDSegError(f"{names[clashing[0]]} would be the name of two images; rename one.")
        for i in clashing:
            depths[i] = min(depths[i] + 1, len(parts[i]))


def _stem(path: Path) -> str:
    ending = next((s for s in SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(ending)]
