"""Images of several channels: a file for each, or all in one file; and which files belong together.

The files of a case's channels are called CASE_0000, CASE_0001, ... with a suffix, as in nnU-Net.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import LDSegError
from ..utils.text import nfc
from .files import READERS, read_scan, stem_of, suffix_of
from .nifti import NIFTI_SUFFIXES
from .nifti_header import read_header
from .raster import RASTER_SUFFIXES
from .scan import MAX_SHIFT, Scan, Source, corner_distance

NUMBERED = re.compile(r"(.+)_(\d{4})")


class ImageFiles(NamedTuple):
    """The files of one image, in the order of its channels, and the name that its results get."""

    name: str
    paths: tuple[Path, ...]


def numbered(name: str) -> tuple[str, int] | None:
    """Return the case and the number of a channel's name, such as ("brain", 1) of "brain_0001"; else None."""
    found = NUMBERED.fullmatch(nfc(name))
    return None if found is None else (found[1], int(found[2]))


def channel_files(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Return the channel files among ``paths``, of one folder, by case and in the order of their numbers."""
    cases: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        part = numbered(stem_of(path))
        if part is not None:
            cases.setdefault(part[0], []).append((part[1], path))
    return {case: tuple(path for _, path in sorted(files)) for case, files in cases.items()}


def group_channels(
    paths: Sequence[Path], names: Mapping[Path, str] | None = None
) -> list[ImageFiles]:
    """Return the images of ``paths`` for a model of several channels, each once, in order.

    A channel file stands for its case: the files of the other channels beside it, of the same format, are
    added. A file that holds channels itself is an image, whatever its name, and so is one in ``names``, which
    gives it another name. Raises OSError.
    """
    images: list[ImageFiles] = []
    folders: dict[tuple, dict[str, tuple[Path, ...]]] = {}
    for path in paths:
        part = numbered(stem_of(path))
        if names is not None and path in names:
            images.append(ImageFiles(names[path], (path,)))
            continue
        if part is None or _holds_channels(path):
            images.append(ImageFiles(stem_of(path), (path,)))
            continue
        folder = path.parent, READERS[suffix_of(path)]
        if folder not in folders:
            folders[folder] = channel_files(_images_in(*folder))
        images.append(ImageFiles(part[0], folders[folder].get(part[0], (path,))))
    return list(dict.fromkeys(images))


def read_image(image: ImageFiles, channels: int) -> Scan:
    """Read an image for a model of so many ``channels``: as ``read_scan`` does if it is one.

    Otherwise it is read from its channel files, or from one file that holds them all: colours, or a NIfTI
    file with an axis after the spatial ones.

    Raises
    ------
    LDSegError
        If a channel is missing, the channels do not fit each other, or a file cannot be read.
    """
    path = image.paths[0]
    if channels == 1:
        return read_scan(path)
    if len(image.paths) > 1 or (numbered(stem_of(path)) or ("",))[0] == image.name:
        return read_numbered(image.paths, channels)
    scan = read_channels(image.paths)
    if scan.channel_count == 1 and channels == 3 and suffix_of(path) in RASTER_SUFFIXES:
        raise LDSegError(
            f"{path.name} is grey, but the model needs a colour image (3 channels); choose "
            "another image or model."
        )
    if scan.channel_count == 1:
        raise LDSegError(
            f"{path.name} has 1 channel, but the model needs {channels}; call the files of a scan's channels "
            "CASE_0000, CASE_0001, ..., or save them as one 4D NIfTI file."
        )
    return scan


def read_numbered(paths: Sequence[Path], count: int = 1) -> Scan:
    """Read the channel files of one case, at least ``count``, as one scan.

    Raises
    ------
    LDSegError
        If a number is missing or occurs twice, or as ``read_channels``.
    """
    parts = [numbered(stem_of(path)) for path in paths]
    case, numbers = (parts[0] or ("",))[0], [part[1] for part in parts if part is not None]
    for number in range(max(count, len(paths))):
        if number not in numbers:
            raise LDSegError(
                f"{paths[0].name} is one channel of {case}, but the file of its channel {case}_{number:04d} "
                "is missing; put it into the same folder."
            )
    return replace(read_channels(paths), name=case)


def read_channels(paths: Sequence[str | os.PathLike]) -> Scan:
    """Read the files of an image's channels, in their order, as one scan with (*space, channels).

    One file alone holds all of them: colours, or a NIfTI file whose last axis, after the spatial ones, is
    that of the channels rather than time.

    Raises
    ------
    LDSegError
        If a file cannot be read, or the shapes or positions of the channels differ.
    """
    if not paths:
        raise LDSegError("There are no files of channels to read; give at least one.")
    if len(paths) > 1:
        return stack_channels([read_scan(path) for path in paths])
    scan = read_scan(paths[0])
    frames = len(scan.shape) > scan.space and scan.source is not None
    return frames_as_channels(scan) if frames and not scan.channels else scan


def stack_channels(scans: Sequence[Scan]) -> Scan:
    """Return one scan, at the place of the first, whose channels are ``scans``.

    Raises
    ------
    LDSegError
        If one of them has channels itself, or another shape or position than the first.
    """
    first = scans[0]
    for scan in scans:
        if scan.channels:
            problem = f"{scan.name} holds several channels itself"
        elif scan.shape != first.shape or scan.space != first.space:
            problem = f"{scan.name} has the shape {_text(scan)}, {first.name} {_text(first)}"
        elif corner_distance(first.affine, scan.affine, first.size) > MAX_SHIFT * min(
            first.spacing
        ):
            problem = f"{scan.name} and {first.name} are at different places (their affines differ)"
        else:
            continue
        raise LDSegError(
            f"{problem}, but every channel must be one image on the same grid; resample {scan.name} onto "
            f"{first.name}."
        )
    array = np.stack([np.asarray(scan.array) for scan in scans], axis=-1)
    return replace(first, array=array, channels=True)


def frames_as_channels(scan: Scan) -> Scan:
    """Return ``scan`` with its first axis (the last one of a file) as channels instead of frames."""
    source = scan.source
    if source is not None:
        last = max(axis for axis, size in enumerate(source.shape) if axis > 2 and size > 1)
        source = replace(source, shape=source.shape[:last])
    array = np.moveaxis(np.asarray(scan.array), 0, -1)
    return replace(scan, array=array, channels=True, source=source)


def channels_as_frames(scan: Scan) -> Scan:
    """Undo ``frames_as_channels``, so that ``write_like`` writes all channels into one file."""
    source: Source | None = scan.source
    if source is not None:
        ones = (1,) * (3 - len(source.shape))
        source = replace(source, shape=(*source.shape, *ones, scan.channel_count))
    array = np.moveaxis(np.asarray(scan.array), -1, 0)
    return replace(scan, array=array, channels=False, source=source, flat=scan.space == 2)


def _text(scan: Scan) -> str:
    return " x ".join(map(str, scan.shape))


def _images_in(folder: Path, reader: object) -> list[Path]:
    """Return the images of ``folder`` that ``reader`` reads, without hidden files."""
    return [
        path
        for path in folder.iterdir()
        if READERS.get(suffix_of(path)) is reader
        and not path.name.startswith(".")
        and path.is_file()
    ]


def _holds_channels(path: Path) -> bool:
    """Return whether the file holds several channels or frames; of NIfTI only the header is read."""
    try:
        if suffix_of(path) not in NIFTI_SUFFIXES:
            return read_scan(path).channels
        header = read_header(path)
    except Exception:
        return False  # What is wrong is reported when it is read.
    return header.get_data_dtype().names is not None or any(
        n > 1 for n in header.get_data_shape()[3:]
    )
