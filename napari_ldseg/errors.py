"""The exception whose message is shown to users, and messages for other exceptions."""

from __future__ import annotations

MOST_CHARACTERS, LONGEST_WORD = 299, 80


class LDSegError(Exception):
    """An error for users; its message is one sentence: which file or layer, what is wrong, what to do.

    Whatever names and library texts are in ``message``, ``str`` of the error is as ``sentence`` makes it.
    """

    def __init__(self, message: object = ""):
        super().__init__(sentence(message))


def printable(text: object) -> str:
    """Return ``str(text)`` on one line.

    White space becomes a single space, and any other unprintable character (control characters, names
    that are not UTF-8) a question mark.
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))


def sentence(text: object) -> str:
    """Return ``text`` on one printable line of at most ``MOST_CHARACTERS``.

    Of a longer one, long words (paths, names) lose their middle, so that a file's name stays; then the
    middle of the line is left out, so that what to do stays.
    """
    line = printable(text)
    if len(line) <= MOST_CHARACTERS:
        return line
    words = (_without_middle(word, LONGEST_WORD, LONGEST_WORD // 4) for word in line.split(" "))
    return _without_middle(" ".join(words), MOST_CHARACTERS, MOST_CHARACTERS // 2)


def _without_middle(text: str, most: int, head: int) -> str:
    """Return at most ``most`` characters of ``text``: the first ``head``, and the last ones."""
    return text if len(text) <= most else f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` means out of memory; on MPS and the CPU torch raises a RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def os_error_sentence(error: OSError) -> str:
    """Return an error of the operating system as a sentence that names the file."""
    path = error.filename or "A file"
    return sentence(f"{path} could not be read or written: {error.strerror or error}.")
