"""The project folder: opening, its cases, classes and split."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.scan import Scan
from ..utils.atomic import remove_leftovers
from . import lock
from .case import FILES, CaseFolder, Masks, now
from .images import Images, geometry_of
from .patient import patient_of
from .schema import (
    CaseRecord,
    ProjectRecord,
    read_record,
    write_record,
)

VALIDATION_EVERY = 5
REMOVED = "removed"


class Project:
    """A project folder, locked for this process until ``close``.

    Parameters
    ----------
    folder
        A project, or, with ``create``, an empty or missing folder that becomes one.

    Raises
    ------
    LDSegError
        If the folder is no project, cannot be written, or is open elsewhere.
    """

    def __init__(self, folder: Path, create: bool = False):
        self.folder, self.images = folder, Images(folder)
        self._guard = threading.RLock()
        self._remembered: dict[str, tuple[int, CaseRecord]] = {}
        self.unreadable: dict[str, str] = {}
        file = folder / "project.json"
        try:
            if create and not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                if any(path.name != lock.NAME for path in folder.iterdir()):
                    raise LDSegError(
                        f"{folder} holds other files and is no project; choose a project or an empty "
                        "folder."
                    )
            elif not file.is_file():
                raise LDSegError(f"{folder} is not there or is no project; choose another folder.")
            lock.acquire(folder)
        except OSError as error:
            raise LDSegError(
                f"{folder} cannot be opened as a project: {error.strerror or error}."
            ) from error
        try:
            if not file.exists():
                write_record(file, ProjectRecord(name=folder.name, created=now()))
            self.record = read_record(file, ProjectRecord)
            (folder / "cases").mkdir(exist_ok=True)
            self._sweep()
        except OSError as error:
            self.close()
            raise LDSegError(f"{folder} cannot be written: {error.strerror or error}.") from error
        except LDSegError:
            self.close()
            raise
        self._splits = self._splits_so_far()

    @classmethod
    def for_reading(cls, folder: Path) -> Project:
        """Return the project as it lies on the disk, without the lock: for reading alone."""
        project = cls.__new__(cls)
        project.folder, project.images = folder, Images(folder)
        project._remembered, project.unreadable = {}, {}
        project.record = read_record(folder / "project.json", ProjectRecord)
        return project

    def close(self) -> None:
        """Let other processes work in the folder."""
        lock.release(self.folder)

    def cases(self) -> list[CaseFolder]:
        """Return the cases by name."""
        folders = (self.folder / "cases").glob("*/case.json")
        return [CaseFolder(path.parent) for path in sorted(folders)]

    def case(self, name: str) -> CaseFolder:
        """Return the case of that name."""
        return CaseFolder(self.folder / "cases" / name)

    def records(self) -> dict[str, CaseRecord]:
        """Return the readable cases' records by name; those that have not changed are remembered.

        ``unreadable`` then says of each other case what is wrong with it.
        """
        records, self.unreadable = {}, {}
        for case in self.cases():
            try:
                stamp = (case.folder / "case.json").stat().st_mtime_ns
                known = self._remembered.get(case.name)
                record = known[1] if known is not None and known[0] == stamp else case.record()
            except (LDSegError, OSError) as error:
                self.unreadable[case.name] = str(error)
                continue
            self._remembered[case.name] = (stamp, record)
            records[case.name] = record
        return records

    def add_case(
        self,
        name: str,
        image: Scan,
        path: Path | None,
        classes: Sequence[ClassInfo],
        masks: Masks | None,
        runs: Sequence[dict] = (),
        patient: str | None = None,
        copy: bool = True,
    ) -> CaseFolder:
        """Add a case, whole or not at all.

        Parameters
        ----------
        name
            What to call it; a number is added where the name is taken.
        image
            The image with the geometry of the label.
        path
            Its file, if a reference suffices; None makes a copy, unless ``copy`` is False.
        classes
            The meaning of the label values 0, 1, ...
        masks
            Label and masks; None for a case that has no label yet.
        runs
            Provenance of the runs that the label came from.
        patient
            Who is shown; by default guessed from the name and the file's folder.
        copy
            Whether to copy the image where it has no file.

        Raises
        ------
        LDSegError
            If the image cannot be kept.
        OSError
            If the folder cannot be written.
        """
        with self._guard:
            if not (self.folder / "project.json").is_file():
                raise FileNotFoundError(f"{self.folder} is not there")
            self.learn_classes(classes)
            patient = self._known((patient or patient_of(name, path))[:200])
            record = CaseRecord(
                patient=patient,
                split=self._splits.get(patient) or self._draw(),
                image=None,
                geometry=geometry_of(image),
                values=tuple(c.name for c in classes),
                labelled=masks is not None,
                runs=tuple(runs),
                created=now(),
                changed=now(),
            )
            building = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.folder / "cases"))
            try:
                case = CaseFolder(building)
                final = self._free_name(name, self.folder / "cases")
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
        """Return what the case's record is to say so that it is of ``patient``: ``patient`` and ``split``.

        The split is that patient's. A new patient keeps the split of one that the case was alone in, and
        gets one of its own otherwise.

        Raises
        ------
        LDSegError
            If no patient is named, or the case cannot be read.
        """
        with self._guard:
            records = self.records()
            if name not in records:
                raise LDSegError(self.unreadable.get(name, f"{name} is no case of the project."))
            if not patient.strip():
                raise LDSegError(f"Name the patient whose image {name} is.")
            patient, old = self._known(patient.strip()[:200]), records.pop(name)
            shared = any(record.patient == old.patient for record in records.values())
            split = self._splits.get(patient) or (self._draw() if shared else old.split)
            self._splits[patient] = split
            return {"patient": patient, "split": split}

    def remove_case(self, name: str) -> Path:
        """Move a case's folder out of ``cases`` into ``removed`` and return where. Raises OSError."""
        with self._guard:
            removed = self.folder / REMOVED
            removed.mkdir(exist_ok=True)
            return self.case(name).folder.rename(self._free_name(name, removed))

    def set_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Replace the project's classes.

        Raises
        ------
        LDSegError
            If a class that a case uses would go.
        """
        names = {c.name for c in classes}
        for case, record in self.records().items():
            for gone in [value for value in record.values if value not in names]:
                raise LDSegError(
                    f"The class {gone} is used by the case {case}; keep it, or take the case out first."
                )
        self._write(self.record.model_copy(update={"classes": tuple(classes)}))

    def classes_of(self, record: CaseRecord) -> list[ClassInfo]:
        """Return the meaning of a case's label values. Raises LDSegError if a class is gone."""
        known = {c.name: c for c in self.record.classes}
        for name in record.values:
            if name not in known:
                raise LDSegError(
                    f"A case uses the class {name}, but {self.folder / 'project.json'} no longer has "
                    "it; put it back there."
                )
        return [known[name] for name in record.values]

    def unsaved(self) -> list[CaseFolder]:
        """Return the cases whose journal was left behind by a crash, the newest last."""
        left = []
        for case in self.cases():
            with suppress(OSError):
                left.append((case.journal.stat().st_mtime, case.name))
        return [self.case(name) for _, name in sorted(left)]

    def _sweep(self) -> None:
        """Remove what a killed process was just writing."""
        for path in (self.folder / "cases").glob(".adding-*"):
            shutil.rmtree(path, ignore_errors=True)
        remove_leftovers(self.folder / "project.json")
        for case in self.cases():
            for name in FILES:
                remove_leftovers(case.folder / name)

    def learn_classes(self, classes: Sequence[ClassInfo], redefined: bool = False) -> None:
        """Add those of ``classes`` whose names are new. Raises OSError.

        With ``redefined`` the others get their colour and code from ``classes`` too.
        """
        known = {c.name: c for c in self.record.classes}
        for info in classes:
            known[info.name] = info if redefined else known.get(info.name, info)
        learnt = tuple(known.values())
        if learnt != self.record.classes:
            self._write(self.record.model_copy(update={"classes": learnt}))

    def _write(self, record: ProjectRecord) -> None:
        write_record(self.folder / "project.json", record)
        self.record = record

    def _draw(self) -> str:
        """Put one patient in each block of five into validation, at a place drawn from the project."""
        block, place = divmod(len(self._splits), VALIDATION_EVERY)
        digest = hashlib.sha256(f"{self.record.created} {block}".encode()).digest()
        return "validation" if digest[0] % VALIDATION_EVERY == place else "training"

    def _splits_so_far(self) -> dict[str, str]:
        """Return each patient's split, those included whose cases were removed: models may know them."""
        splits: dict[str, str] = {}
        for path in (self.folder / REMOVED).glob("*/case.json"):
            with suppress(LDSegError):
                record = CaseFolder(path.parent).record()
                splits[record.patient] = record.split
        splits.update((r.patient, r.split) for r in self.records().values())
        return splits

    def _known(self, patient: str) -> str:
        """Return ``patient`` as the project writes it, in whatever case it is given."""
        alike = (known for known in self._splits if known.casefold() == patient.casefold())
        return next(alike, patient)

    def _free_name(self, name: str, cases: Path) -> Path:
        stem = re.sub(r"[^\w.() -]+", "_", name).strip(" .")[:100] or "case"
        taken = {path.name.casefold() for path in cases.iterdir()}
        free, number = stem, 2
        while free.casefold() in taken:
            free, number = f"{stem}-{number}", number + 1
        return cases / free
