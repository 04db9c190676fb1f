"""The project's models: who descends from whom, which one is in use, and since when."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ..checkpoint.bundled import bundled_checkpoints
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import Metadata
from ..errors import LDSegError
from ..project.case import now
from ..project.schema import Name, Sha256
from ..utils.atomic import atomic_write, complete_files
from ..utils.hashing import sha256_of
from ..utils.inside import inside
from ..utils.records import read_record, write_record
from ..utils.text import count_text
from .comparison import Comparison, read_comparison
from .launch import MODELS, runs

HISTORY = "adopted.json"
BUNDLED = "bundled:"
SUFFIX = ".safetensors"


class Entry(NamedTuple):
    """One checkpoint file; ``bundled`` ones travel with the plugin."""

    path: Path
    metadata: Metadata
    sha256: str
    adopted: bool
    bundled: bool


class Node(NamedTuple):
    """A model and those that were trained from it; ``entry`` is None where its file is not known."""

    name: str
    entry: Entry | None
    children: tuple[Node, ...]


class Difference(NamedTuple):
    """One thing that two models do not share; an empty text where a model does not have it."""

    what: str
    first: str
    second: str


class Decision(BaseModel):
    """The user's decision on a model: used from then on, or not.

    ``model`` is relative to the project folder, ``bundled:`` and a name, or an absolute path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Sha256
    used: bool
    when: Name


