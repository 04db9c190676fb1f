"""One case's folder: its record, label, masks and journal."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.files import read_like, read_scan, write_like
from ..scans.labels import LABEL_INTENT
from ..scans.scan import Scan
from ..utils.inside import inside
from ..utils.records import read_record, write_record
from . import journal
from .schema import CaseRecord

MAPS = {
    "sample_sd": np.float32,
    "predictive_sd": np.float32,
    "error_probability": np.float32,
    "runner_up": np.uint8,
}
FILES = (
    *("case.json", "label.nii.gz", "edited.nii.gz", "reviewed.nii.gz", "journal"),
    *(f"{name}.nii.gz" for name in MAPS),
)


def now() -> str:
    """Return the local time for a record, to the second and with its UTC offset."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass(frozen=True)
class Masks:
    """A case's voxels: the label, and what was edited and what was reviewed (bool), of one shape.

    Voxels with negative labels are those that nobody labelled, so they are never reviewed.
    """

    label: np.ndarray
    edited: np.ndarray
    reviewed: np.ndarray

    def __post_init__(self) -> None:
        if self.label.min(initial=0) < 0:
            object.__setattr__(self, "reviewed", self.reviewed & (self.label >= 0))

    @property
    def complete(self) -> bool:
        """Whether everything that somebody labelled is reviewed."""
        return bool((self.reviewed | (self.label < 0)).all())

    @property
    def protected(self) -> np.ndarray:
        """The voxels that no run may change."""
        return self.edited | self.reviewed

    @classmethod
    def untouched(cls, label: np.ndarray) -> Masks:
        """Return ``label`` with nothing edited and nothing reviewed."""
        return cls(label, np.zeros(label.shape, bool), np.zeros(label.shape, bool))


@dataclass(frozen=True)
class CaseContent:
    """A case as read from the disk, of a project or of a results folder.

    Attributes
    ----------
    name
        The case's.
    image, file
        The image, and the file that it was read from.
    label
        The label map, integers on the image's grid.
    classes
        The classes by label value, with the background.
    runs
        The summaries of the runs that the label came from.
    maps
        The maps of the model's result, by ``MAPS``; a case may have none.
    """

    name: str
    image: Scan
    file: Path
    label: np.ndarray
    classes: Mapping[int, ClassInfo]
    runs: tuple[dict, ...]
    maps: dict[str, np.ndarray]


def unnamed_value(label: np.ndarray, values: Collection[int]) -> int | None:
    """Return the largest value in ``label`` above 0 that is not among ``values``; None if there is none."""
    known = sorted(values)
    if known == list(range(len(known))) and label.max(initial=0) < len(known):
        return None
    unnamed = label[~np.isin(label, known)].max(initial=0)
    return int(unnamed) if unnamed > 0 else None


