"""What a library raises for a damaged file, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LDSegError
from ..utils.text import reason_of


@contextmanager
def plain_reading_errors(path: Path, format: str) -> Iterator[None]:
    """Turn what is raised inside into an LDSegError that the file cannot be read as ``format``."""
    try:
        yield
    except LDSegError:
        raise
    except Exception as error:
        reason = reason_of(error)
        raise LDSegError(f"{path.name} cannot be read as {format}: {reason}.") from error
