"""The journal of a case: an append-only file of changed voxels, valid after any crash.

The first line is JSON with the grid's shape and the case's identity. Each record after it is a length, a CRC-32, a time and a
zlib-compressed list of runs (start, length, label, whether edited) over the grid's voxels in C order.
The values are absolute, so replaying a record twice changes nothing. An incomplete last record fails its
length or its CRC and is dropped.
"""

from __future__ import annotations

import math
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..errors import LDSegError
from ..utils.atomic import atomic_write

HEAD = struct.Struct("<IId")
COUNT = struct.Struct("<I")
RUN_BYTES = 8 + 4 + 8 + 1
MAX_HEADER = 1000
VALUES = np.iinfo(np.int32)  # of the label's file


class Header(BaseModel):
    """The first line; ``case`` is None in journals of earlier versions."""

    version: Annotated[Literal[1], Field(alias="LDSeg journal")] = 1
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    case: str | None = None


@dataclass(frozen=True)
class Change:
    """Voxels by flat index with their new label and whether they count as edited."""

    when: float
    indices: np.ndarray
    labels: np.ndarray
    edited: np.ndarray

    def apply(self, label: np.ndarray, edited: np.ndarray) -> None:
        """Write the change into the two C-contiguous arrays of the grid's shape."""
        label.reshape(-1)[self.indices] = self.labels
        edited.reshape(-1)[self.indices] = self.edited


def encode(indices: np.ndarray, labels: np.ndarray, edited: np.ndarray) -> bytes:
    """Return one record of voxels by ascending flat index (n,), label (n,) and edited flag (n,)."""
    indices = indices.astype("<i8")
    labels, edited = labels.astype("<i8"), edited.astype("u1")
    new = np.ones(len(indices), bool)
    new[1:] = (np.diff(indices) != 1) | (np.diff(labels) != 0) | (np.diff(edited) != 0)
    first = np.flatnonzero(new)
    lengths = np.diff(np.append(first, len(indices))).astype("<u4")
    starts = indices[first]
    columns = (
        np.diff(starts, prepend=0).astype("<i8"),
        lengths,
        labels[first],
        edited[first],
    )
    payload = zlib.compress(COUNT.pack(len(first)) + b"".join(c.tobytes() for c in columns), 1)
    now = time.time()
    crc = zlib.crc32(payload, zlib.crc32(struct.pack("<d", now)))
    return HEAD.pack(len(payload), crc, now) + payload


def begin(path: Path, shape: tuple[int, ...], case: str | None = None) -> int:
    """Write an empty journal, replacing any other; return its size in bytes.

    It is for a grid of ``shape`` and the case with the identity ``case``.
    """
    line = Header(shape=shape, case=case).model_dump_json(by_alias=True).encode() + b"\n"
    with atomic_write(path, ".part") as temporary:
        temporary.write_bytes(line)
    return len(line)


def append(path: Path, size: int, records: bytes) -> int:
    """Write ``records`` after the first ``size`` bytes of the journal, to the disk; return the new size.

    What an earlier, failed attempt wrote after ``size`` is overwritten. Raises OSError, also if the journal
    is missing or shorter than ``size``.
    """
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    try:
        if os.fstat(handle).st_size < size:
            raise FileNotFoundError(f"{path} is no longer what was written")
        os.ftruncate(handle, size)
        os.lseek(handle, size, os.SEEK_SET)
        rest = memoryview(records)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return size + len(records)


def read(path: Path, shape: tuple[int, ...], case: str | None = None) -> Iterator[Change]:
    """Yield all complete changes in order, one at a time in memory, of a journal for a grid of ``shape``.

    ``case`` is the identity of the case, None if it has none.

    Raises
    ------
    LDSegError
        If the file is not a journal, or one for another grid or another case, or holds a label value
        that no label can have.
    OSError
        If it cannot be read.
    """
    data = path.read_bytes()
    header, position = _header(path, data)
    if header.shape != shape:
        raise LDSegError(
            f"{path} was written on a grid of {header.shape}, but the label has {shape}; restore the label that "
            "belongs to it."
        )
    if header.case is not None and case is not None and header.case != case:
        raise LDSegError(
            f"{path} was written for another case; move it back to that case's folder, or delete it."
        )
    while position + HEAD.size <= len(data):
        length, crc, when = HEAD.unpack_from(data, position)
        payload = data[position + HEAD.size : position + HEAD.size + length]
        if len(payload) < length:
            break
        if zlib.crc32(payload, zlib.crc32(struct.pack("<d", when))) != crc:
            break
        change = _decode(payload, when, math.prod(shape))
        if change is None:
            break
        check_values(change.labels, str(path), "rename the journal to open the case without it")
        yield change
        position += HEAD.size + length


def check_values(labels: np.ndarray, name: str, remedy: str = "undo that") -> None:
    """Raise LDSegError, naming ``name``, if a value of ``labels`` is beyond int32."""
    outside = (labels < VALUES.min) | (labels > VALUES.max)
    if outside.any():
        raise LDSegError(
            f"{name} holds the label value {labels[outside][0]}, which no label can have; {remedy}."
        )


def _header(path: Path, data: bytes) -> tuple[Header, int]:
    """Return the header and where the records begin. Raises LDSegError."""
    end = data.find(b"\n", 0, MAX_HEADER)
    try:
        return Header.model_validate_json(data[: max(end, 0)]), end + 1
    except ValidationError as error:
        raise LDSegError(
            f"{path} is not a journal of this plugin; it was left as it is."
        ) from error


def _decode(payload: bytes, when: float, voxels: int) -> Change | None:
    """Return the change, or None if it does not fit a grid of ``voxels``."""
    limit = COUNT.size + RUN_BYTES * voxels
    try:
        raw = zlib.decompressobj().decompress(payload, limit + 1)
    except zlib.error:
        return None
    (count,) = COUNT.unpack_from(raw) if len(raw) >= COUNT.size else (-1,)
    if len(raw) != COUNT.size + RUN_BYTES * count:
        return None
    columns, offset = [], COUNT.size
    for kind in ("<i8", "<u4", "<i8", "u1"):
        columns.append(np.frombuffer(raw, kind, count, offset))
        offset += columns[-1].nbytes
    gaps, lengths, labels, edited = columns
    starts, sizes = np.cumsum(gaps), lengths.astype(np.int64)
    ends = starts + sizes
    if count and (starts.min() < 0 or max(starts.max(), ends[-1]) > voxels):
        return None
    if (starts[1:] < ends[:-1]).any():
        return None
    before = np.cumsum(sizes) - sizes
    indices = np.repeat(starts - before, sizes) + np.arange(sizes.sum())
    return Change(when, indices, np.repeat(labels, sizes), np.repeat(edited, sizes).astype(bool))
