"""What is needed of a DICOM file's header; nothing that names a patient is kept."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import LDSegError
from ...utils.quiet import hidden_warnings
from ...utils.text import nfc, one_line, reason_of
from ..memory import check_available_memory

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC_AT, MAGIC = 128, b"DICM"
# The first tag of a file without preamble: group 2 or 8, little or big endian.
BARE_STARTS = (
    b"\x02\0\0\0",
    b"\x08\0\0\0",
    b"\x08\0\5\0",
    b"\x08\0\x08\0",
    b"\0\x08\0\5",
    b"\0\x08\0\x08",
)
DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_DEFLATED = 2**30
PATIENT_WORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientBirthName",
    "OtherPatientNames",
    "OtherPatientIDs",
)
RUST_MODULE = "pyo3_runtime"
DIRECTORY = "1.2.840.10008.1.3.10"
TIMES = (
    "TemporalPositionIdentifier",
    "TriggerTime",
    "AcquisitionNumber",
    "EchoTime",
    "AcquisitionTime",
    "ContentTime",
    "InstanceNumber",
)
KEYWORDS = (
    *(
        "SOPClassUID",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "ImageType",
    ),
    *("SeriesDescription", *PATIENT_WORDS, "PatientIdentityRemoved", "Rows", "Columns"),
    *("SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "TotalPixelMatrixRows"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", *TIMES),
)


class Header(NamedTuple):
    """The part of a file's header that tells which image it belongs to, and where.

    ``shape`` is (frames, rows, columns, samples), zeros for an object without pixels. ``position`` and
    ``orientation`` are in DICOM's LPS; ``spacing`` is (between rows, between columns). ``times`` has a value
    or None for each of ``TIMES``. ``private`` are words of the patient's name and number in lower case.
    """

    path: Path
    kind: str
    instance: str
    series: str
    modality: str
    number: str
    description: str
    shape: tuple[int, int, int, int]
    bits: int
    tiled: bool
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float
    times: tuple[Any, ...]
    private: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Return whether the first bytes are those of DICOM; without preamble only where the suffix says so too."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(MAGIC_AT + len(MAGIC))
    except OSError:
        return False
    if head[MAGIC_AT:] == MAGIC:
        return True
    return path.suffix.lower() in DICOM_SUFFIXES and head.startswith(BARE_STARTS)


def read_header(path: Path) -> Header:
    """Return the header of a DICOM file. Raises LDSegError if it is damaged."""
    try:
        status = path.stat()
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _read_header(path, status.st_mtime_ns, status.st_size)


@contextmanager
def plain_dicom_errors(path: Path) -> Iterator[None]:
    """Turn whatever pydicom and the decoders raise for the file ``path`` into an LDSegError.

    Their warnings repeat the values of tags, so they are not shown.
    """
    try:
        with hidden_warnings():
            yield
    except LDSegError:
        raise
    except BaseException as error:
        # The RLE decoder, written in Rust, raises an exception of its own that is no Exception.
        if not isinstance(error, Exception) and type(error).__module__ != RUST_MODULE:
            raise
        reason = reason_of(without_values(error))
        raise LDSegError(f"{path.name} cannot be read as DICOM: {reason}.") from error


def without_values(error: object) -> str:
    """Return the text of an error of a library without what it quotes, which may be the patient's name."""
    return re.sub(r"""['"].*['"]""", "...", str(error), flags=re.DOTALL)


def read_dataset(path: Path, keywords: tuple[str, ...] | None = None) -> Any:
    """Return the pydicom dataset of a file, with ``keywords`` only those tags and no pixels.

    Raises LDSegError for a compressed dataset that is too large, else what pydicom raises.
    """
    import pydicom

    size = path.stat().st_size
    if keywords is None:
        check_available_memory(path.name, 2 * size, "give a smaller part of it")
    _check_deflated(path, pydicom)
    dataset = pydicom.dcmread(
        path,
        force=True,
        stop_before_pixels=keywords is not None,
        specific_tags=None if keywords is None else list(keywords),
    )
    meta = dataset.file_meta
    if meta.get("TransferSyntaxUID") is None:
        implicit, little = dataset.original_encoding
        meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if implicit
            else pydicom.uid.ExplicitVRLittleEndian
            if little
            else pydicom.uid.ExplicitVRBigEndian
        )
    return dataset


def _check_deflated(path: Path, pydicom: Any) -> None:
    """Refuse a deflated dataset that would expand without bounds when pydicom opens it."""
    with path.open("rb") as file:
        pydicom.filereader.read_preamble(file, force=True)  # a file may do without
        meta = pydicom.filereader._read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") != DEFLATED:
            return
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        total = 0
        while block := file.read(2**16):
            total += len(inflater.decompress(block, MAX_DEFLATED + 1 - total))
            check_available_memory(path.name, 2 * total, "save it without compression")
            if total > MAX_DEFLATED or inflater.unconsumed_tail:
                raise LDSegError(
                    f"{path.name} expands to more than 1 GiB; save it without compression."
                )


@functools.lru_cache(maxsize=2**14)
def _read_header(path: Path, time: int, size: int) -> Header:
    with plain_dicom_errors(path):
        dataset = read_dataset(path, KEYWORDS)
        rows, columns = (int(dataset.get(name) or 0) for name in ("Rows", "Columns"))
        frames = max(1, int(dataset.get("NumberOfFrames") or 1))
        samples = int(dataset.get("SamplesPerPixel") or 1)
        has_pixels = rows > 0 and columns > 0 and samples > 0
        kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
        names = (
            () if str(dataset.get("PatientIdentityRemoved")) == "YES" else _private_words(dataset)
        )
        return Header(
            path=path,
            kind=str(kind or ""),
            instance=str(dataset.get("SOPInstanceUID") or ""),
            series=str(dataset.get("SeriesInstanceUID") or ""),
            modality=one_line(dataset.get("Modality") or "", 16),
            number=one_line(_text(dataset.get("SeriesNumber")), 16),
            description=one_line(_text(dataset.get("SeriesDescription")), 64),
            shape=(frames, rows, columns, samples) if has_pixels else (0, 0, 0, 0),
            bits=int(dataset.get("BitsAllocated") or 8),
            tiled=dataset.get("TotalPixelMatrixRows") is not None,
            position=numbers(dataset.get("ImagePositionPatient"), 3),
            orientation=numbers(dataset.get("ImageOrientationPatient"), 6),
            spacing=numbers(dataset.get("PixelSpacing"), 2),
            thickness=float(
                dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 0
            ),
            times=tuple(_time(dataset.get(name)) for name in TIMES),
            private=names,
        )


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """Return a tag's ``count`` finite numbers; None if it is missing or empty; raises LDSegError for others."""
    if value is None or value == "" or (hasattr(value, "__len__") and not len(value)):
        return None
    found = tuple(float(v) for v in value)
    if len(found) != count or not all(abs(v) < 1e9 for v in found):  # NaN fails as well
        raise ValueError(f"{count} numbers were expected, not {value}")
    return found


def _time(value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _private_words(dataset: Any) -> tuple[str, ...]:
    text = nfc(" ".join(_text(dataset.get(keyword)) for keyword in PATIENT_WORDS)).casefold()
    return tuple(word for word in re.split(r"[^\w.-]+", text) if _tells(word))


def _tells(word: str) -> bool:
    """Return whether a part of a name or number is more than an initial or a small number."""
    return len(word) > 2 or not word.isascii() or (len(word) == 2 and word.isalpha())
