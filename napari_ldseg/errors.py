"""The one exception whose message is meant for the person at the screen."""


class LDSegError(Exception):
    """One clear sentence: what file or layer, what is wrong, and what to do about it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the memory did not suffice; torch on MPS and the CPU tells so in words only."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def os_error_sentence(error: OSError) -> str:
    """Return what the system could not do, as a sentence that names the file."""
    place = error.filename or "A file"
    return f"{place} could not be read or written: {error.strerror or error}."
