"""Hiding the warnings of a library in several threads at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_inside = 0
_filters = warnings.catch_warnings()


@contextmanager
def hidden_warnings() -> Iterator[None]:
    """Hide all warnings of the process until the last thread has left the block.

    ``warnings.catch_warnings`` restores the filters that it found: of two threads that overlap, the second
    would restore those of the first for good.
    """
    global _inside, _filters
    with _lock:
        if not _inside:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _filters.__exit__(None, None, None)
