"""TIFF files: one image or a stack, with the axes, voxel size and unit that ImageJ or OME put in."""

from __future__ import annotations

import itertools
import logging
import lzma
import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..utils.text import reason_of
from .colours import plain_samples
from .memory import check_size
from .scan import Scan, default_affine
from .tiff_size import voxel_size

TIFF_SUFFIXES = (".tif", ".tiff")
COLOUR_SPACES = {"SEPARATED": "CMYK", "CIELAB": "Lab", "ICCLAB": "Lab", "ITULAB": "Lab"}
# T is time, Z are slices, I (pages) and Q (unknown) count as slices; S are samples, C channels.
FRAMES, SLICES = "T", "ZIQ"
# The codecs of tifffile itself; they are checked before, since nothing bounds their output.
LZMA = "LZMA"
OWN_CODECS = ("NONE", "ADOBE_DEFLATE", "DEFLATE", LZMA)
LZMA_MEMORY = 2**28
SPARE_SEGMENT_BYTES = 2**26


def read_tiff(path: Path) -> Scan:
    """Read the first image of a TIFF: (*leading, y, x) or (*leading, y, x, channels), as it is shown.

    It is turned upright as its orientation tag says; min-is-white is inverted, palettes become RGB.
    Axes are slices and time as the file says, pages without a meaning are slices.

    Raises
    ------
    LDSegError
        If it cannot be read, is too large, in colours other than RGB, has axes other than time, slices
        and channels, or is a part of several files.
    """
    return _read(path, numbers=False)


def read_tiff_numbers(path: Path) -> Scan:
    """Read a label from a TIFF: the stored numbers, whatever colours they are shown in.

    Raises LDSegError as ``read_tiff`` does.
    """
    return _read(path, numbers=True)


def _read(path: Path, numbers: bool) -> Scan:
    from tifffile import TiffFile

    try:
        with _damage_noticed() as damage, TiffFile(path, _multifile=False) as file:
            _check_ome(path, file)
            series = file.series[0]
            len(file.pages)  # follows the chain of pages to its end
            if damage:
                raise LDSegError(
                    f"{path.name} is damaged: not all of its pages are there; copy or save it again."
                )
            if any((s.shape, s.dtype) == (series.shape, series.dtype) for s in file.series[1:]):
                raise LDSegError(
                    f"{path.name} holds {len(file.series)} separate images; save each as a file of its own, or "
                    "all as one stack."
                )
            page = series.keyframe
            _check_colours(path, page)
            check_size(path.name, series.shape, series.dtype.itemsize)
            array = _decoded(path, series)
            axes = series.axes
            if not numbers:
                array, axes = _as_shown(path, array, axes, page)
            array, axes = _upright(array, axes, page.tags.get(274))
            array, channels, flat = _arranged(path, array, axes)
            size = voxel_size(file)
    except LDSegError:
        raise
    except Exception as error:
        reason = reason_of(error)
        raise LDSegError(f"{path.name} cannot be read as TIFF: {reason}.") from error
    affine = default_affine(size or (1.0, 1.0, 1.0))
    return Scan(array, affine, channels, size is not None, path.name, flat=flat)


