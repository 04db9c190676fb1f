"""Reading the metadata in a checkpoint's header: fast, bounded, and without torch."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from pydantic import ValidationError

from ..errors import LDSegError
from ..utils.text import one_line
from .metadata import Metadata

METADATA_KEY = "napari_ldseg"
MAX_HEADER_BYTES = 4 * 2**20
MAX_FILE_BYTES = 4 * 2**30


def read_metadata(path: str | os.PathLike) -> Metadata:
    """Return the metadata of the checkpoint at ``path``.

    Raises
    ------
    LDSegError
        If ``path`` is not a checkpoint of this plugin.
    """
    path = Path(path)
    foreign = LDSegError(
        f"{path.name} is not an LDSeg checkpoint of this plugin; choose a .safetensors file that "
        "napari-ldseg has written."
    )
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise foreign
        if size > MAX_FILE_BYTES:
            raise LDSegError(f"{path.name} is {size / 2**30:.0f} GiB, too large for a checkpoint.")
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise foreign
            header = json.loads(file.read(length))
        text = header["__metadata__"][METADATA_KEY]
        return Metadata.model_validate_json(text)
    except FileNotFoundError as error:
        raise LDSegError(f"There is no checkpoint at {path}; choose its new location.") from error
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = one_line(".".join(str(part) for part in first["loc"]), 150) or "metadata"
        reason = one_line(first["msg"].removeprefix("Value error, "), 150)
        raise LDSegError(
            f"{path.name} has invalid metadata ({place}: {reason}); it may be from a newer version of "
            "this plugin."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise foreign from error


def write_header(path: Path, metadata: Metadata) -> None:
    """Write a file that has ``metadata`` but no weights: it can be read, but not loaded."""
    header = json.dumps({"__metadata__": {METADATA_KEY: metadata.model_dump_json()}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
