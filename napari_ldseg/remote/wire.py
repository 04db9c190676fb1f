"""The messages between a server and its client: some JSON and some arrays, in both directions.

A message is the length of a JSON text (4 bytes, big-endian), the text, and each array as zlib data. The text has the
``fields``, and the name, type, shape and compressed bytes of each array. A stream is one message after the other.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import LDSegError

MAX_TEXT_BYTES = 16 * 2**20
KINDS = "buif"  # of numpy's types: none that can hold an object
LEVEL = 1  # the fastest of zlib; noise hardly shrinks at any
BLOCK = 2**22
FOREIGN = "The message is damaged, or from another version of the program."


@dataclass(frozen=True)
class Message:
    """What was sent: anything that JSON can hold, and arrays by name."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def pack(message: Message, check: Callable[[], None] = lambda: None) -> bytes:
    """Return ``message`` as bytes. ``check`` is called every few MiB and may raise to end it."""
    described, blocks = [], []
    for name, array in message.arrays.items():
        data = np.ascontiguousarray(array)
        packed = _compressed(data, check)
        described.append(
            {
                "name": name,
                "dtype": data.dtype.str,
                "shape": list(np.shape(array)),
                "bytes": sum(map(len, packed)),
            }
        )
        blocks += packed
    text = json.dumps({"fields": message.fields, "arrays": described}).encode()
    return b"".join([struct.pack(">I", len(text)), text, *blocks])


def unpack(read: Callable[[int], bytes], most: int) -> Message:
    """Return the message that ``read`` gives.

    Parameters
    ----------
    read
        As that of a file.
    most
        Bytes that all arrays together may have in memory.

    Raises
    ------
    LDSegError
        If it is no message or too large; nothing is decompressed before its size is known.
    EOFError
        If it ends too early.
    """
    (length,) = struct.unpack(">I", _exactly(read, 4))
    if length > MAX_TEXT_BYTES:
        raise LDSegError(FOREIGN)
    try:
        content = json.loads(_exactly(read, length))
        fields, described = dict(content["fields"]), list(content["arrays"])
        kinds = [_kind(item) for item in described]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise LDSegError(FOREIGN) from error
    if sum(size for *_, size, _ in kinds) > most:
        raise LDSegError(
            f"The message needs more than the {most / 2**20:.0f} MiB that it may have."
        )
    arrays = {}
    for name, dtype, shape, size, packed in kinds:
        arrays[name] = np.frombuffer(_expanded(read, packed, size), dtype).reshape(shape)
    return Message(fields, arrays)


def _kind(item: Mapping[str, Any]) -> tuple[str, np.dtype, tuple[int, ...], int, int]:
    """Return name, type, shape, bytes and compressed bytes of an array. Raises ValueError, TypeError, KeyError."""
    dtype = np.dtype(str(item["dtype"]))
    shape = tuple(int(n) for n in item["shape"])
    packed = int(item["bytes"])
    size = dtype.itemsize * math.prod(shape)
    if dtype.kind not in KINDS or len(shape) > 16 or min(shape, default=0) < 0:
        raise ValueError("no plain array")
    if not 0 <= packed <= size + size // 256 + 1024:
        raise ValueError("more than zlib could make of it")
    return str(item["name"]), dtype, shape, size, packed


def _compressed(data: np.ndarray, check: Callable[[], None]) -> list[bytes]:
    compressor = zlib.compressobj(LEVEL)
    view, blocks = memoryview(data.reshape(-1).view(np.uint8).data), []
    for start in range(0, len(view), BLOCK):
        check()
        blocks.append(compressor.compress(view[start : start + BLOCK]))
    return [*blocks, compressor.flush()]


def _expanded(read: Callable[[int], bytes], packed: int, size: int) -> bytearray:
    """Return exactly ``size`` bytes that ``packed`` bytes of zlib data make."""
    expander, expanded = zlib.decompressobj(), bytearray()
    try:
        while packed:
            block = _exactly(read, min(packed, BLOCK))
            packed -= len(block)
            expanded += expander.decompress(block, size - len(expanded) + 1)
            if len(expanded) > size:
                break
    except zlib.error as error:
        raise LDSegError(FOREIGN) from error
    if len(expanded) != size or not expander.eof:
        raise LDSegError(FOREIGN)
    return expanded


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    parts = []
    while count:
        part = read(count)
        if not part:
            raise EOFError("the message ends too early")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
