"""What all commands share: errors as one sentence and an exit code."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from ..errors import LDSegError, is_out_of_memory, os_error_sentence
from ..utils.durations import clock

INTERRUPTED = 130


@contextmanager
def plain_errors(exit_code: int = 1) -> Iterator[None]:
    """Turn an error of ours, of the disk or of too little memory into a sentence and an exit code."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (LDSegError, OSError, MemoryError, RuntimeError) as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        typer.echo(sentence, err=True)
        raise typer.Exit(exit_code) from error


def _sentence(error: Exception) -> str | None:
    """Return an error as one sentence; None if it is a mistake in the program."""
    if isinstance(error, LDSegError):
        return str(error)
    if isinstance(error, OSError):
        return os_error_sentence(error)
    if is_out_of_memory(error):
        return (
            "There is too little memory for this; close other programs, or take a smaller batch, "
            "smaller images or fewer samples."
        )
    return None


class Countdown:
    """How far a job is and the time it still needs, on standard error.

    On a terminal one line that renews itself; elsewhere a line every 30 seconds.
    """

    def __init__(self, total: int, what: str):
        self._total, self._what, self._done = total, what, 0
        self._started = self._spoken = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def advance(self, number: int = 1) -> None:
        """Count ``number`` more as done."""
        self._done += number
        now, last = time.monotonic(), self._done >= self._total
        if not last and now - self._spoken < (0.2 if self._terminal else 30):
            return
        self._spoken = now
        left = (now - self._started) / self._done * (self._total - self._done)
        line = f"{self._done}/{self._total} {self._what}, {clock(left)} left"
        if self._terminal:
            typer.echo(f"\r{line:60}", nl=last, err=True)
        else:
            typer.echo(line, err=True)


def stop_signals() -> Callable[[], bool]:
    """Return a function that tells whether SIGINT or SIGTERM came; a second one stops at once."""
    came: list[int] = []

    def handle(number, frame):
        if came:
            raise KeyboardInterrupt
        came.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return lambda: bool(came)