class CaseFolder:
    """The files of one case.

    ``label.nii.gz``, ``edited.nii.gz`` and ``reviewed.nii.gz`` have the image's grid; ``journal``
    exists only while there are changes that are not in them yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """The journal's path; the file exists from the first change until the next ``save``.

        Raises LDSegError as ``file``.
        """
        return self.file("journal")

    @property
    def changed(self) -> float:
        """When the label was last changed, as seconds since 1970."""
        files = self.file("label.nii.gz"), self.journal
        return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)

    def file(self, name: str) -> Path:
        """Return the path of one of the case's files; raise LDSegError if it leads outside the project."""
        return inside(self.folder.parent, f"{self.folder.name}/{name}")

    def record(self) -> CaseRecord:
        """Return ``case.json``. Raises LDSegError."""
        return read_record(self.file("case.json"), CaseRecord)

    def load(self, image: Scan | None = None) -> Masks:
        """Return label and masks with the journal replayed, on the axes of the edited array.

        ``image`` is needed only for a case without a label.

        Raises
        ------
        LDSegError
            If a file is missing, broken, or not on the case's grid.
        """
        record = self.record()
        if self.file("label.nii.gz").exists():
            grid, label = self._label(record)
        elif image is not None and not record.labelled:
            grid, label = image, np.zeros(image.shape, np.uint8)
        else:
            raise LDSegError(f"{self.folder / 'label.nii.gz'} is missing; restore it.")
        if label.shape != record.geometry.shape:
            raise LDSegError(
                f"The label of {self.name} has the shape {label.shape}, but its record gives "
                f"{record.geometry.shape}; restore both files from the same backup."
            )
        masks = Masks(label, self._mask("edited", grid), self._mask("reviewed", grid))
        return self._replayed(masks, record.identity)

    def grid(self) -> Scan:
        """Return the geometry of the label, to save with. Raises LDSegError."""
        return self._label(self.record())[0]

    def save(self, grid: Scan, masks: Masks, **changes: object) -> CaseRecord:
        """Write label, masks and record (with ``changes``), each atomically, then delete the journal.

        ``grid`` gives the geometry. A crash in between loses nothing: the journal's values are absolute, and
        it is deleted last. Raises OSError or LDSegError.
        """
        self.check_present()
        on_grid = replace(grid, array=masks.label, channels=False, name=self.name)
        write_like(self.file("label.nii.gz"), masks.label, on_grid, LABEL_INTENT)
        for name in ("edited", "reviewed"):
            mask, path = getattr(masks, name), self.file(f"{name}.nii.gz")
            if mask.any() or path.exists():
                write_like(path, mask, on_grid, LABEL_INTENT)
        record = self.change(
            labelled=True,
            edited_voxels=int(np.count_nonzero(masks.edited)),
            reviewed_voxels=int(np.count_nonzero(masks.reviewed)),
            **changes,
        )
        self.journal.unlink(missing_ok=True)
        return record

    def save_maps(self, grid: Scan, maps: Mapping[str, np.ndarray]) -> None:
        """Write the maps of the result that the label comes from, by ``MAPS``, as ``Posterior`` has them.

        One that is not in ``maps`` is deleted. ``grid`` gives the geometry. Raises OSError or LDSegError.
        """
        self.check_present()
        on_grid = replace(grid, array=np.broadcast_to(np.uint8(0), grid.shape), channels=False)
        for name, dtype in MAPS.items():
            path = self.file(f"{name}.nii.gz")
            if name in maps:
                write_like(path, np.asarray(maps[name], dtype), on_grid)
            else:
                path.unlink(missing_ok=True)

    def load_maps(self) -> dict[str, np.ndarray]:
        """Return the stored maps, by ``MAPS``; one that cannot be read, or has impossible values, is left out."""
        found: dict[str, np.ndarray] = {}
        grid: Scan | None = None  # reads the label, so once and only if there is a map
        for name, dtype in MAPS.items():
            path = self.file(f"{name}.nii.gz")
            if path.exists():
                with suppress(LDSegError):
                    grid = grid or self.grid()
                    stored = read_like(path, grid)
                    highest = 255 if dtype == np.uint8 else 1
                    if ((stored >= 0) & (stored <= highest)).all():
                        found[name] = np.asarray(stored, dtype)
        return found

    def change(self, **changes: object) -> CaseRecord:
        """Write the record with ``changes``, if it differs. Raises OSError or LDSegError."""
        old = self.record()
        record = old.model_copy(update=changes)
        if record != old:
            record = CaseRecord.model_validate({**record.model_dump(), "changed": now()})
            write_record(self.file("case.json"), record)
        return record

    def begin_journal(self, shape: tuple[int, ...]) -> int:
        """Start an empty journal and return its size. Raises OSError or LDSegError."""
        self.check_present()
        return journal.begin(self.journal, shape, self.record().identity)

    def discard_journal(self) -> Path:
        """Rename the journal, so that it is not replayed, and return its new path.

        Raises OSError or LDSegError.
        """
        stamp = time.strftime("%Y-%m-%d-%H%M%S")
        return self.journal.rename(self.folder / f"journal-discarded-{stamp}")

    def check_present(self) -> None:
        """Raise OSError if the folder has disappeared: it must not be created again without its files."""
        if not self.file("case.json").is_file():
            raise FileNotFoundError(f"{self.folder} is missing")

    def _label(self, record: CaseRecord) -> tuple[Scan, np.ndarray]:
        path, shape = self.file("label.nii.gz"), record.geometry.shape
        if record.geometry.from_file:
            grid = read_scan(path)
            label = grid.array
        else:
            grid = Scan(
                np.broadcast_to(np.uint8(0), shape),
                np.array(record.geometry.affine),
                calibrated=record.geometry.calibrated,
                name=self.name,
                flat=record.geometry.flat,
            )
            label = read_like(path, grid)
        if label.dtype.kind not in "iu":
            raise LDSegError(f"{path} holds values that are not integers; restore the label.")
        return grid, np.array(label, order="C")

    def _mask(self, name: str, grid: Scan) -> np.ndarray:
        path = self.file(f"{name}.nii.gz")
        if not path.exists():
            return np.zeros(grid.shape, bool)
        return np.ascontiguousarray(read_like(path, grid) != 0)

    def _replayed(self, masks: Masks, identity: str | None) -> Masks:
        if not self.journal.exists():
            return masks
        try:
            for change in journal.read(self.journal, masks.label.shape, identity):
                limits = np.iinfo(masks.label.dtype)
                if ((change.labels < limits.min) | (change.labels > limits.max)).any():
                    masks = replace(masks, label=masks.label.astype(np.int32))
                change.apply(masks.label, masks.edited)
        except OSError as error:
            raise LDSegError(f"{self.journal} cannot be read: {error.strerror}.") from error
        return replace(masks)  # without the voxels that are no longer labelled
