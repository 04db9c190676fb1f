"""ZIP archives from others: bounded before anything is unpacked, and copied block by block."""

from __future__ import annotations

import zipfile
from typing import IO

from ..errors import LDSegError

# The two that the zipfile module expands block by block; a few bytes of the others can become gigabytes.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BLOCK = 2**20


def checked_members(
    archive: zipfile.ZipFile, name: str, most_files: int, most_bytes: int, advice: str
) -> list[zipfile.ZipInfo]:
    """Return the files in ``archive``, which messages call ``name`` and end with ``advice``.

    Raises
    ------
    LDSegError
        If they are too many, too large together, encrypted, or compressed in another way than the usual one.
    """
    members = [info for info in archive.infolist() if not info.is_dir()]
    total = sum(info.file_size for info in members)
    if len(members) > most_files:
        raise LDSegError(f"{name} holds more than {most_files} files; {advice}.")
    if total > most_bytes:
        raise LDSegError(
            f"{name} would need {total / 2**30:.1f} GiB of the {most_bytes / 2**30:.1f} GiB that it may have; "
            f"{advice}."
        )
    if any(info.flag_bits & 1 for info in members):
        raise LDSegError(f"{name} is encrypted; {advice}.")
    if any(info.compress_type not in METHODS for info in members):
        raise LDSegError(f"{name} is compressed in an unusual way; {advice}.")
    return members


def copy_blocks(source: IO[bytes], target: IO[bytes], most: int) -> int:
    """Copy at most ``most`` bytes; return how many."""
    left = most
    while left > 0 and (block := source.read(min(BLOCK, left))):
        target.write(block)
        left -= len(block)
    return most - left
