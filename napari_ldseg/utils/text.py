"""Short texts: one printable line, one Unicode form, free names, numbers of things, durations."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import chain, count
from typing import Any

from ..errors import printable

FORMULA_STARTS = ("=", "+", "-", "@")


def nfc(text: str) -> str:
    """Return ``text`` in the composed form: an é is one character, not an e and an accent."""
    return unicodedata.normalize("NFC", text)


def one_line(text: object, limit: int = 200) -> str:
    """Return ``str(text)`` as one ``printable`` line of at most ``limit`` characters.

    A text that is too long ends in three dots.
    """
    line = printable(text)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def reason_of(error: object, limit: int = 120) -> str:
    """Return ``str(error)`` as the end of a sentence: one ``printable`` line without a full stop.

    What is longer than ``limit`` characters ends after its last complete part, at a comma, a dash or a full stop.
    """
    line = printable(error)
    if len(line) > limit:
        ends = [found.start() for found in re.finditer(r"[,;:.] | - ", line[:limit])]
        line = line[: ends[-1]] if ends else line[:limit]
    return line.rstrip(" .,;:?-")


def csv_cell(value: Any) -> Any:
    """Return ``value``; a text on one printable line that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value, 1000)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def free_name(wanted: str, is_taken: Callable[[str], bool], numbered: str = "{}-{}") -> str:
    """Return ``wanted``, or, where it is taken, with the first free number from 2 on: scan-2."""
    names = chain([wanted], (numbered.format(wanted, number) for number in count(2)))
    return next(name for name in names if not is_taken(name))


def count_text(number: int, what: str) -> str:
    """Return "1 case" or "2 cases"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def about(seconds: float) -> str:
    """Return ``seconds`` roughly: about 40 s, about 3 min, about 2 h."""
    if seconds < 90:
        return f"about {max(1, seconds) if seconds < 20 else 5 * round(seconds / 5):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h"


def clock(seconds: float) -> str:
    """Return ``seconds`` as hours, minutes and seconds: 26:03:10."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