@contextmanager
def _damage_noticed() -> Iterator[list[str]]:
    """Yield a list that gets what tifffile logs of parts beyond the file's end, which it leaves out."""
    found: list[str] = []
    reader = threading.get_ident()

    def notice(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        lost = ("invalid" in text and "offset" in text) or "corrupted" in text
        lost = lost and record.thread == reader  # not of a file that another thread reads
        if lost:
            found.append(text)
        return not lost

    logger = logging.getLogger("tifffile")
    logger.addFilter(notice)
    try:
        yield found
    finally:
        logger.removeFilter(notice)


def _check_ome(path: Path, file: Any) -> None:
    """Refuse OME metadata that would expand or lead to other files, before tifffile reads them."""
    from xml.etree import ElementTree

    text = file.ome_metadata
    if text is None:
        return
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise LDSegError(
            f"{path.name} has OME metadata that define entities, which is not safe to read; save it anew."
        )
    root = ElementTree.fromstring(text)
    own = root.get("UUID")
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        elsewhere = tag == "UUID" and element.text != own and _other(path, element.get("FileName"))
        if elsewhere or tag == "BinaryOnly":
            raise LDSegError(
                f"{path.name} is a part of an OME-TIFF of several files; save it as one file."
            )


def _other(path: Path, name: str | None) -> bool:
    return name is not None and name.lower() != path.name.lower()


def _check_colours(path: Path, page: Any) -> None:
    photometric = getattr(page.photometric, "name", "")
    space = COLOUR_SPACES.get(photometric)
    if photometric == "YCBCR" and page.compression.name in OWN_CODECS:
        space = "YCbCr"  # as JPEG it is decoded to RGB
    if space is not None:
        raise LDSegError(f"{path.name} is in {space} colours; save it as RGB first.")


def _decoded(path: Path, series: Any) -> np.ndarray:
    """Return the array of ``series`` without ever taking more memory than its size justifies."""
    page = series.keyframe
    segment = math.prod(page.chunks) * page.dtype.itemsize
    if segment > 4 * page.nbytes + SPARE_SEGMENT_BYTES:
        raise LDSegError(f"{path.name} is damaged: its tiles are larger than the image.")
    codec = page.compression.name
    if codec == "NONE":
        return series.asarray()
    if codec not in OWN_CODECS:
        return _decoded_by_pillow(path, series)
    expands = _lzma_expands if codec == LZMA else _zlib_expands
    for part in series.pages:
        if part is None:
            continue
        for start, count in zip(part.dataoffsets, part.databytecounts, strict=True):
            page.parent.filehandle.seek(start)
            if expands(page.parent.filehandle.read(count), segment):
                raise LDSegError(
                    f"{path.name} is damaged: it holds more data than the image that it describes."
                )
    return series.asarray()


def _zlib_expands(data: bytes, limit: int) -> bool:
    return len(zlib.decompressobj().decompress(data, limit + 1)) > limit


def _lzma_expands(data: bytes, limit: int) -> bool:
    decoder = lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    return len(decoder.decompress(data, limit + 1)) > limit or bool(decoder.unused_data)


def _decoded_by_pillow(path: Path, series: Any) -> np.ndarray:
    """Return the array of a compressed ``series``, from libtiff, which never decodes beyond its size."""
    from PIL import Image, ImageSequence

    page = series.keyframe
    orientation = page.tags.get(274)
    pages = []
    # Pillow turns some images upright, not all.
    if orientation is None or orientation.value == 1:
        with Image.open(path, formats=["TIFF"]) as image:
            for frame in itertools.islice(ImageSequence.Iterator(image), len(series.pages)):
                check_size(path.name, frame.size, page.dtype.itemsize * page.samplesperpixel)
                pages.append(np.asarray(frame))
        if page.photometric.name == "MINISWHITE" and frame.mode in ("1", "L"):
            pages = [np.invert(p) for p in pages]  # Pillow has inverted them
    array = np.array(pages)
    if array.size != math.prod(series.shape) or array.dtype != series.dtype:
        raise LDSegError(
            f"{path.name} is compressed with {page.compression.name}; save it without compression."
        )
    return array.reshape(series.shape)


def _as_shown(path: Path, array: np.ndarray, axes: str, page: Any) -> tuple[np.ndarray, str]:
    """Return the values as the file means them to be seen, and the axes."""
    photometric = page.photometric.name
    if photometric == "MINISWHITE":
        if array.dtype.kind not in "bui":
            raise LDSegError(
                f"{path.name} says that its smallest value is white, which real numbers cannot mean; "
                "save it with the smallest value black."
            )
        bits = page.bitspersample
        few = array.dtype.kind == "u" and bits < 8 * array.itemsize
        array = 2**bits - 1 - array if few else np.invert(array)
    elif photometric == "PALETTE" and page.colormap is not None:
        colours = np.asarray(page.colormap)
        colours = (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
        return colours.T[array], f"{axes}S"
    return array, axes


def _upright(array: np.ndarray, axes: str, tag: Any) -> tuple[np.ndarray, str]:
    """Return the array turned as the orientation ``tag`` (1 to 8) says, and its axes."""
    orientation = 1 if tag is None else tag.value
    return turned_upright(array, orientation, axes.index("Y"), axes.index("X")), axes


def turned_upright(array: np.ndarray, orientation: int, y: int = -2, x: int = -1) -> np.ndarray:
    """Return stored pixels as they are shown with ``orientation``, a tag's 1 to 8; ``y`` and ``x`` are their axes."""
    if orientation in (3, 4, 6, 7):
        array = np.flip(array, y)
    if orientation in (2, 3, 7, 8):
        array = np.flip(array, x)
    return np.swapaxes(array, y, x) if orientation in (5, 6, 7, 8) else array


def _arranged(path: Path, array: np.ndarray, axes: str) -> tuple[np.ndarray, bool, bool]:
    """Return (time, slices, y, x, channels) without axes of size 1, whether there are channels, ``flat``."""
    single = [i for i, axis in enumerate(axes) if array.shape[i] == 1 and axis not in "YX"]
    array = np.squeeze(array, tuple(single))
    axes = "".join(axis for i, axis in enumerate(axes) if i not in single)
    unknown = sorted(set(axes) - {*FRAMES, *SLICES, *"CSYX"})
    if unknown or ("C" in axes and "S" in axes):
        raise LDSegError(
            f"{path.name} has the axes {axes}, of which only slices (Z), time (T) and one axis of channels "
            "(C or S) can be read; save a part of it."
        )
    order = sorted(range(len(axes)), key=lambda i: _rank(axes[i]))
    array = array.transpose(order)
    flat = any(axis in FRAMES for axis in axes) and not any(axis in SLICES for axis in axes)
    if "S" in axes:
        return *plain_samples(array), flat
    return array, "C" in axes, flat


def _rank(axis: str) -> int:
    """Return the place of an axis: time, slices, y, x, channels."""
    return {"T": 0, "Y": 2, "X": 3, "C": 4, "S": 4}.get(axis, 1)
