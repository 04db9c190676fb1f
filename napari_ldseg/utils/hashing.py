"""Hashes, to detect whether a file has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import LDSegError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex. Raises LDSegError if it cannot be read."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise LDSegError(f"{path} is not a regular file; choose an image file.")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror or error}.") from error
