"""What all commands share: errors as one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import LDSegError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn LDSegError into its sentence on standard error and exit code 1."""
    try:
        yield
    except LDSegError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
