"""The images of a batch, and a unique name for each; imports no torch."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import LDSegError
from ..scans.channels import ImageFiles, group_channels
from ..scans.dicom.header import DICOM_SUFFIXES, is_dicom
from ..scans.dicom.series import ZIP_SUFFIX, series_at
from ..scans.files import SUFFIXES, stem_of, suffix_of
from ..scans.zarr_image import ZARR_SUFFIXES
from ..utils.text import count_text, one_line

KINDS = ("labels", "sample_sd", "predictive_sd")


class Input(NamedTuple):
    """One image, the name of its results, and its first file, which stands for it in the records."""

    name: str
    image: ImageFiles

    @property
    def path(self) -> Path:
        """The image's first file."""
        return self.image.paths[0]


def find_images(
    arguments: Sequence[str | os.PathLike],
    output: Path,
    log: Callable[[str], None] = lambda text: None,
    channels: int = 1,
) -> list[ImageFiles]:
    """Return the images of files, folders and patterns, each once, in order.

    A folder means the images directly in it, and ``log`` gets a line about those in its sub-folders; a
    pattern (``scans/**/*.nii.gz``) means the images that match. DICOM is found in sub-folders too, and each
    series is one image, named after folder, number and description. Hidden files and the results in
    ``output`` are skipped. For a model of several ``channels``, the files CASE_0000, CASE_0001, ... of a
    folder are one image called CASE, even if only one of them is given.

    Raises
    ------
    LDSegError
        If one of them does not exist, cannot be read or is not an image, or there are no images.
    """
    results = {os.path.realpath(output / kind) for kind in KINDS}
    paths: dict[tuple[str, str], Path] = {}
    in_sub_folders: dict[str, list[tuple[str, str]]] = {}
    series: dict[Path, str] = {}
    known: set[Path] = set()
    for text in map(str, arguments):
        try:
            for path in _expand(text, series, known, log):
                # The same folder may have several paths. Links to files are not followed: in data
                # managers a link has the image's name, its target a hash.
                folder = os.path.realpath(path.parent)
                if folder not in results:
                    paths.setdefault((folder, path.name), Path(os.path.abspath(path)))
            in_sub_folders[text] = _in_sub_folders(Path(text).expanduser(), results)
        except OSError as error:
            raise LDSegError(
                f"{text} cannot be read: {error.strerror or error}; check its name and permissions."
            ) from error
    for path in paths.values():
        if not _is_utf8(path):
            raise LDSegError(
                f"The name of {one_line(path)} is not in UTF-8; rename it with plain letters."
            )
    skipped = []
    for text, files in in_sub_folders.items():
        if count := len(set(files) - set(paths)):
            pattern = Path(glob.escape(text)) / "**" / "*"
            skipped.append(
                f"{count_text(count, 'image')} in sub-folders of {text}: give the pattern '{pattern}'"
            )
    if not paths and skipped:
        raise LDSegError(f"There are no images to segment except {'; '.join(skipped)}.")
    if not paths:
        raise LDSegError(
            f"There are no images to segment; give files, folders or patterns of {', '.join(SUFFIXES)}."
        )
    for line in skipped:
        log(f"Skipped {line} to include them.")
    if channels == 1:
        return [ImageFiles(series.get(path) or stem_of(path), (path,)) for path in paths.values()]
    try:
        return group_channels(list(paths.values()), series)
    except OSError as error:
        raise LDSegError(
            f"{error.filename} cannot be read: {error.strerror or error}; check its permissions."
        ) from error


def name_images(images: Sequence[ImageFiles], known: Mapping[str, str]) -> list[Input]:
    """Return ``images`` with unique names; those in ``known`` (first file to name) keep their name.

    The others have their own names. Equal names in different folders are prefixed with as many
    folder names as needed (``ward-a__scan``).

    Raises
    ------
    LDSegError
        If two images would have the same name.
    """
    names = _names(images, [known.get(str(image.paths[0])) for image in images])
    return [Input(name, image) for name, image in zip(names, images, strict=True)]


