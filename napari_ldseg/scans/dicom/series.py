"""Which DICOM files belong to one image: the series of a folder, of a ZIP archive, or around one file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import LDSegError
from ...utils.text import count_text, nfc
from .archive import unpacked
from .frames import PLACE_KEYWORDS, frame_planes, stacks_of
from .header import (
    DICOM_SUFFIXES,
    DIRECTORY,
    Header,
    is_dicom,
    plain_dicom_errors,
    read_dataset,
    read_header,
)
from .slices import SAME_DIRECTION

MAX_FILES = 20_000
ZIP_SUFFIX = ".zip"
# What has rows and columns, but is no image that a model of images can be given.
NO_IMAGES = (
    "RTDOSE",
    "SEG",
    "PR",
    "KO",
    "SR",
    "REG",
    "RTSTRUCT",
    "RTPLAN",
    "DOC",
    "ECG",
    "FID",
    "AU",
)
Log = Callable[[str], None]


class Series(NamedTuple):
    """The files of one image: the slices of a volume, one multi-frame file, or one 2D image.

    ``name`` holds nothing of a patient. ``frames`` are those of the image, where a multi-frame file holds several.
    ``place`` is the path of what is no file of its own: an archive, or ``FILE/NAME`` where an archive or a
    multi-frame file holds several images.
    """

    headers: tuple[Header, ...]
    name: str
    frames: tuple[int, ...] = ()
    place: Path | None = None

    @property
    def path(self) -> Path:
        """The path that stands for the image: read_scan reads the whole image from it."""
        return self.place or self.headers[0].path

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(header.path for header in self.headers)

    @property
    def is_volume(self) -> bool:
        """Whether it is made of slices with a place, a file for each."""
        return _has_place(self.headers[0])

    @property
    def description(self) -> str:
        """What the series is called; "" where that names the patient."""
        first = self.headers[0]
        return "" if _is_private(first.description, first.private) else first.description

    @property
    def images(self) -> int:
        """The number of slices or frames."""
        return len(self.frames) or len(self.headers) * self.headers[0].shape[0]

    @property
    def unit(self) -> str:
        """What one of its images is."""
        return "slice" if self.is_volume or self.frames else "frame"

    @property
    def voxels(self) -> int:
        """The number of voxels."""
        return self.images * math.prod(self.headers[0].shape[1:3])


def is_part(path: Path) -> bool:
    """Return whether ``path`` is ``FILE/NAME``: one of several images in an archive or a multi-frame file."""
    try:
        return path.parent.is_file()
    except OSError:
        return False


def series_of_file(path: Path) -> list[Series]:
    """Return the image that the DICOM file ``path`` is a part of: of its series, what is in its folder.

    There are several where a multi-frame file holds stacks of slices of different orientations.

    Raises
    ------
    LDSegError
        If the file is damaged or holds no image.
    """
    header = read_header(path)
    problem = _not_an_image(header)
    if problem is not None:
        raise LDSegError(f"{path.name} {problem}; choose a file with an image.")
    if not _has_place(header) or not header.series:
        return _stacks_of_frames(Series((header,), path.name))
    found, alone = [], True
    for other in _dicom_files([path.parent]):
        try:
            part = read_header(other)
        except LDSegError:
            if other != path:
                continue  # A damaged file of any other image; a hole in this one shows in its places.
            raise
        if _not_an_image(part) is None:
            same = part.series == header.series and _has_place(part)
            found += [part] if same else []
            alone = alone and same
    stacks = _stacks(_once(found, lambda text: None))
    stack = next((s for s in stacks if any(h.instance == header.instance for h in s)), (header,))
    name = _name(stack, path.absolute().parent.name, alone and len(stacks) == 1)
    return [Series(_in_order(stack), name)]


def series_of_folder(folder: Path, log: Log = lambda text: None) -> list[Series]:
    """Return the images of a folder of DICOM files and of its sub-folders, or of a ZIP archive of them.

    ``log`` gets a line about what was left out.

    Raises
    ------
    LDSegError
        If there are more than 20 000 files, a series is spread over several folders, or the archive cannot be
        unpacked.
    """
    title, archive = folder.name, None
    if folder.is_file():
        title, archive = folder.name[: -len(ZIP_SUFFIX)], folder
        folder = unpacked(folder)
    headers, skipped = [], 0
    for path in _dicom_files(_folders(folder)):
        try:
            header = read_header(path)
        except LDSegError as error:
            log(f"Skipped: {error}")
            continue
        if _not_an_image(header) is None:
            headers.append(header)
        elif header.kind != DIRECTORY:
            skipped += 1
    if skipped:
        log(f"Skipped {count_text(skipped, 'DICOM file')} without an image that can be segmented.")
    _check_in_one_folder(headers)
    found = []
    by_series: dict[tuple, list[Header]] = {}
    for header in headers:
        alone = not (_has_place(header) and header.series)
        key = (header.path,) if alone else (header.path.parent, header.series)
        by_series.setdefault(key, []).append(header)
    for parts in by_series.values():
        stacks = _stacks(_once(parts, log))
        longest = max(len(stack) for stack in stacks)
        for stack in stacks:
            if len(stack) == 1 < longest:
                log(f"Skipped {stack[0].path.name}: a single slice of another orientation or size.")
            else:
                found.append(_in_order(stack))
    alone = len(found) == 1
    images: list[Series] = []
    for slices in found:
        series = Series(slices, _name(slices, title, alone))
        try:
            images += _stacks_of_frames(series)
        except LDSegError:
            images.append(series)  # what is wrong is reported when it is read
    if archive is None:
        return images
    if len(images) == 1:
        return [images[0]._replace(place=archive)]
    return _placed_in(archive, images)


def one_series(path: Path) -> Series:
    """Return the image of a folder, an archive, a file, or one part of it. Raises LDSegError if it is not one."""
    if is_part(path):
        found = [one for one in series_at(path.parent) if one.path.name == path.name]
        if not found:
            raise LDSegError(f"{path.parent.name} holds no image called {path.name}; check it.")
        return found[0]
    found = series_at(path)
    if not found:
        raise LDSegError(
            f"{path.name} holds no DICOM image; choose a folder or a file with an image."
        )
    if len(found) > 1:
        first = f"{path.name}/{found[0].path.name}"
        advice = (
            "choose a file of one of them"
            if path.is_dir()
            else f"give one of them, such as {first}"
        )
        raise LDSegError(f"{path.name} holds {len(found)} images (series); {advice}.")
    return found[0]


def series_at(path: Path, log: Log = lambda text: None) -> list[Series]:
    """Return the images of a folder, an archive or a file of DICOM. Raises LDSegError."""
    whole = path.is_dir() or path.suffix.lower() == ZIP_SUFFIX
    return series_of_folder(path, log) if whole else series_of_file(path)


def _stacks_of_frames(series: Series) -> list[Series]:
    """Return a series for each stack of slices of a multi-frame file; ``series`` itself where there is one."""
    header = series.headers[0]
    if header.shape[0] == 1:
        return [series]
    with plain_dicom_errors(header.path):
        planes = frame_planes(read_dataset(header.path, PLACE_KEYWORDS), header.path.name)
    stacks = [] if planes is None else stacks_of(planes)
    if len(stacks) < 2:
        return [series]
    name = _stem(series.name)
    return [
        series._replace(name=f"{name}_{i + 1}", frames=frames, place=header.path / f"stack_{i + 1}")
        for i, frames in enumerate(stacks)
    ]


def _placed_in(archive: Path, images: Sequence[Series]) -> list[Series]:
    """Return the images of an archive, each with a name and a path of its own."""
    placed: list[Series] = []
    for series in images:
        same = sum(other.name.startswith(series.name) for other in placed)
        name = f"{series.name}_{same + 1}" if same else series.name
        placed.append(series._replace(name=name, place=archive / name))
    return placed


def _folders(top: Path) -> Iterable[Path]:
    for folder, names, _ in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield Path(folder)


def _dicom_files(folders: Iterable[Path]) -> list[Path]:
    """Return the DICOM files directly in ``folders``, judged by their content. Raises LDSegError."""
    paths: list[Path] = []
    try:
        for folder in folders:
            names = sorted(os.listdir(folder))
            paths += [folder / name for name in names if _may_be_dicom(name)]
            if len(paths) > MAX_FILES:
                raise LDSegError(
                    f"{folder} has more than {MAX_FILES} files that may be DICOM; give its sub-folders one by one."
                )
    except OSError as error:
        raise LDSegError(f"{folder} cannot be read: {error.strerror or error}.") from error
    return [path for path in paths if is_dicom(path)]


def _may_be_dicom(name: str) -> bool:
    """Return whether the suffix is one of DICOM, missing, or the end of a UID."""
    suffix = os.path.splitext(name)[1].lower()
    plain = suffix in ("", *DICOM_SUFFIXES) or suffix[1:].isdigit()
    return plain and not name.startswith(".")


def _not_an_image(header: Header) -> str | None:
    if header.kind == DIRECTORY:
        return "is a DICOMDIR, the table of contents of its folder"
    if not header.shape[0] or header.modality in NO_IMAGES:
        return f"is a DICOM object without an image to segment ({header.modality or 'unknown'})"
    if header.tiled:
        return "is a tiled microscope slide"
    return None


def _has_place(header: Header) -> bool:
    """Return whether it is one slice with position, orientation and pixel size."""
    place = (header.position, header.orientation, header.spacing)
    return header.shape[0] == 1 and all(part is not None for part in place)


def _once(headers: Sequence[Header], log: Log) -> list[Header]:
    """Return ``headers`` without copies of the same slice."""
    found: dict[str, Header] = {}
    for header in headers:
        key = header.instance or str(header.path)
        if found.setdefault(key, header) is not header:
            log(f"Skipped {header.path.name}: a copy of {found[key].path.name}.")
    return list(found.values())


def _stacks(headers: Sequence[Header]) -> list[tuple[Header, ...]]:
    """Return the slices of a series in groups of one orientation and size."""
    stacks: list[list[Header]] = []
    for header in headers:
        for stack in stacks:
            if header.shape == stack[0].shape and _parallel(header, stack[0]):
                stack.append(header)
                break
        else:
            stacks.append([header])
    return [tuple(stack) for stack in stacks]


def _parallel(header: Header, other: Header) -> bool:
    if header.orientation is None or other.orientation is None:
        return header.orientation is other.orientation
    return bool(np.allclose(header.orientation, other.orientation, rtol=0, atol=SAME_DIRECTION))


def _in_order(headers: Sequence[Header]) -> tuple[Header, ...]:
    """Return the headers along the slices' normal, so that the same file always stands for the image."""
    if not _has_place(headers[0]):
        return tuple(headers)
    x, y = np.array(headers[0].orientation).reshape(2, 3)
    normal = np.cross(x, y)

    def place(header: Header) -> tuple[float, float, str]:
        along = float(np.array(header.position) @ normal)
        return along, header.times[-1] or 0, header.path.name

    return tuple(sorted(headers, key=place))