class History(BaseModel):
    """``adopted.json``: every decision, the oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = 1
    decisions: tuple[Decision, ...] = ()


class ModelStore:
    """The checkpoints in ``models/`` of a project and the decisions about them.

    Hashes are cached, so that only new files are read completely.
    """

    def __init__(self, project: Path):
        self.project = project
        self.folder = project / MODELS
        self._hashes: dict[tuple[Path, int, int], str] = {}

    @property
    def adopted(self) -> Path | None:
        """The model that the user last chose to use, or None; raises LDSegError as ``history``."""
        for decision in reversed(self.history()):
            if decision.used:
                path = self._path_of(decision.model)
                return path if path is not None and path.is_file() else None
        return None

    def history(self) -> tuple[Decision, ...]:
        """Return every decision, the oldest first. Raises LDSegError if the file is broken."""
        path = self._file(HISTORY)
        return read_record(path, History).decisions if path.exists() else ()

    def decided(self, path: Path) -> bool:
        """Return whether the user has decided on the model at ``path``."""
        return any(decision.model == self._name_of(path) for decision in self.history())

    def adopt(self, path: Path) -> None:
        """Use the model at ``path`` from now on; to use an older one again is a rollback.

        Raises
        ------
        LDSegError
            If it is not a checkpoint, or the project cannot be written.
        """
        self._decide(path, used=True)

    def decline(self, path: Path) -> None:
        """Record that the user decided against the model at ``path``. Raises as ``adopt``."""
        self._decide(path, used=False)

    def entries(self) -> list[Entry]:
        """Return the project's models, the oldest first, and those outside it that they come from.

        Files that are not checkpoints are left out. New files are read completely.
        """
        adopted = self.adopted
        bundled = set(bundled_checkpoints().values())
        own = sorted(complete_files(self.folder, SUFFIX), key=lambda path: path.stat().st_mtime)
        entries: dict[str, Entry] = {}
        for path in own:
            self._enter(entries, path, adopted, bundled=False)
        parents = {entry.metadata.parent for entry in entries.values()}
        for path in self._outside():
            with suppress(LDSegError):
                if path == adopted or self._hash(path) in parents:
                    self._enter(entries, path, adopted, bundled=path in bundled)
        return list(entries.values())

    def tree(self) -> list[Node]:
        """Return the roots of the models' tree: bundled or foreign bases, and first models."""
        entries = {entry.sha256: entry for entry in self.entries()}
        children: dict[str | None, list[str]] = {}
        for sha, entry in entries.items():
            children.setdefault(entry.metadata.parent, []).append(sha)

        def node(sha: str) -> Node:
            below = tuple(node(child) for child in children.get(sha, ()))
            entry = entries.get(sha)
            name = entry.metadata.name if entry else _parent_name(entries[children[sha][0]])
            return Node(name, entry, below)

        bases: dict[str, None] = {}
        first_models: list[str] = []
        for sha, entry in entries.items():
            parent = entry.metadata.parent
            if not entry.path.is_relative_to(self.folder):
                bases[sha] = None
            elif parent is None:
                first_models.append(sha)
            elif parent not in entries:
                bases[parent] = None
        return [node(sha) for sha in (*bases, *first_models)]

    def comparison(self, path: Path) -> Comparison | None:
        """Return what was measured when the model at ``path`` had been trained here, or None."""
        with suppress(LDSegError):
            return read_comparison(inside(path.parent, f"{path.stem}.json"))
        return None

    def export(self, path: Path, to: Path) -> Path:
        """Copy the model at ``path`` to ``to``, atomically. Raises LDSegError."""
        if to.suffix != SUFFIX:
            to = to.with_name(to.name + SUFFIX)
        try:
            if to.exists() and to.samefile(path):
                raise LDSegError(f"{to} is the model itself; choose another place.")
            with atomic_write(to, ".part") as temporary:
                shutil.copyfile(path, temporary)
        except OSError as error:
            raise LDSegError(
                f"The model could not be written to {to}: {error.strerror or error}."
            ) from error
        return to

    def compare(self, first: Path, second: Path) -> list[Difference]:
        """Return what differs between two models: metrics, training, data, settings. Raises LDSegError."""
        one, two = (_described(read_metadata(path)) for path in (first, second))
        rows = [Difference(w, one.get(w, ""), two.get(w, "")) for w in dict.fromkeys([*one, *two])]
        return [row for row in rows if row.first != row.second]

    def _decide(self, path: Path, used: bool) -> None:
        read_metadata(path)
        decision = Decision(
            model=self._name_of(path), sha256=self._hash(path), used=used, when=now()
        )
        try:
            history = History(decisions=(*self.history(), decision))
            write_record(self._file(HISTORY), history)
        except OSError as error:
            raise LDSegError(
                f"{self.folder} cannot be written: {error.strerror or error}; free space or reconnect "
                "the drive, then choose again."
            ) from error

    def _enter(
        self, entries: dict[str, Entry], path: Path, adopted: Path | None, bundled: bool
    ) -> None:
        with suppress(LDSegError, OSError):
            if path.parent == self.folder:
                self._file(path.name)
            sha = self._hash(path)
            entry = Entry(path, read_metadata(path), sha, path == adopted, bundled)
            if sha not in entries or entry.adopted:
                entries[sha] = entry

    def _outside(self) -> Iterator[Path]:
        """Yield the files outside the project that a run may have started from or that were used again."""
        yield from bundled_checkpoints().values()
        given = [run.config.base for run in runs(self.project)]
        given += [self._path_of(decision.model) for decision in self.history()]
        for path in dict.fromkeys(given):
            inside = path is not None and path.is_relative_to(self.folder)
            if path is not None and not inside and path.is_file():
                yield path

    def _hash(self, path: Path) -> str:
        try:
            stat = path.stat()
        except OSError as error:
            raise LDSegError(f"There is no checkpoint at {path}; it has been moved.") from error
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._hashes:
            self._hashes[key] = sha256_of(path)
        return self._hashes[key]

    def _name_of(self, path: Path) -> str:
        for name, file in bundled_checkpoints().items():
            if file == path:
                return BUNDLED + name
        if path.is_relative_to(self.project):
            return path.relative_to(self.project).as_posix()
        return str(path.resolve())

    def _path_of(self, model: str) -> Path | None:
        if model.startswith(BUNDLED):
            return bundled_checkpoints().get(model.removeprefix(BUNDLED))
        return Path(model) if Path(model).is_absolute() else inside(self.project, model)

    def _file(self, name: str) -> Path:
        """Return a file among the project's models; raise LDSegError if a link leads out of the project."""
        return inside(inside(self.project, MODELS), name)


def when(time: str | None) -> str:
    """Return a record's time without seconds: 2026-01-31 14:05."""
    return (time or "")[:16].replace("T", " ")


def _parent_name(child: Entry) -> str:
    return child.metadata.training.parent_name or "a model from elsewhere"


def _described(metadata: Metadata) -> dict[str, str]:
    """Return everything about a model that is worth comparing, as texts by name."""
    record = metadata.training
    rows = {
        "trained": when(record.trained),
        "trained from": record.parent_name or "",
        "data": record.data,
        "training cases": f"{len(record.cases)}" if record.cases else "",
        "updates": f"{record.updates}",
        "classes": ", ".join(c.name for c in metadata.classes[1:]),
        "calibrated": "yes" if metadata.calibration is not None else "no",
        "steps for labels, for uncertainty": f"{metadata.label_steps}, {metadata.posterior_steps}",
    }
    for metric in metadata.metrics:
        what = f"{metric.name} {metric.class_name} ({metric.split}, {count_text(metric.samples, 'sample')}, "
        what += f"{count_text(metric.steps, 'step')})"
        rows[what] = f"{metric.value:.3f} ({count_text(metric.cases, 'case')})"
    rows |= {f"setting {name}": f"{value}" for name, value in record.settings.items()}
    return rows
