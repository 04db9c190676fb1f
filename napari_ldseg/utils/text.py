"""Text from files and libraries, made safe for terminals, messages and comparisons."""

import unicodedata


def nfc(text: str) -> str:
    """Return ``text`` in the composed form: an é is one character, not an e and an accent."""
    return unicodedata.normalize("NFC", text)


def one_line(text: object, limit: int = 200) -> str:
    """Return ``str(text)`` on one line of at most ``limit`` characters, all of them printable.

    White space becomes a single space, any other unprintable character (control characters, names that
    are not UTF-8) a question mark, and a text that is too long ends in three dots.
    """
    spaced = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "?" for c in spaced)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
