"""How the command line ends on SIGINT (Ctrl-C) and SIGTERM; imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130  # the exit code


def quit_on_signals() -> None:
    """Let a signal end the process at once, without a traceback.

    For when there is nothing to clean up yet: torch is imported for seconds, and an exception can get lost
    in an import.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(INTERRUPTED))


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on a signal, so that unfinished files are removed; a second one ends at once."""

    def handle(number, frame):
        quit_on_signals()
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def stop_signals() -> Callable[[], bool]:
    """Return a function that returns whether a signal was received; a second one raises KeyboardInterrupt."""
    received: list[int] = []

    def handle(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    for number in SIGNALS:
        signal.signal(number, handle)
    return lambda: bool(received)
