"""The one model in memory: loading another one evicts it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..checkpoint.file import Checkpoint, load_checkpoint
from ..errors import LDSegError, is_out_of_memory


class LoadedModel:
    """Holds at most one checkpoint, so that the device's memory does not grow with the number of models.

    For one thread at a time, that of the queue.
    """

    def __init__(self) -> None:
        self._stamp: tuple[Path, int, int] | None = None
        self._checkpoint: Checkpoint | None = None

    @property
    def path(self) -> Path | None:
        """The file of the model in memory."""
        return None if self._stamp is None else self._stamp[0]

    def get(self, path: Path) -> Checkpoint:
        """Return the checkpoint at ``path``; read it if another one is in memory or the file has changed.

        Raises LDSegError as ``load_checkpoint`` does.
        """
        try:
            stat = path.stat()
            stamp = (path, stat.st_mtime_ns, stat.st_size)
        except OSError:
            stamp = (path, 0, 0)  # load_checkpoint says what is wrong
        if self._checkpoint is None or stamp != self._stamp:
            self.evict()
            self._checkpoint, self._stamp = load_checkpoint(path), stamp
        return self._checkpoint

    def evict(self) -> None:
        """Free the memory of the model."""
        if self._checkpoint is not None:
            self._checkpoint.model.to("cpu")
        self._checkpoint = self._stamp = None
        free_device_memory()


@contextmanager
def evicted_when_out_of_memory(loaded: LoadedModel, image: str) -> Iterator[None]:
    """Free the model's memory when what is done with it fails; raise LDSegError if there was too little."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        loaded.evict()
        if not is_out_of_memory(error):
            raise
        raise LDSegError(
            f"Out of memory on {image}; ask for fewer samples or send the part around the structure."
        ) from error


def free_device_memory() -> None:
    """Return what nothing refers to any more to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
