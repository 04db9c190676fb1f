"""JSON files that pydantic validates: bounded when read, atomic when written."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import LDSegError
from .atomic import atomic_write

MAX_BYTES = 4 * 2**20
Record = TypeVar("Record", bound=BaseModel)


def read_record(path: Path, kind: type[Record], max_bytes: int = MAX_BYTES) -> Record:
    """Return the validated content of ``path``.

    Raises
    ------
    LDSegError
        If the file is missing, larger than ``max_bytes``, not JSON, or not of this kind.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise LDSegError(f"{path} is too large for a project's file; remove it.")
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
        return kind.model_validate_json(text)
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


def not_utf8(path: Path) -> LDSegError:
    """Return the error for a text file in another encoding."""
    return LDSegError(f"{path} is not in the encoding UTF-8; save it as UTF-8 text.")


def write_record(path: Path, record: BaseModel) -> None:
    """Write ``record`` as JSON, atomically. Raises OSError."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    with atomic_write(path, ".json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
