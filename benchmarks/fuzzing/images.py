"""NIfTI and 2D image files, read as images or as labels."""

from __future__ import annotations

import functools
import gzip
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from random import Random

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from napari_ldseg.scans.files import READERS, read_labels, read_like, read_scan, write_like

from .mutations import NUMBERS, damaged

TIFF_ENTRY = struct.Struct("<HHII")


def trial(rng: Random, folder: Path, attempt) -> None:
    """Read a damaged image, and write a label on its grid and read it again."""
    suffix = rng.choice((*(suffix for suffix in READERS if suffix in seeds()), ".hdr", ".img"))
    # Read as another format now and then.
    likely = seeds()[suffix] if rng.random() < 0.97 else seeds()[rng.choice(list(seeds()))]
    path = folder / f"scan{suffix}"
    path.write_bytes(_damaged_image(rng.choice(likely), rng))
    scan = attempt(rng.choice((read_scan, read_scan, read_labels)), path)
    if scan is None:
        return
    array = np.asarray(scan.array)
    assert array.dtype.kind in "biuf", f"values of type {array.dtype}"
    assert np.isfinite(scan.affine).all() and min(scan.spacing) > 0, "unusable affine"
    assert len(scan.shape) >= 2, f"only {len(scan.shape)} axes"
    array.max(initial=0)
    label = np.ones(scan.shape, np.uint8)
    written = attempt(write_like, folder / "label.nii.gz", label, scan, about="label.nii.gz")
    if written is not None:
        again = attempt(read_like, written, scan)
        assert again is not None and np.array_equal(again, label), "a label was read differently"


@functools.cache
def seeds() -> dict[str, list[bytes]]:
    """Return small files of each kind by suffix."""
    niftis = _niftis()
    grey = np.arange(20 * 16, dtype=np.uint8).reshape(20, 16)
    colour = np.stack([grey, grey[::-1], grey], -1)
    images = [
        Image.fromarray(grey),
        Image.fromarray(colour),
        Image.fromarray(grey.astype(np.uint16) * 100),
        Image.fromarray(grey > 100),
        Image.fromarray(colour).quantize(8),
        Image.fromarray(np.dstack([colour, grey])),
    ]
    jpegs = [_saved(images[0], "JPEG"), _saved(images[1], "JPEG", exif=_exif())]
    tiffs = _tiffs(grey, colour)
    return {
        ".nii": niftis,
        ".nii.gz": [gzip.compress(data, mtime=0) for data in niftis],
        ".hdr": [niftis[0][:348]],
        ".img": [niftis[0][352:]],
        ".png": [_saved(image, "PNG") for image in images],
        ".jpg": jpegs,
        ".jpeg": jpegs,
        ".bmp": [_saved(images[i], "BMP") for i in (0, 1, 4)],
        ".tif": tiffs,
        ".tiff": tiffs,
    }


def _niftis() -> list[bytes]:
    rng = np.random.default_rng(0)
    oblique = np.array([[1.9, 0.3, 0, -5], [-0.3, 1.9, 0, 7], [0, 0, 2.5, 9], [0, 0, 0, 1]])
    volume = rng.integers(0, 5, (7, 6, 5)).astype(np.int16)
    rgb = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"] = rng.integers(0, 255, rgb.shape)
    scaled = nib.Nifti1Image(volume, oblique)
    scaled.header.set_slope_inter(0.5, 3)
    vectors = nib.Nifti1Image(np.float32(rng.random((5, 4, 3, 1, 3))), np.eye(4))
    vectors.header.set_intent(1007)
    images = [
        nib.Nifti1Image(volume, np.diag([1, 2, 3, 1])),
        scaled,
        nib.Nifti1Image(np.float32(rng.random((5, 4, 3, 2))), oblique),
        nib.Nifti1Image(rgb, oblique),
        vectors,
        nib.Nifti2Image(volume, oblique),
        nib.Nifti1Image(np.uint8(rng.integers(0, 3, (8, 7, 1))), np.eye(4)),
    ]
    return [image.to_bytes() for image in images]


