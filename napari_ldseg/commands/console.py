"""What all commands share: errors as one sentence and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..errors import LDSegError


@contextmanager
def plain_errors(exit_code: int = 1) -> Iterator[None]:
    """Turn LDSegError into its sentence on standard error and an exit code."""
    try:
        yield
    except LDSegError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(exit_code) from error
