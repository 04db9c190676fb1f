"""2D image files (PNG, TIFF, JPEG, BMP) and stacks of them in a TIFF: grey or RGB, without transparency."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..utils.text import one_line
from .memory import check_size
from .scan import Scan

TIFF_SUFFIXES = (".tif", ".tiff")
RASTER_SUFFIXES = (".png", *TIFF_SUFFIXES, ".jpg", ".jpeg", ".bmp")
COLOUR_SPACES = {"SEPARATED": "CMYK", "CIELAB": "Lab", "ICCLAB": "Lab", "ITULAB": "Lab"}


def read_raster(path: Path) -> Scan:
    """Read a 2D image file (*leading, y, x) or (*leading, y, x, channels).

    Raises
    ------
    LDSegError
        If it cannot be read, is too large, or in colours other than RGB.
    """
    read = _read_tiff if path.suffix.lower() in TIFF_SUFFIXES else _read_other
    try:
        array, channels = read(path)
    except LDSegError:
        raise
    except Exception as error:
        reason = one_line(error).rstrip(".?")
        raise LDSegError(f"{path.name} cannot be read as an image: {reason}.") from error
    return Scan(array, channels=channels, calibrated=False, name=path.name)


def _read_other(path: Path) -> tuple[np.ndarray, bool]:
    """Return the array of a PNG, JPEG or BMP, and whether its last axis holds channels."""
    from PIL import Image
    from skimage.io import imread

    try:
        array = imread(path)
    except Image.DecompressionBombError as error:
        raise LDSegError(f"{path.name} has too many pixels to be read; crop it first.") from error
    if array.ndim != 3 or array.shape[-1] not in (2, 3, 4):
        return array, False
    if array.shape[-1] == 4:
        with Image.open(path) as image:
            _check_colours(path, image.mode if image.mode == "CMYK" else None)
    return _without_alpha(array)


def _read_tiff(path: Path) -> tuple[np.ndarray, bool]:
    """Return the array of a TIFF's first series, and whether its last axis holds channels."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        series = file.series[0]
        _check_colours(path, COLOUR_SPACES.get(getattr(series.keyframe.photometric, "name", "")))
        check_size(path.name, series.shape, series.dtype.itemsize)
        array = series.asarray()
    # S: samples per pixel, C: channels of ImageJ; other leading axes are slices or frames.
    if "S" in series.axes:
        return _without_alpha(np.moveaxis(array, series.axes.index("S"), -1))
    if "C" in series.axes:
        return np.moveaxis(array, series.axes.index("C"), -1), True
    return array, False


def _check_colours(path: Path, colour_space: str | None) -> None:
    if colour_space is not None:
        raise LDSegError(f"{path.name} is in {colour_space} colours; save it as RGB first.")


def _without_alpha(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return (..., samples) as grey (...) or colour (..., channels), and whether it has channels."""
    samples = array.shape[-1]
    if samples == 2:
        return array[..., 0], False
    return array[..., : 3 if samples == 4 else samples], True
