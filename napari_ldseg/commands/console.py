"""What all commands share: errors as one sentence and an exit code, and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ..errors import LDSegError, is_out_of_memory, os_error_sentence
from ..utils.installed import explained
from ..utils.signals import INTERRUPTED
from ..utils.text import clock

SECONDS_BETWEEN_LINES = 30


@contextmanager
def plain_errors(exit_code: int = 1) -> Iterator[None]:
    """Turn an LDSegError, an error of the disk or too little memory into one sentence and an exit code.

    An interruption has the exit code ``INTERRUPTED``.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except (LDSegError, OSError, MemoryError, RuntimeError, ImportError) as error:
        message = _message(error)
        if message is None:
            raise
        typer.echo(message, err=True)
        raise typer.Exit(exit_code) from error


def _message(error: Exception) -> str | None:
    """Return an error as one sentence; None if it is a bug."""
    if isinstance(error, LDSegError):
        return str(error)
    if isinstance(error, OSError):
        return os_error_sentence(error)
    if isinstance(error, ImportError):
        missing = explained(error)
        return None if missing is None else str(missing)
    if is_out_of_memory(error):
        return (
            "Out of memory; close other programs, or use a smaller batch, smaller images or fewer "
            "samples."
        )
    return None


class ProgressBar:
    """The progress of a job and its time left, on standard error.

    A bar on a terminal; elsewhere a line every 30 seconds and at the end. Use it as a context manager,
    so that the terminal is restored if the job fails.

    Parameters
    ----------
    total
        Number of units of work.
    unit
        The name of a unit, in the plural.
    lines
        Whether to print lines if there is no terminal.
    enabled
        Whether to show the progress at all; ``print`` always prints.
    """

    def __init__(self, total: float, unit: str, *, lines: bool = True, enabled: bool = True):
        self._total, self._unit, self._done = total, unit, 0.0
        self._lines = lines and enabled
        self._started = self._printed = time.monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if enabled and sys.stderr.isatty() and not console.is_dumb_terminal:
            text = TextColumn("{task.description}", markup=False)
            # Standard output may be read by another program and must not go through the bar.
            self._bar = Progress(BarColumn(), text, console=console, redirect_stdout=False)
            self._task = self._bar.add_task(f"0/{total} {unit}", total=total)

    @property
    def on_terminal(self) -> bool:
        """Whether a bar is shown."""
        return self._bar is not None

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, number: float = 1) -> None:
        """Add ``number`` units to the done ones."""
        self.update(self._done + number)

    def update(
        self, done: float, seconds_left: float | None = None, note: str = "", now: bool = False
    ) -> None:
        """Show that ``done`` units are done.

        ``seconds_left`` is by default estimated from the time so far, ``note`` is added to the text, and
        with ``now`` a line is printed even within the 30 seconds.
        """
        self._done = done
        if seconds_left is None:
            elapsed = time.monotonic() - self._started
            seconds_left = elapsed / done * (self._total - done) if done > 0 else None
        left = "" if seconds_left is None else f", {clock(seconds_left)} left"
        text = f"{int(done)}/{self._total} {self._unit}{note and f', {note}'}{left}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text)
        elif self._lines:
            moment = time.monotonic()
            last = done >= self._total
            if now or last or moment - self._printed >= SECONDS_BETWEEN_LINES:
                self._printed = moment
                typer.echo(text, err=True)

    def print(self, text: str) -> None:
        """Print a line to standard error, above the bar if there is one."""
        if self._bar is None:
            typer.echo(text, err=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