def _tiffs(grey: np.ndarray, colour: np.ndarray) -> list[bytes]:
    stack = np.stack([grey] * 4)
    ome = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0, "axes": "ZYX"}
    written = [
        (grey, {}),
        (colour, {"photometric": "rgb"}),
        (stack, {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um", "spacing": 3}}),
        (np.stack([stack] * 2), {"imagej": True, "metadata": {"axes": "TZYX"}}),
        (stack, {"ome": True, "metadata": ome}),
        (grey, {"compression": "zlib"}),
        (np.float32(grey), {"compression": "lzma"}),
        (np.tile(grey, (2, 2)), {"tile": (16, 16)}),
        (grey, {"photometric": "miniswhite"}),
        (stack.astype(np.uint16), {"bigtiff": True, "photometric": "minisblack"}),
    ]
    found = []
    for array, options in written:
        file = io.BytesIO()
        tifffile.imwrite(file, array, software=False, **options)
        # A random number, of the length of this one.
        found.append(re.sub(rb"(?<=urn:uuid:)[0-9a-f-]{36}", b"0" * 36, file.getvalue()))
    palette = Image.fromarray(colour).quantize(8)
    found += [_saved(palette, "TIFF"), _saved(Image.fromarray(grey), "TIFF", "tiff_lzw")]
    return found


def _saved(image: Image.Image, kind: str, compression: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    if compression is not None:
        options["compression"] = compression
    image.save(file, kind, **options)
    return file.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def _damaged_image(data: bytes, rng: Random) -> bytes:
    compressed = data[:2] == b"\x1f\x8b"
    if compressed and rng.random() < 0.8:
        inside = _damaged_image(gzip.decompress(data), rng)
        return gzip.compress(inside, 1, mtime=0)
    if rng.random() < 0.5:
        if data[:4] == b"II*\0":
            return _with_other_tag(data, rng)
        if data[:4] == b"\x89PNG":
            return _with_other_chunk(data, rng)
        if data[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0"):
            return _with_other_field(data, rng)
    return damaged(data, rng, other=rng.choice(seeds()[rng.choice((".png", ".tif", ".nii"))]))


def _with_other_field(data: bytes, rng: Random) -> bytes:
    """Return a NIfTI file in which one to three fields of the header have an unlikely value."""
    kind = nib.Nifti2Header if data[:1] == b"\x1c" else nib.Nifti1Header
    dtype = kind.template_dtype
    header = np.frombuffer(data[: dtype.itemsize], dtype).copy()
    for _ in range(rng.choice((1, 1, 2, 3))):
        field = header[rng.choice([name for name in dtype.names if name != "sizeof_hdr"])]
        if field.dtype.kind == "S":
            field[...] = rng.choice((b"", b"\xff" * 80, b"n+1", b"ni1", b"\x1b[2J\n"))
            continue
        flat = field.reshape(-1)
        value = rng.choice(NUMBERS)
        if flat.dtype.kind in "iu":
            bits = 8 * flat.dtype.itemsize
            number = int(value) if abs(value) < 2**70 else -1
            number = rng.choice((number, rng.randrange(2**bits), rng.randrange(9))) % 2**bits
            flat[rng.randrange(len(flat))] = np.array(number, f"u{bits // 8}").view(flat.dtype)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                flat[rng.randrange(len(flat))] = np.float64(min(value, 10**308)).astype(flat.dtype)
    return header.tobytes() + data[dtype.itemsize :]


def _with_other_tag(data: bytes, rng: Random) -> bytes:
    """Return a TIFF in which one to three tags have another type, count or value."""
    result = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = start + 2 + TIFF_ENTRY.size * rng.randrange(count)
        entry = list(TIFF_ENTRY.unpack_from(result, place))
        part = rng.choice((0, 1, 2, 3, 3, 3))
        largest = 2 ** (16 if part < 2 else 32)
        entry[part] = rng.choice(
            (rng.randrange(20), largest - 1, largest // 2, rng.randrange(largest), entry[part] + 1)
        )
        TIFF_ENTRY.pack_into(
            result,
            place,
            *(min(v, m) for v, m in zip(entry, (2**16 - 1,) * 2 + (2**32 - 1,) * 2, strict=True)),
        )
    return bytes(result)


def _with_other_chunk(data: bytes, rng: Random) -> bytes:
    """Return a PNG in which one chunk is changed, repeated or missing, with the right checksums."""
    chunks, position = [], 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunks.append(
            (data[position + 4 : position + 8], data[position + 8 : position + 8 + length])
        )
        position += 12 + length
    index = rng.randrange(len(chunks))
    kind, content = chunks[index]
    choice = rng.randrange(6)
    if choice == 0:
        chunks.insert(index, (kind, content))
    elif choice == 1:
        del chunks[index]
    elif choice == 2:
        text = zlib.compress(b"x" * 2**22)
        chunks.insert(1, (rng.choice((b"zTXt", b"iCCP")), b"key\0\0" + text))
    elif choice == 3:
        frames = struct.pack(">II", rng.choice((0, 1, 2, 2**31)), 0)
        chunks.insert(1, (b"acTL", frames))
    elif kind == b"IHDR" and choice == 4:
        size = [rng.choice((0, 1, 16, 20, 30_000, 2**31 - 1)) for _ in range(2)]
        chunks[index] = (kind, struct.pack(">II", *size) + content[8:])
    else:
        chunks[index] = (kind, damaged(content, rng) if content else b"\0")
    parts = [
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return data[:8] + b"".join(parts)
