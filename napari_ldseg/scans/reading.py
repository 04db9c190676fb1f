"""What a library raises for a damaged file, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LDSegError
from ..utils.text import one_line


@contextmanager
def plain_reading_errors(path: Path, format: str) -> Iterator[None]:
    """Turn what is raised inside into an LDSegError that the file cannot be read as ``format``."""
    try:
        yield
    except LDSegError:
        raise
    except Exception as error:
        reason = one_line(error, 120).rstrip(".?")
        raise LDSegError(f"{path.name} cannot be read as {format}: {reason}.") from error
