"""HDF5 files of Keras weights, read as their import does."""

from __future__ import annotations

import functools
import io
import os
import resource
import signal
import tempfile
from pathlib import Path
from random import Random

import h5py
import numpy as np

from napari_ldseg.checkpoint import hdf5, hdf5_reader

from .mutations import damaged

HANG_SECONDS = 30


def trial(rng: Random, folder: Path, attempt) -> None:
    """Read a damaged HDF5 file as the import of Keras weights does."""
    path = folder / "denoiser.hdf5"
    path.write_bytes(damaged(_hdf5(), rng, _hdf5()))
    reader = _ForkedReader()
    hdf5._run_reader = reader
    tensors = attempt(hdf5.read_hdf5, path)
    attempt.child_mib = reader.mib
    assert not reader.signal, f"the reader's process ended with {reader.signal}"
    if tensors is not None:
        assert sum(t.nbytes for t in tensors.values()) <= path.stat().st_size


@functools.cache
def _hdf5() -> bytes:
    file, rng = io.BytesIO(), np.random.default_rng(0)
    with h5py.File(file, "w") as root:
        root.attrs["keras_version"] = "2.9.0"
        for i in range(6):
            group = root.create_group(f"conv2d_{i}/conv2d_{i}")
            group.attrs["weight_names"] = [f"conv2d_{i}/kernel:0", f"conv2d_{i}/bias:0"]
            group["kernel:0"] = np.float32(rng.random((3, 3, 4, 8)))
            group["bias:0"] = np.float32(rng.random(8))
    return file.getvalue()


class _ForkedReader:
    """Runs ``hdf5_reader`` as the product does, but in a copy of this process, which starts at once.

    ``mib`` is the memory that it took beyond this process's, ``signal`` what ended it, if anything did.
    """

    def __init__(self) -> None:
        self.mib, self.signal = 0.0, ""

    def __call__(self, path: Path) -> tuple[dict, memoryview]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryFile(dir=path.parent) as out:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    signal.alarm(HANG_SECONDS)
                    hdf5_reader.main(str(path), out)
                    code = 0
                finally:
                    os._exit(code)
            _, status, usage = os.wait4(pid, 0)
            out.seek(0)
            output = out.read()
        self.mib = max(0, usage.ru_maxrss - before) / 1024
        if os.WIFSIGNALED(status):
            self.signal = signal.Signals(os.WTERMSIG(status)).name
        return hdf5.parsed_answer(path, os.waitstatus_to_exitcode(status), output)
