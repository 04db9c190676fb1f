"""Names that nothing else has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, count


def free_name(wanted: str, is_taken: Callable[[str], bool], numbered: str = "{}-{}") -> str:
    """Return ``wanted``, or, where it is taken, with the first free number from 2 on: scan-2."""
    names = chain([wanted], (numbered.format(wanted, number) for number in count(2)))
    return next(name for name in names if not is_taken(name))
