"""2D image files (PNG, JPEG, BMP): grey or RGB, upright, without transparency."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..utils.quiet import hidden_warnings
from ..utils.text import reason_of
from .colours import plain_samples
from .memory import check_size
from .scan import Scan

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
RASTER_SUFFIXES = tuple(FORMATS)
COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA")
BYTES_PER_PIXEL = 12  # of decoding: the decoded image, its copy and the array, of up to four bytes


def read_raster(path: Path) -> Scan:
    """Read a PNG, JPEG or BMP (y, x) or (y, x, 3), turned upright as its orientation tag says.

    Raises
    ------
    LDSegError
        If it cannot be read, is too large, animated, or in colours other than RGB.
    """
    array, channels = _decoded(path, False)
    return Scan(array, channels=channels, calibrated=False, name=path.name)


def read_raster_numbers(path: Path) -> Scan:
    """Read a label from a PNG, JPEG or BMP: of an image with a palette the colour numbers.

    Raises LDSegError as ``read_raster`` does.
    """
    array, channels = _decoded(path, True)
    return Scan(array, channels=channels, calibrated=False, name=path.name)


def _decoded(path: Path, palette_numbers: bool) -> tuple[np.ndarray, bool]:
    """Return the array, and whether its last axis holds channels. Raises LDSegError."""
    from PIL import Image, ImageOps

    try:
        # A large image has a warning. Only the format that the name gives: others may run programs or hold
        # many frames.
        with hidden_warnings(), Image.open(path, formats=[FORMATS[path.suffix.lower()]]) as file:
            _check_header(path, file)
            ImageOps.exif_transpose(file, in_place=True)
            indices = file.mode in ("P", "PA") and not palette_numbers
            array = np.asarray(file.convert("RGB") if indices else file)
    except LDSegError:
        raise
    except Image.DecompressionBombError as error:
        raise LDSegError(f"{path.name} has too many pixels to be read; crop it first.") from error
    except Exception as error:
        reason = reason_of(error)
        raise LDSegError(f"{path.name} cannot be read as an image: {reason}.") from error
    if array.dtype == np.int32 and array.min(initial=0) >= 0 and array.max(initial=0) < 2**16:
        array = array.astype(np.uint16)  # 16 bits of older Pillow
    return plain_samples(array) if array.ndim == 3 else (array, False)


def _check_header(path: Path, image) -> None:
    """Raise LDSegError for what must not be decoded."""
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise LDSegError(f"{path.name} is animated; save its frames as a TIFF stack.")
    if image.mode not in (*COLOUR_MODES, "1", "L", "LA", "I", "I;16", "I;16B"):
        raise LDSegError(f"{path.name} is in {image.mode} colours; save it as RGB first.")
    check_size(path.name, image.size, BYTES_PER_PIXEL)
