"""The values of DICOM images: decoded within the declared size, as the modality means them, never inverted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import LDSegError
from ..memory import check_size

BYTES_PER_SAMPLE = 8  # of decoding: the file, the decoded samples and their copy
MAX_PALETTE = 2**16
DISCRETE, LINEAR = 0, 1  # kinds of segments of a palette
RLE = "1.2.840.10008.1.2.5"
RLE_EXPANSION = 64  # two bytes become at most 128
JPEG_EXPANSION = 10_000  # far more than any image has
J2K_BOX = b"\0\0\0\x0cjP  "
J2K_START, JPEG_START = b"\xff\x4f\xff\x51", b"\xff\xd8"
# Start of frame of every kind of JPEG, and of JPEG-LS.
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


class Values(NamedTuple):
    """How stored numbers become values: slope * stored + intercept, of ``top`` - stored where inverted."""

    slope: float = 1.0
    intercept: float = 0.0
    top: int | None = None

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return float(self.slope).is_integer() and float(self.intercept).is_integer()

    @property
    def plain(self) -> bool:
        """Whether the stored numbers are the values."""
        return self.slope == 1 and self.intercept == 0 and self.top is None

    def of(self, stored: np.ndarray) -> np.ndarray:
        """Return the values as int64 or float64."""
        stored = stored.astype(
            np.int64 if self.whole and stored.dtype.kind in "biu" else np.float64
        )
        stored = stored if self.top is None else self.top - stored
        if self.whole and stored.dtype == np.int64:
            return stored * int(self.slope) + int(self.intercept)
        return stored * self.slope + self.intercept

    def window(self, centre: float, width: float) -> tuple[float, float]:
        """Return the smallest and the largest shown value of a file's window."""
        low, high = centre - width / 2, centre + width / 2
        if self.top is None:
            return low, high
        turned = self.slope * self.top + 2 * self.intercept
        return turned - high, turned - low


def stored_pixels(dataset: Any, name: str) -> np.ndarray:
    """Return (frames, rows, columns) or, in colour, (frames, rows, columns, 3) of a file ``name``.

    Raises
    ------
    LDSegError
        If it is too large, or the compressed data are of another size than the header gives.
    Exception
        Of pydicom and the decoders, for damaged data.
    """
    from pydicom.pixels import apply_color_lut, get_decoder

    frames = max(1, int(dataset.get("NumberOfFrames") or 1))
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    check_size(name, (frames, rows, columns, samples), BYTES_PER_SAMPLE)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax.is_encapsulated:
        if not get_decoder(syntax).is_available:
            raise LDSegError(
                f"{name} is compressed as {syntax.name}; install its decoder with pip install 'napari-ldseg[jpeg]', or "
                "save it without compression."
            )
        _check_frames(dataset, name, (frames, rows, columns, samples))
    _check_palette(dataset)
    array = np.asarray(dataset.pixel_array)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        array = apply_color_lut(array, dataset)[..., :3]
        array = (array >> 8).astype(np.uint8) if array.dtype.itemsize == 2 else array
        samples = 3
    shape = (frames, rows, columns) + ((samples,) if samples > 1 else ())
    if array.size != np.prod(shape) or samples not in (1, 3, 4):
        raise ValueError(f"{array.shape} pixels were decoded instead of {shape}")
    array = array.reshape(shape)
    return array[..., :3] if samples == 4 else array


def values_of(dataset: Any, transformation: Any = None) -> Values:
    """Return how the stored numbers of a file, or of a frame with its ``transformation``, become values."""
    transformation = dataset if transformation is None else transformation
    slope = transformation.get("RescaleSlope")
    intercept = transformation.get("RescaleIntercept")
    slope = 1.0 if slope in (None, "") else float(slope)
    intercept = 0.0 if intercept in (None, "") else float(intercept)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise ValueError(f"its rescale slope {slope} and intercept {intercept} give no values")
    top = None
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        signed = int(dataset.get("PixelRepresentation") or 0) == 1
        top = -1 if signed else 2 ** int(dataset.BitsStored) - 1
    return Values(slope, intercept, top)


def window_of(dataset: Any, values: Values) -> tuple[float, float] | None:
    """Return the first window (low, high) of a file or of a VOI LUT item; None without a usable one."""
    found = []
    for name in ("WindowCenter", "WindowWidth"):
        value = dataset.get(name)
        first = (
            value[0]
            if isinstance(value, Sequence) and not isinstance(value, str) and value
            else value
        )
        try:
            found.append(float(first))
        except (TypeError, ValueError):
            return None
    centre, width = found
    if not np.isfinite(found).all() or width < 1e-6 * max(1.0, abs(centre)):
        return None
    return values.window(centre, width)


