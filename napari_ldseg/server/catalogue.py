"""The models that the server offers: bundled ones, those of folders, and the adopted ones of a project."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..checkpoint.bundled import bundled_checkpoints
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from ..finetuning.model_store import SUFFIX, ModelStore
from ..utils.atomic import complete_files
from ..utils.text import free_name

Listed = TypeVar("Listed")


class Model(NamedTuple):
    """A model by the name that clients call it: its file and what its header says."""

    name: str
    path: Path
    metadata: Metadata

    @property
    def labels(self) -> dict[str, int]:
        """The label value of each class, without the background."""
        return {info.name: value for value, info in enumerate(self.metadata.classes) if value}


def named(models: Mapping[str, Listed], name: str) -> Listed:
    """Return what is listed under ``name``. Raises LDSegError if nothing is."""
    if name not in models:
        raise LDSegError(f"There is no model {name}; choose one of {', '.join(models)}.")
    return models[name]


class Catalogue:
    """Finds the models anew each time; headers of unchanged files are read once.

    Parameters
    ----------
    folders
        Folders with ``.safetensors`` files. Files that are no checkpoints are left out.
    project
        A project's folder, of which the models are offered that somebody adopted; it may not exist yet.
    bundled
        Whether to offer the models of the package.
    """

    def __init__(
        self, folders: Sequence[Path] = (), project: Path | None = None, bundled: bool = True
    ):
        self._folders, self._project, self._bundled = folders, project, bundled
        self._read: dict[tuple[Path, int, int], Metadata] = {}

    def models(self) -> dict[str, Model]:
        """Return the models by name: letters, digits and ``. _ -``, with a number where two have the same."""
        found: dict[str, Model] = {}
        for path in dict.fromkeys(self._paths()):
            with suppress(LDSegError, OSError):
                metadata = self._metadata(path)
                stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "model"
                name = free_name(stem, found.__contains__)
                found[name] = Model(name, path, metadata)
        return found

    def _paths(self) -> list[Path]:
        paths = list(bundled_checkpoints().values()) if self._bundled else []
        for folder in self._folders:
            paths += complete_files(folder, SUFFIX)
        if self._project is not None and self._project.is_dir():
            with suppress(LDSegError):
                store = ModelStore(self._project)
                used = {d.model: d.used for d in store.history()}  # the last decision counts
                paths += [
                    path
                    for path in complete_files(store.folder, SUFFIX)
                    if used.get(path.relative_to(self._project).as_posix())
                ]
        return paths

    def _metadata(self, path: Path) -> Metadata:
        stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._read:
            self._read[key] = read_metadata(path)
        return self._read[key]
