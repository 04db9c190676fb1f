"""JSON files that pydantic validates: bounded when read, atomic when written."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import LDSegError
from .atomic import atomic_write
from .text import one_line

MAX_BYTES = 4 * 2**20
Record = TypeVar("Record", bound=BaseModel)


def read_record(path: Path, kind: type[Record], max_bytes: int = MAX_BYTES) -> Record:
    """Return the validated content of ``path``.

    Raises
    ------
    LDSegError
        If the file is missing, larger than ``max_bytes``, not JSON, has a key twice, or is not of this kind.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise LDSegError(f"{path} is too large for a project's file; remove it.")
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
        record = kind.model_validate_json(text)
        json.loads(text, object_pairs_hook=lambda pairs: _without_repeated_keys(path, pairs))
        return record
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise LDSegError(
            f"{path} is not valid ({where}: {first['msg']}); correct it or restore an older copy."
        ) from error


def _without_repeated_keys(path: Path, pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        repeated = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise LDSegError(
            f"{path} has the key {one_line(repeated, 80)} twice; remove the wrong one."
        )


def not_utf8(path: Path) -> LDSegError:
    """Return the error for a text file in another encoding."""
    return LDSegError(f"{path} is not in the encoding UTF-8; save it as UTF-8 text.")


def write_record(path: Path, record: BaseModel) -> None:
    """Write ``record`` as JSON, atomically.

    Raises
    ------
    LDSegError
        If it holds the name of a file that is not in UTF-8.
    OSError
        If it cannot be written.
    """
    try:
        dump = record.model_dump(mode="json")
        text = f"{json.dumps(dump, indent=1, ensure_ascii=False)}\n".encode()
    except ValueError as error:  # UnicodeEncodeError, or pydantic's own
        raise LDSegError(
            f"{path} cannot hold a name that is not in UTF-8; rename the file or folder with plain letters."
        ) from error
    with atomic_write(path, ".json") as temporary:
        temporary.write_bytes(text)