def _check_in_one_folder(headers: Sequence[Header]) -> None:
    """Raise LDSegError for a series whose slices lie in several folders, unless these are copies."""
    folders: dict[str, dict[Path, set[str]]] = {}
    for header in headers:
        if _has_place(header) and header.series:
            of_series = folders.setdefault(header.series, {})
            of_series.setdefault(header.path.parent, set()).add(header.instance)
    for parts in folders.values():
        first, *others = parts.values()
        for other in others:
            if first.isdisjoint(other):
                one, two = list(parts)[:2]
                raise LDSegError(
                    f"The slices of one series are spread over several folders, such as {one.name} and {two.name}; "
                    "put them into one folder."
                )


def _name(headers: Sequence[Header], title: str, alone: bool) -> str:
    """Return a name of folder, series number and description, without parts that name the patient.

    A 2D image or a multi-frame file is called as its file, if it is not the only image.
    """
    first = headers[0]
    if not alone and not _has_place(first):
        title = _stem(first.path.name)
        parts = [title]
    else:
        parts = [title] if alone else [title, first.number, first.description]
    kept = [part for part in parts if part and not _is_private(part, first.private)]
    if title not in kept:
        kept.insert(0, "series")
    return re.sub(r"[^\w.+-]+", "_", "_".join(kept)).strip("_.")[:80] or "series"


def _stem(name: str) -> str:
    suffix = os.path.splitext(name)[1]
    return name[: -len(suffix)] if suffix.lower() in DICOM_SUFFIXES else name


def _is_private(text: str, private: Iterable[str]) -> bool:
    """Return whether a word of ``private`` is in ``text``; two Latin letters count only as a word of their own."""
    text = nfc(text).casefold()
    apart = set(re.split(r"[\W_\d]+", text))
    return any(word in (apart if len(word) == 2 and word.isascii() else text) for word in private)
