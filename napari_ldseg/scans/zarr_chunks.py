"""Whether the chunks of a Zarr array are stored with codecs that only decompress, and expand to a chunk at most."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from ..errors import LDSegError
from ..utils.text import one_line

# Those whose output can be bounded before they run, then those that keep the size.
COMPRESSORS = ("blosc", "zstd", "lz4", "gzip", "zlib")
OTHERS = ("delta", "shuffle", "bitround", "bytes", "crc32c", "transpose")
SPARE_BYTES = 1024
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
HEAD_BYTES = 18
DESCRIPTIONS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def check_codecs(path: Path, metadata: dict[str, Any]) -> str | None:
    """Return the name of the compressor that ``metadata`` of an array names, None if there is none.

    Raises
    ------
    LDSegError
        If another codec is named, or several compressors.
    """
    parts: list[Any] = [metadata.get(key) for key in ("codecs", "compressor", "filters")]
    found: list[str] = []
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            name = str(part.get("name", part.get("id", ""))).removeprefix("numcodecs.")
            found.append(name)
    unknown = [name for name in found if name not in (*COMPRESSORS, *OTHERS)]
    compressors = [name for name in found if name in COMPRESSORS]
    if unknown or len(compressors) > 1 or metadata.get("storage_transformers"):
        named = one_line(", ".join(unknown or compressors or ["storage transformers"]), 40)
        raise LDSegError(
            f"{path.name} is stored with the codec '{named}', which is not read; save it with blosc, zstd or gzip, "
            "and without shards."
        )
    return compressors[0] if compressors else None


def check_chunks(path: Path, level: Path, compressor: str | None, chunk_bytes: int) -> None:
    """Raise LDSegError if a chunk in the folder ``level`` would expand to far more than ``chunk_bytes``."""
    limit = 2 * chunk_bytes + SPARE_BYTES
    for file in level.rglob("*"):
        if file.name in DESCRIPTIONS or file.is_dir():
            continue
        if not file.is_file():  # reading a pipe would wait for ever
            raise LDSegError(
                f"{level.name} holds {one_line(file.name, 60)}, which is not a regular file; remove it."
            )
        if compressor in ("gzip", "zlib"):
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
            size = len(inflater.decompress(file.read_bytes(), limit + 1))
            if inflater.unused_data:  # a second gzip stream, which would be decompressed as well
                size = limit + 1
        else:
            with file.open("rb") as opened:
                size = _declared(opened.read(HEAD_BYTES), compressor, file.stat().st_size)
        if size > limit:
            raise LDSegError(
                f"{path.name} is damaged: its chunk {file.name} holds more data than the image that it describes."
            )


def _declared(head: bytes, compressor: str | None, length: int) -> int:
    """Return the number of bytes that a chunk expands to, from its first bytes; raises ValueError if unknown."""
    if compressor is None:
        return length
    if compressor == "blosc":
        return int.from_bytes(head[4:8], "little")
    if compressor == "lz4":
        return int.from_bytes(head[:4], "little")
    if head[:4] != ZSTD_MAGIC or len(head) < 6:
        raise ValueError("a chunk is not compressed with zstd")
    flags = head[4]
    single = flags >> 5 & 1
    width = (single, 2, 4, 8)[flags >> 6]
    start = 6 - single + (0, 1, 2, 4)[flags & 3]
    if not width:
        raise ValueError("a chunk does not give its size")
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)
