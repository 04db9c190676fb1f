"""Reading the tensors of an untrusted HDF5 file, by ``hdf5_reader`` in a separate process."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..utils.text import one_line

MAX_FILE_BYTES = 2**30
MAX_SECONDS = 120


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Return the finite float32 tensors of ``path`` by their path in the file.

    Raises
    ------
    LDSegError
        If the file is missing or damaged, or holds anything but uncompressed float32 tensors.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror}.") from error
    if not path.is_file():
        raise LDSegError(f"{path.name} is not a file; choose the folder with the .hdf5 files.")
    if size > MAX_FILE_BYTES:
        raise LDSegError(f"{path.name} is {size / 2**30:.0f} GiB, too large for LDSeg weights.")
    header, data = _run_reader(path)
    if "error" in header:
        tensor = header.get("tensor")
        subject = f"{path.name}: {quoted(tensor)}" if tensor else path.name
        raise LDSegError(f"{subject} {header['error']}.")
    tensors, start = {}, 0
    for name, shape in header["tensors"]:
        count = math.prod(shape)
        tensors[name] = np.frombuffer(data, "<f4", count, start).reshape(shape)
        start += 4 * count
        if not np.isfinite(tensors[name]).all():
            raise LDSegError(f"{path.name}: {quoted(name)} holds NaN or infinite values.")
    return tensors


def quoted(name: str) -> str:
    """Return a name from an untrusted file in quotes, for messages."""
    return f"'{one_line(name, 100)}'"


def _run_reader(path: Path) -> tuple[dict, memoryview]:
    # -P: modules beside the script must not shadow installed ones.
    command = [sys.executable, "-P", str(Path(__file__).with_name("hdf5_reader.py"))]
    environment = {**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OMP_NUM_THREADS": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"
    try:
        answer = subprocess.run(
            [*command, str(path.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MAX_SECONDS,
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired as error:
        raise LDSegError(
            f"{path.name} could not be read within {MAX_SECONDS} s; it is probably damaged."
        ) from error
    except OSError as error:
        raise LDSegError(f"{path.name} could not be read: {error.strerror}.") from error
    return parsed_answer(path, answer.returncode, answer.stdout)


def parsed_answer(path: Path, exit_code: int, output: bytes) -> tuple[dict, memoryview]:
    """Return what ``hdf5_reader`` wrote about ``path``: the JSON, and the tensors. Raises LDSegError."""
    if exit_code or len(output) < 8:
        raise LDSegError(f"{path.name} is damaged: it cannot be read as HDF5.")
    (length,) = struct.unpack("<Q", output[:8])
    return json.loads(output[8 : 8 + length]), memoryview(output)[8 + length :]