def in_smallest_type(planes: list[np.ndarray], values: Sequence[Values]) -> np.ndarray:
    """Return the values of ``planes`` as one array (planes, ...), the stored type where that holds them.

    Whole numbers else become int16, uint16 or int32, others float32. ``planes`` is emptied on the way.
    """
    first = planes[0]
    dtype: Any = np.float32
    same_type = all(plane.dtype == first.dtype for plane in planes)
    if same_type and all(value.plain for value in values):
        dtype = first.dtype
    elif all(v.whole for v in values) and all(plane.dtype.kind in "biu" for plane in planes):
        ends = [
            end
            for plane, value in zip(planes, values, strict=True)
            for end in value.of(np.array([plane.min(), plane.max()]))
        ]
        for kind in (np.uint8, np.int16, np.uint16, np.int32):
            limits = np.iinfo(kind)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                dtype = kind
                break
    result = np.empty((len(planes), *first.shape), dtype)
    for i, value in enumerate(values):
        with np.errstate(over="raise", invalid="ignore"):
            result[i] = planes[i] if value.plain else value.of(planes[i])
        planes[i] = first[:0]
    return result


def _check_palette(dataset: Any) -> None:
    """Raise ValueError for a segmented palette that would expand to more than a palette (PS3.3 C.7.9.2)."""
    for colour in ("Red", "Green", "Blue", "Alpha"):
        data = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
        if not data:
            continue
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        wide = int(dataset.RedPaletteColorLookupTableDescriptor[2]) > 8
        dtype = np.dtype(("<" if little else ">") + ("u2" if wide else "u1"))
        values = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        at = entries = 0
        while at + 1 < len(values):
            kind, length = int(values[at]), int(values[at + 1])
            if kind not in (DISCRETE, LINEAR):
                raise ValueError("its palette has segments that repeat others")
            at += 2 + (length if kind == DISCRETE else 1)
            entries += length
            if entries > MAX_PALETTE:
                raise ValueError(f"its palette has more than {MAX_PALETTE} colours")


def _check_frames(dataset: Any, name: str, shape: tuple[int, int, int, int]) -> None:
    """Check that each compressed frame describes an image of the declared size, before it is decoded."""
    from pydicom.encaps import generate_frames

    frames, rows, columns, samples = shape
    expected = rows * columns * samples * max(1, int(dataset.BitsAllocated) // 8)
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    parts = generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=offsets)
    count = 0
    for part in parts:
        count += 1
        if dataset.file_meta.TransferSyntaxUID == RLE:
            if expected > RLE_EXPANSION * len(part):
                raise LDSegError(
                    f"{name} is truncated: its compressed data are too short; copy it again."
                )
        elif codestream_shape(part) != (rows, columns, samples) or (
            part.startswith(JPEG_START) and expected > JPEG_EXPANSION * len(part)
        ):
            raise LDSegError(
                f"{name} is damaged: its compressed data are not of the size {columns} x {rows} that its header "
                "gives; copy it again."
            )
    if count < frames:
        raise LDSegError(
            f"{name} is truncated: it holds {count} of {frames} frames; copy it again."
        )


def codestream_shape(data: bytes) -> tuple[int, int, int] | None:
    """Return (rows, columns, samples) of a JPEG, JPEG-LS or JPEG 2000 image; None if it gives none."""
    start = 0
    if data.startswith(J2K_BOX):
        while data[start + 4 : start + 8] != b"jp2c":
            length = int.from_bytes(data[start : start + 4], "big")
            if length < 8 or start + length >= len(data):
                return None
            start += length
        start += 8
    if data[start : start + 4] == J2K_START and len(data) >= start + 42:
        fields = np.frombuffer(data, ">u4", 4, start + 8).astype(int)
        width, height, left, top = fields
        return (
            int(height - top),
            int(width - left),
            int.from_bytes(data[start + 40 : start + 42], "big"),
        )
    if not data.startswith(JPEG_START):
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in FRAME_MARKERS:
            rows = int.from_bytes(data[position + 5 : position + 7], "big")
            columns = int.from_bytes(data[position + 7 : position + 9], "big")
            return rows, columns, data[position + 9]
        if marker == 0xFF:  # fill
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
