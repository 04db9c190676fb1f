"""Script that reads every tensor of an untrusted HDF5 file.

A damaged file can crash or hang the HDF5 library, so this runs as ``python hdf5_reader.py FILE`` in a
separate process with a limit on time and memory; it imports nothing from the package. It writes to
stdout: 8 bytes (little endian) with the length of a JSON text, the JSON, and the tensors as little-endian
float32 one after another. The JSON is {"tensors": [[path, shape], ...]} or
{"error": reason, "tensor": path}.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import struct
import sys
from typing import Any, BinaryIO

MAX_OBJECTS = 4096
MAX_DEPTH = 6
MAX_NAME = 200
SPARE_BYTES = 64 * 2**20


class Refused(Exception):
    """Why the file is refused, and the object it concerns ("" for the file itself)."""

    def __init__(self, reason: str, tensor: str = ""):
        super().__init__(reason)
        self.reason, self.tensor = reason, tensor


def read_tensors(path: str) -> dict[str, Any]:
    """Return every tensor (float32) by its path in the file.

    Together they need no more memory than the file has bytes: only uncompressed tensors are read, after
    their position in the file was checked. Raises Refused; the library may also raise, crash or hang.
    """
    import h5py
    import numpy as np

    size = os.path.getsize(path)
    tensors: dict[str, Any] = {}
    with h5py.File(path, "r", locking=False) as file:
        datasets: dict[str, h5py.Dataset] = {}
        _collect(file, "", 0, datasets, [0])
        total = 0
        for name, dataset in datasets.items():
            total += _checked_bytes(dataset, name, size)
            if total > size:
                raise Refused("needs more data than the file has", name)
            tensors[name] = np.ascontiguousarray(dataset[()], dtype="<f4")
    return tensors


def _collect(
    group: Any, prefix: str, depth: int, datasets: dict[str, Any], count: list[int]
) -> None:
    """Add the datasets of ``group`` and its sub-groups to ``datasets``; ``count`` is that of all objects."""
    import h5py

    if depth > MAX_DEPTH:
        raise Refused("is nested too deeply", prefix)
    for name in group:
        count[0] += 1
        path = f"{prefix}/{name}" if prefix else name
        if count[0] > MAX_OBJECTS or len(path) > MAX_NAME:
            raise Refused("has too many or too long names", prefix)
        if (
            group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
            != h5py.h5l.TYPE_HARD
        ):
            raise Refused("is a link", path)
        member = group[name]
        if isinstance(member, h5py.Dataset):
            datasets[path] = member
        elif isinstance(member, h5py.Group):
            _collect(member, path, depth + 1, datasets, count)
        else:
            raise Refused("is neither a group nor a tensor", path)


def _checked_bytes(dataset: Any, path: str, file_size: int) -> int:
    """Return the tensor's size in bytes; raise Refused unless it is stored uncompressed in the file."""
    import h5py

    if dataset.dtype.kind != "f" or dataset.dtype.itemsize != 4:
        raise Refused(f"holds {str(dataset.dtype)[:40]} values instead of float32", path)
    if dataset.shape is None:
        raise Refused("holds no data", path)
    needed = 4 * math.prod(dataset.shape)
    storage = dataset.id.get_create_plist()
    layout = storage.get_layout()
    in_one_block = layout in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not in_one_block or storage.get_external_count() or storage.get_nfilters():
        raise Refused("is chunked, compressed or in another file, which Keras never writes", path)
    if needed > file_size or dataset.id.get_storage_size() != needed:
        raise Refused(f"has the size {str(dataset.shape)[:60]}, but the file holds less data", path)
    if layout == h5py.h5d.CONTIGUOUS and needed:
        offset = dataset.id.get_offset()
        if offset is None or offset + needed > file_size:
            raise Refused("extends beyond the end of the file, which is truncated", path)
    return needed


def _limit_memory(file_size: int) -> None:
    """Limit this process's memory by the file's size, where the system supports it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        limit = used + 3 * file_size + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(path: str, out: BinaryIO) -> None:
    """Write the tensors of ``path``, or why it is refused, to ``out``."""
    tensors: dict[str, Any] = {}
    answer: dict[str, Any]
    try:
        import h5py  # noqa: F401  (before the limit, because libraries need address space)

        _limit_memory(os.path.getsize(path))
        tensors = read_tensors(path)
        answer = {"tensors": [[name, value.shape] for name, value in tensors.items()]}
    except Refused as refusal:
        answer = {"error": refusal.reason, "tensor": refusal.tensor}
    except ImportError:
        answer = {"error": "cannot be read without h5py; install it with pip install h5py"}
    except MemoryError:
        answer = {"error": "is damaged: reading it needs much more memory than its size"}
    except Exception:  # a damaged file can raise any of the library's errors
        answer = {"error": "is not an HDF5 file, or is truncated or damaged"}
    text = json.dumps(answer).encode()
    out.write(struct.pack("<Q", len(text)) + text)
    for value in tensors.values() if "tensors" in answer else ():
        out.write(value.data)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdout.buffer)
