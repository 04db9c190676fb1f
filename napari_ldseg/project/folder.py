"""The project folder: opening, its cases, classes and split."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.scan import Scan
from ..utils.atomic import remove_leftovers
from ..utils.inside import inside
from ..utils.locking import LOCK, OWNER, FolderLock
from ..utils.records import read_record, write_record
from ..utils.text import free_name, nfc, one_line
from .case import FILES, CaseFolder, Masks, now
from .images import Images, geometry_of
from .patient import patient_of
from .schema import MAX_CLASSES, CaseRecord, ProjectRecord, values_of

VALIDATION_EVERY = 5
RECORD, CASES, REMOVED = "project.json", "cases", "removed"


class Project:
    """A project folder, locked for this process until ``close``.

    Parameters
    ----------
    folder
        A project, or, with ``create``, an empty or missing folder that becomes one.

    Raises
    ------
    LDSegError
        If the folder is not a project, has a link out of it, cannot be written, or is open elsewhere.
    """

    def __init__(self, folder: Path, create: bool = False):
        self.folder, self.images = folder, Images(folder)
        self._guard = threading.RLock()
        self._cached: dict[str, tuple[int, CaseRecord]] = {}
        self.unreadable: dict[str, str] = {}
        file = _checked(folder)
        try:
            if create and not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                if any(path.name not in (LOCK, OWNER) for path in folder.iterdir()):
                    raise LDSegError(
                        f"{folder} holds other files and is not a project; choose a project or an empty "
                        "folder."
                    )
            elif not file.is_file():
                raise LDSegError(f"{folder} is missing or not a project; choose another folder.")
            self._lock = _locked(folder)
        except OSError as error:
            raise LDSegError(
                f"{folder} cannot be opened as a project: {error.strerror or error}."
            ) from error
        try:
            if not file.exists():
                write_record(file, ProjectRecord(name=folder.name, created=now()))
            self.record = read_record(file, ProjectRecord)
            (folder / CASES).mkdir(exist_ok=True)
            self._remove_leftovers()
        except OSError as error:
            self.close()
            raise LDSegError(f"{folder} cannot be written: {error.strerror or error}.") from error
        except LDSegError:
            self.close()
            raise
        self._splits = self._splits_so_far()

    @classmethod
    def for_reading(cls, folder: Path) -> Project:
        """Return the project as it is on the disk, read-only and without the lock. Raises LDSegError."""
        project = cls.__new__(cls)
        project.folder, project.images = folder, Images(folder)
        project._cached, project.unreadable = {}, {}
        project.record = read_record(_checked(folder), ProjectRecord)
        return project

    def close(self) -> None:
        """Release the folder's lock."""
        self._lock.release()

    def cases(self) -> list[CaseFolder]:
        """Return the cases by name."""
        folders = (self.folder / CASES).glob("[!.]*/case.json")  # not one that is being added
        return [CaseFolder(path.parent) for path in sorted(folders)]

    def case(self, name: str) -> CaseFolder:
        """Return the case of that name; raise LDSegError if the name leads outside the cases."""
        return CaseFolder(inside(self.folder / CASES, name))

    def records(self) -> dict[str, CaseRecord]:
        """Return the readable cases' records by name; unchanged ones come from a cache.

        ``unreadable`` then has the other cases by name, and what is wrong with each.
        """
        records, self.unreadable = {}, {}
        for case in self.cases():
            try:
                stamp = (case.folder / "case.json").stat().st_mtime_ns
                known = self._cached.get(case.name)
                record = known[1] if known is not None and known[0] == stamp else case.record()
            except (LDSegError, OSError) as error:
                self.unreadable[case.name] = str(error)
                continue
            self._cached[case.name] = (stamp, record)
            records[case.name] = record
        return records

    def add_case(
        self,
        name: str,
        image: Scan,
        path: Path | None,
        classes: Sequence[ClassInfo] | Mapping[int, ClassInfo],
        masks: Masks | None,
        runs: Sequence[dict] = (),
        patient: str | None = None,
        copy: bool = True,
    ) -> CaseFolder:
        """Add a case: all of it or nothing.

        Parameters
        ----------
        name
            The case's; a number is added if it is taken.
        image
            The image with the geometry of the label.
        path
            The image's file, to refer to; None makes a copy, unless ``copy`` is False.
        classes
            The meaning of the label values 0, 1, ..., or of those that are its keys.
        masks
            Label and masks; None for a case that has no label yet.
        runs
            Provenance of the runs that the label came from.
        patient
            Whose image it is; by default guessed from the name and the file's folder.
        copy
            Whether to copy an image without a file.

        Raises
        ------
        LDSegError
            If the image cannot be copied or referred to, or a value or the number of classes is too large.
        OSError
            If the folder cannot be written.
        """
        with self._guard:
            if not (self.folder / RECORD).is_file():
                raise FileNotFoundError(f"{self.folder} is missing")
            if not isinstance(classes, Mapping):
                classes = dict(enumerate(classes))
            values = values_of(classes)
            self.add_classes(tuple(classes.values()))
            final = self._free_name(name, self.folder / CASES)
            patient = self._known(patient or patient_of(name, path)) or self._known(final.name)
            record = CaseRecord(
                identity=secrets.token_hex(8),
                patient=patient,
                split=self._splits.get(patient) or self._draw(),
                image=None,
                geometry=geometry_of(image),
                **values,
                labelled=masks is not None,
                runs=tuple(runs),
                created=now(),
                changed=now(),
            )
            building = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.folder / CASES))
            try:
                case = CaseFolder(building)
                reference = None
                if path is not None or copy:
                    reference = self.images.refer(image, path, building, final)
                write_record(building / "case.json", record.model_copy(update={"image": reference}))
                if masks is not None:
                    case.save(image, masks)
                building.chmod(0o755)
                building.rename(final)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            self._splits[patient] = record.split
            return CaseFolder(final)

    def patient_changes(self, name: str, patient: str) -> dict[str, str]:
        """Return the changes of the case's record that make it one of ``patient``: ``patient`` and ``split``.

        The split is that patient's. A new patient gets the case's present split if the case was its patient's
        only one, and otherwise a newly drawn one.

        Raises
        ------
        LDSegError
            If ``patient`` is empty, or the case cannot be read.
        """
        with self._guard:
            records = self.records()
            if name not in records:
                raise LDSegError(self.unreadable.get(name, f"{name} is not a case of the project."))
            if not patient.strip():
                raise LDSegError(f"Name the patient whose image {name} is.")
            patient, old = self._known(patient), records.pop(name)
            shared = any(record.patient == old.patient for record in records.values())
            split = self._splits.get(patient) or (self._draw() if shared else old.split)
            self._splits[patient] = split
            return {"patient": patient, "split": split}

    def remove_case(self, name: str) -> Path:
        """Move a case's folder out of ``cases`` into ``removed`` and return where.

        Raises OSError or LDSegError.
        """
        with self._guard:
            removed = inside(self.folder, REMOVED)
            removed.mkdir(exist_ok=True)
            return self.case(name).folder.rename(self._free_name(name, removed))

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Replace the project's classes.

        Raises
        ------
        LDSegError
            If a class that a case uses would be removed.
        """
        names = {c.name for c in classes}
        for case, record in self.records().items():
            for gone in [value for value in record.values if value not in names]:
                raise LDSegError(
                    f"The class {gone} is used by the case {case}; keep it, or remove the case first."
                )
        self._write(self.record.model_copy(update={"classes": tuple(classes)}))

    def classes_of(self, record: CaseRecord) -> dict[int, ClassInfo]:
        """Return the classes of a case by label value. Raises LDSegError if a class is missing."""
        known = {c.name: c for c in self.record.classes}
        for name in record.values:
            if name not in known:
                raise LDSegError(
                    f"A case uses the class {name}, but {self.folder / RECORD} no longer has "
                    "it; put it back there."
                )
        return {value: known[name] for value, name in record.names.items()}

    def unsaved(self) -> list[CaseFolder]:
        """Return the cases with a journal that a crash left, the newest last."""
        left = []
        for case in self.cases():
            with suppress(OSError, LDSegError):
                left.append((case.journal.stat().st_mtime, case.name))
        return [self.case(name) for _, name in sorted(left)]

    def _remove_leftovers(self) -> None:
        """Remove the incomplete files of a killed process."""
        for path in (self.folder / CASES).glob(".adding-*"):
            shutil.rmtree(path, ignore_errors=True)
        remove_leftovers(self.folder / RECORD)
        for case in self.cases():
            for name in FILES:
                with suppress(LDSegError):  # a link out of the project
                    remove_leftovers(case.file(name))

    def add_classes(self, classes: Sequence[ClassInfo], redefined: bool = False) -> None:
        """Add those of ``classes`` whose names are new. Raises OSError or LDSegError.

        With ``redefined`` the others get their colour and code from ``classes``.
        """
        known = {c.name: c for c in self.record.classes}
        for info in classes:
            known[info.name] = info if redefined else known.get(info.name, info)
        merged = tuple(known.values())
        if merged != self.record.classes:
            self._write(self.record.model_copy(update={"classes": merged}))

    def _write(self, record: ProjectRecord) -> None:
        if len(record.classes) > MAX_CLASSES:
            raise LDSegError(
                f"{self.folder} would have {len(record.classes)} classes, but a project holds up to "
                f"{MAX_CLASSES}; use fewer names, or another project."
            )
        write_record(self.folder / RECORD, record)
        self.record = record

    def _draw(self) -> str:
        """Return the next patient's split: of five patients one, at a drawn place, is for validation."""
        block, place = divmod(len(self._splits), VALIDATION_EVERY)
        digest = hashlib.sha256(f"{self.record.created} {block}".encode()).digest()
        return "validation" if digest[0] % VALIDATION_EVERY == place else "training"

    def _splits_so_far(self) -> dict[str, str]:
        """Return each patient's split, also of removed cases: models may be trained on them."""
        splits: dict[str, str] = {}
        for path in (self.folder / REMOVED).glob("*/case.json"):
            with suppress(LDSegError):
                record = CaseFolder(path.parent).record()
                splits[record.patient] = record.split
        splits.update((r.patient, r.split) for r in self.records().values())
        return splits

    def _known(self, patient: str) -> str:
        """Return ``patient`` as the project spells it; upper and lower case do not matter."""
        patient = one_line(nfc(patient))
        same = (known for known in self._splits if known.casefold() == patient.casefold())
        return next(same, patient)

    def _free_name(self, name: str, cases: Path) -> Path:
        stem = re.sub(r"[^\w.() -]+", "_", nfc(name)).strip(" .")[:100] or "case"
        taken = {nfc(path.name).casefold() for path in cases.iterdir()}
        return cases / free_name(stem, lambda n: n.casefold() in taken)


def _checked(folder: Path) -> Path:
    """Return the path of the project's record; raise LDSegError if a link leads out of the project."""
    for name in (CASES, REMOVED):
        inside(folder, name)
    return inside(folder, RECORD)


def _locked(folder: Path) -> FolderLock:
    """Return the acquired lock of ``folder``; raise LDSegError if it is open elsewhere, or OSError."""
    lock = FolderLock(folder)
    if lock.acquire():
        return lock
    owner = lock.owner()
    if owner is not None and owner[0] == os.getpid():
        raise LDSegError(f"{folder} is open in another window of this napari; use that one.")
    who = f" (process {owner[0]} on {owner[1]})" if owner else ""
    raise LDSegError(
        f"{folder} is open in another napari{who}; close it there or choose another project folder."
    )
