"""Write lung nodule crops with four readers' masks as a data set for ``napari-ldseg train``.

python scripts/lidc_readers.py lidc.npz FOLDER [--centre PIXELS]

The npz has ``images`` uint8 (N, y, x), ``masks`` uint8 (N, readers, y, x / 8), packed along the last
axis by ``numpy.packbits``, and ``name`` (N,). FOLDER gets images/NAME.png and reader1/NAME.png to
readerR/NAME.png, which are 1 in the reader's nodule and 0 elsewhere; a mask may be empty. With --centre
only a square of this many pixels in the centre of each crop is written.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from napari_ldseg.errors import LDSegError

SAFE_NAME = re.compile(r"\w[\w.-]{0,99}")


def convert(source: Path, folder: Path, centre: int | None = None) -> list[str]:
    """Write the images of ``source`` into ``folder`` and return the names of the label folders.

    ``centre`` is the side of the written square in pixels, by default all of each image.

    Raises
    ------
    LDSegError
        If ``source`` is not such a file or smaller than ``centre``, or ``folder`` is not empty.
    """
    images, masks, names = _read(source)
    height, width = images.shape[1:]
    if centre is not None and not 0 < centre <= min(height, width):
        raise LDSegError(
            f"{source}: its crops are {height} x {width}; --centre must fit into them."
        )
    part = tuple(_central(side, centre or side) for side in (height, width))
    if folder.exists() and any(folder.iterdir()):
        raise LDSegError(f"{folder} is not empty; give a new folder.")
    readers = [f"reader{number + 1}" for number in range(masks.shape[1])]
    for sub in ("images", *readers):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for image, packed, name in zip(images, masks, names, strict=True):
        Image.fromarray(image[part]).save(folder / "images" / f"{name}.png")
        for reader, mask in zip(readers, packed, strict=True):
            label = np.unpackbits(mask, axis=-1, count=image.shape[1])
            Image.fromarray(label[part]).save(folder / reader / f"{name}.png")
    return readers


def _central(side: int, length: int) -> slice:
    start = (side - length) // 2
    return slice(start, start + length)


def _read(source: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        with np.load(source, allow_pickle=False) as arrays:
            images, masks = arrays["images"], arrays["masks"]
            names = [str(name) for name in arrays["name"]]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise LDSegError(
            f"{source} cannot be read as an npz of images, masks and name: {error}."
        ) from error
    if images.dtype != np.uint8 or masks.dtype != np.uint8 or images.ndim != 3 or masks.ndim != 4:
        raise LDSegError(
            f"{source}: images must be uint8 (N, y, x), masks uint8 (N, readers, y, x / 8)."
        )
    count, height, width = images.shape
    if (len(masks), *masks.shape[2:]) != (count, height, -(-width // 8)) or len(names) != count:
        raise LDSegError(f"{source}: the sizes of images, masks and name do not fit together.")
    unsafe = [name for name in names if not SAFE_NAME.fullmatch(name)]
    if unsafe or len(set(names)) != count:
        raise LDSegError(
            f"{source}: names must differ and be usable as file names"
            + (f", unlike {unsafe[0]!r}." if unsafe else ".")
        )
    return images, masks, names


def main() -> None:
    """Convert the file given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("npz", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--centre", type=int, metavar="PIXELS")
    arguments = parser.parse_args()
    try:
        readers = convert(arguments.npz, arguments.folder, arguments.centre)
    except LDSegError as error:
        raise SystemExit(f"Error: {error}") from None
    print(f"Wrote {arguments.folder}; its readers for data.labels: [{', '.join(readers)}]")


if __name__ == "__main__":
    main()
