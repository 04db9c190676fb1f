"""The exception whose message is shown to users, and messages for other exceptions."""


class LDSegError(Exception):
    """An error for users; its message is one sentence: which file or layer, what is wrong, what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` means out of memory; on MPS and the CPU torch raises a RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def os_error_sentence(error: OSError) -> str:
    """Return an error of the operating system as a sentence that names the file."""
    path = error.filename or "A file"
    return f"{path} could not be read or written: {error.strerror or error}."
