"""2D image files and stacks of pages: PNG and TIFF of class numbers, in the classes' colours.

A PNG is upright, as viewers show a photograph that has an orientation tag. A TIFF has its pixels in the order
of the TIFF that the image came from and the same orientation tag, because most programs for TIFF ignore it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..scans.scan import Scan
from ..scans.tiff import TIFF_SUFFIXES
from ..utils.atomic import atomic_write
from ..utils.quiet import hidden_warnings
from .result import Result, colour_of

ORIENTATION_TAG = 274
TURNED = range(2, 9)


def write_png(path: Path, result: Result) -> None:
    """Write labels (y, x) as a PNG: 8 bits with a palette, or 16 bits grey. Raises OSError and LDSegError."""
    from PIL import Image, PngImagePlugin

    labels = result.stored_labels()
    text = PngImagePlugin.PngInfo()
    text.add_itxt("napari_ldseg", result.provenance_json())
    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image.putpalette(_palette(result).ravel().tolist())
    with atomic_write(path, ".png") as temporary:
        image.save(temporary, format="PNG", pnginfo=text)


def write_tiff(path: Path, result: Result) -> None:
    """Write labels (*frames, *slices, y, x) as a TIFF: 8 bits with a palette, or 16 bits grey.

    Raises OSError and LDSegError.
    """
    labels = result.stored_labels()
    palette = None
    if labels.dtype == np.uint8:
        palette = (_palette(result).T * np.uint16(257)).astype(np.uint16)
    _write_tiff(path, labels, result, palette)


def write_tiff_map(path: Path, array: np.ndarray, result: Result) -> None:
    """Write a map of real numbers, shaped like the scan, as a TIFF of 32 bits. Raises OSError."""
    _write_tiff(path, np.asarray(array, np.float32), result, None)


def as_stored(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo ``scans.tiff.turned_upright``."""
    array = np.swapaxes(array, -1, -2) if orientation >= 5 else array
    if orientation in (3, 4, 6, 7):
        array = np.flip(array, -2)
    return np.flip(array, -1) if orientation in (2, 3, 7, 8) else array


def orientation_of(path: Path | None) -> int:
    """Return the orientation tag of a 2D image file, 1 to 8; 1 if it has none or is no such file."""
    from PIL import Image

    try:
        # A large image has a warning; None is no file.
        with hidden_warnings(), Image.open(path) as image:  # type: ignore[arg-type]
            orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except (OSError, ValueError, SyntaxError, AttributeError, Image.DecompressionBombError):
        return 1
    return int(orientation) if orientation in TURNED else 1


def is_tiff(path: Path | None) -> bool:
    """Return whether the name of ``path`` is a TIFF's."""
    return path is not None and path.name.lower().endswith(TIFF_SUFFIXES)


def _palette(result: Result) -> np.ndarray:
    """Return the colours of the values 0 to 255, uint8 (256, 3), black where there is no class."""
    palette = np.zeros((256, 3), np.uint8)
    for value, info in result.classes.items():
        if value < 256:
            palette[value] = colour_of(info)
    return palette


def _write_tiff(path: Path, array: np.ndarray, result: Result, palette: Any) -> None:
    import tifffile

    scan = result.scan
    metadata: dict[str, Any] = {"axes": _axes(scan), "Info": result.provenance_json()}
    resolution = None
    if scan.calibrated:
        z, y, x = scan.spacing
        resolution = (1 / x, 1 / y)
        metadata |= {"unit": "mm", "spacing": z}
    orientation = orientation_of(result.image) if is_tiff(result.image) else 1
    array = as_stored(array, orientation)
    tags = [(ORIENTATION_TAG, "H", 1, orientation, False)] if orientation > 1 else ()
    with atomic_write(path, ".tif") as temporary:
        tifffile.imwrite(
            temporary,
            np.ascontiguousarray(array),
            imagej=True,
            colormap=palette,
            resolution=resolution,
            metadata=metadata,
            extratags=tags,
        )


def _axes(scan: Scan) -> str:
    """Return the letters of ImageJ's axes."""
    slices = "Z" if scan.space == 3 else ""
    frames = len(scan.shape) - scan.space
    if frames > 1:
        raise LDSegError(
            f"{scan.name} has {frames} axes of frames, which a TIFF cannot hold; save it as NIfTI."
        )
    return "T" * frames + slices + "YX"
