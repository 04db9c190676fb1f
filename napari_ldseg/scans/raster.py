"""Pictures (PNG, TIFF, JPEG, BMP): grey or RGB, without transparency."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import LDSegError
from .memory import check_size

TIFF_COLOURS = {"SEPARATED": "CMYK", "CIELAB": "Lab", "ICCLAB": "Lab", "ITULAB": "Lab"}


def read_raster(path: Path) -> tuple[np.ndarray, bool]:
    """Return the picture (*leading, y, x) or (*leading, y, x, channels), and whether it has channels.

    Raises
    ------
    LDSegError
        If it is too large, or in colours other than RGB.
    Exception
        The reading library's own, if it cannot read the file.
    """
    if path.suffix.lower() in (".tif", ".tiff"):
        return _read_tiff(path)
    from PIL import Image
    from skimage.io import imread

    try:
        array = imread(path)
    except Image.DecompressionBombError as error:
        raise LDSegError(f"{path.name} has too many pixels to be read; crop it first.") from error
    if array.ndim != 3 or array.shape[-1] not in (2, 3, 4):
        return array, False
    if array.shape[-1] == 4:
        with Image.open(path) as picture:
            _check_colours(path, picture.mode if picture.mode == "CMYK" else None)
    return _without_alpha(array)


def _read_tiff(path: Path) -> tuple[np.ndarray, bool]:
    from tifffile import TiffFile

    with TiffFile(path) as file:
        series = file.series[0]
        _check_colours(path, TIFF_COLOURS.get(getattr(series.keyframe.photometric, "name", "")))
        check_size(path.name, series.shape, series.dtype.itemsize)
        array = series.asarray()
    # Samples of a pixel, or the channels of ImageJ; the other leading axes are slices or frames.
    if "S" in series.axes:
        return _without_alpha(np.moveaxis(array, series.axes.index("S"), -1))
    if "C" in series.axes:
        return np.moveaxis(array, series.axes.index("C"), -1), True
    return array, False


def _check_colours(path: Path, found: str | None) -> None:
    if found is not None:
        raise LDSegError(f"{path.name} is in {found} colours; save it as an RGB picture first.")


def _without_alpha(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return (..., samples) as grey (...) or colour (..., channels), and whether it has channels."""
    samples = array.shape[-1]
    if samples == 2:
        return array[..., 0], False
    return array[..., : 3 if samples == 4 else samples], True