def _expand(
    text: str, series: dict[Path, str], known: set[Path], log: Callable[[str], None]
) -> list[Path]:
    """Return the images of one file, folder or pattern; ``series`` gets the names of those that are DICOM.

    ``known`` gets the files of series; a file in it is not looked at again. Raises LDSegError and OSError.
    """
    path = Path(text).expanduser()
    if path.is_dir() and suffix_of(path) not in ZARR_SUFFIXES:
        images = [p for p in sorted(path.iterdir()) if _is_image(p)]
        return images + _series_paths(path, series, known, log)
    if path.exists():
        if suffix_of(path) == ZIP_SUFFIX or is_dicom(path):
            return _series_paths(path, series, known, log)
        if suffix_of(path) in DICOM_SUFFIXES:
            raise LDSegError(
                f"{text} is not an image that can be segmented: it does not begin as a DICOM file does; copy it "
                "again, or convert it to NIfTI."
            )
        if not suffix_of(path):
            raise LDSegError(
                f"{text} is not an image that can be segmented; give {', '.join(SUFFIXES)} files, or "
                "folders of DICOM series."
            )
        return [path]
    # The shortest path to a file goes first.
    found = sorted(map(Path, glob.glob(str(path), recursive=True)), key=lambda p: (len(p.parts), p))
    images = [p for p in found if _is_image(p)]
    for file in found:
        if suffix_of(file) == ZIP_SUFFIX or is_dicom(file):
            images += _series_paths(file, series, known, log)
    if not images:
        raise LDSegError(
            f"{text} is not a file, a folder or a pattern that matches an image; correct it."
        )
    return images


def _series_paths(
    path: Path, series: dict[Path, str], known: set[Path], log: Callable[[str], None]
) -> list[Path]:
    """Return the paths that stand for the images of a folder, an archive or a file of DICOM."""
    path = Path(os.path.abspath(path))
    if path in known:
        return []
    try:
        found = series_at(path, log)
    except LDSegError:
        if path.suffix.lower() != ZIP_SUFFIX:
            raise
        found = []
    if not found and path.is_file():
        return [path]  # what is wrong is reported with the other failures
    for one in found:
        series[one.path] = one.name
        known.update(one.files)
    return [one.path for one in found]


def _in_sub_folders(top: Path, results: set[str]) -> list[tuple[str, str]]:
    """Return folder and name of each image in sub-folders of ``top``; none if it is not a folder."""
    images, visited = [], set(results)
    for folder, sub_folders, names in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            sub_folders.clear()
            continue
        visited.add(real)
        zarrs = [name for name in sub_folders if suffix_of(name) in ZARR_SUFFIXES]
        sub_folders[:] = [n for n in sub_folders if not n.startswith(".") and n not in zarrs]
        if folder != str(top):
            found = [name for name in (*names, *zarrs) if _is_image(Path(folder, name))]
            images += [(real, name) for name in found]
    return images


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_image(path: Path) -> bool:
    """Return whether it is an image by its name; DICOM, known by its content, and ZIP archives are not."""
    suffix = suffix_of(path)
    if path.name.startswith(".") or suffix in ("", ZIP_SUFFIX):
        return False
    if suffix in DICOM_SUFFIXES and is_dicom(path):
        return False
    return path.is_dir() if suffix in ZARR_SUFFIXES else path.is_file()


def _names(images: Sequence[ImageFiles], fixed: list[str | None]) -> list[str]:
    """Return a unique name (ignoring case) for each image; some names are ``fixed``."""
    paths, stems = [image.paths[0] for image in images], [image.name for image in images]
    same_stem = Counter((p.parent, stem.casefold()) for p, stem in zip(paths, stems, strict=True))
    parts = [
        (
            *p.parts[1:-1],
            p.name.replace(".", "_") if same_stem[p.parent, stem.casefold()] > 1 else stem,
        )
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
