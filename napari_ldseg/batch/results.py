"""The results of one case on disk, and its record: how they were made and whether they are complete.

The batch's folder has ``labels/``, ``sample_sd/`` and ``predictive_sd/`` with ``<case>.nii.gz`` on the
image's own grid, and ``records/<case>.json``. New files are written to ``.unfinished/``; when all are
complete they are moved to their places. The status of the record is ``started`` meanwhile, then
``finished``. The reason why a case failed is in ``failed/<case>.json`` until it succeeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.files import read_scan, write_like
from ..scans.labels import LABEL_INTENT
from ..utils import records
from ..utils.atomic import atomic_write, complete_files, remove_leftovers
from ..utils.hashing import sha256_of
from .inputs import KINDS

if TYPE_CHECKING:
    from ..inference.posterior import Posterior  # imports torch

RECORDS, FAILED, UNFINISHED = "records", "failed", ".unfinished"
HASH = "image_file_sha256"
MAX_RECORD_BYTES = 2**26  # each sample of each class has a size
NEEDED = {
    "status",
    "image",
    "made_with",
    "files",
    "classes",
    "unit",
    "samples",
    "provenance",
    "calibrated",
}


class _ClassSize(BaseModel):
    model_config = ConfigDict(extra="allow")

    size: float
    interval: list[float] | None = None


class _Provenance(BaseModel):
    model_config = ConfigDict(extra="allow")

    steps: int
    seed: int


class _Calibrated(BaseModel):
    model_config = ConfigDict(extra="allow")

    intervals: bool
    meaning: str


class _Record(BaseModel):
    """A record or the reason of a failure, of this or an earlier version."""

    model_config = ConfigDict(extra="allow")

    status: str = ""
    image: str = ""
    reason: str = ""
    made_with: dict[str, Any] = {}
    files: dict[str, str] = {}
    replaced: dict[str, list[str]] = {}
    classes: dict[str, _ClassSize] = {}
    expected_error: float | None = None
    expected_error_ranking: str | None = None
    voxels: int = 0
    voxel_size: float = 0
    time_points: int = 0
    unit: str = ""
    samples: int = 0
    provenance: _Provenance = _Provenance(steps=0, seed=0)
    calibrated: _Calibrated = _Calibrated(intervals=False, meaning="")

    @model_validator(mode="after")
    def _complete(self) -> _Record:
        needed = {"image", "reason"} if "reason" in self.model_fields_set else NEEDED
        if self.voxel_size:  # not in the first records
            needed = needed | {"voxels", "time_points"}
        if not needed <= self.model_fields_set:
            raise ValueError("the record is incomplete")
        return self


@dataclass(frozen=True)
class CaseResults:
    """The files of one case in the batch's ``folder``."""

    folder: Path
    name: str

    @property
    def record_path(self) -> Path:
        """The path of the case's record."""
        return self.folder / RECORDS / f"{self.name}.json"

    def path(self, kind: str) -> Path:
        """Return the path of the case's image of one of ``KINDS``."""
        return self.folder / kind / f"{self.name}.nii.gz"

    def record(self) -> dict[str, Any]:
        """Return the record; empty if there is none that can be read."""
        return read_record(self.record_path)

    def finished(self, made_with: dict[str, Any]) -> bool:
        """Return whether the results are complete and were made with the same settings and image."""
        record = self.record()
        return (
            is_finished(record)
            and record.get("made_with") == made_with
            and all((self.folder / name).is_file() for name in record["files"])
        )

    def corrected(self, classes: Sequence[str]) -> bool:
        """Return whether the label, of these ``classes``, was changed after it was written."""
        record, path = self.record(), self.path("labels")
        hashes = known_hashes(record, self._relative("labels"))
        return (
            list(record.get("classes", {})) == list(classes)
            and bool(hashes)
            and path.is_file()
            and sha256_of(path) not in hashes
        )

    def corrected_sizes(self) -> dict[str, float]:
        """Return each class's size in the current label, in the record's unit, per time point.

        Empty if the record is an older one without the voxel size.

        Raises
        ------
        LDSegError
            If the label cannot be read or is not on the image's grid.
        """
        record = self.record()
        if "voxel_size" not in record:
            return {}
        label = read_scan(self.path("labels")).array
        if label.size != record["voxels"]:
            raise LDSegError(
                f"{self._relative('labels')} was changed and now has {label.size} voxels, but its image "
                f"has {record['voxels']}; save it on the image's own grid, or move it away."
            )
        size = record["voxel_size"] / max(record["time_points"], 1)
        return {
            name: np.count_nonzero(label == c) * size
            for c, name in enumerate(record["classes"], start=1)
        }

    def check_replaceable(self, image: Path, made_with: dict[str, Any]) -> None:
        """Raise LDSegError if writing would overwrite a file that is not an old result of this case."""
        record = self.record()
        for kind in KINDS:
            path, name = self.path(kind), self._relative(kind)
            if not path.exists():
                continue
            hashes = known_hashes(record, name)
            if not hashes:
                raise LDSegError(
                    f"{name} already exists and is not a result of this command; move it away or "
                    "choose another output folder."
                )
            if sha256_of(path) not in hashes:
                raise LDSegError(
                    f"{name} was changed after it was written; move it away to keep it, or choose "
                    "another output folder."
                )
        same_file = record.get("made_with", {}).get(HASH) == made_with[HASH]
        if record and record.get("image") != str(image) and not same_file:
            raise LDSegError(
                f"The output folder already holds {self.name} made from {record.get('image')}; choose "
                "another output folder."
            )

    def write(
        self,
        image: Sequence[Path],
        made_with: dict,
        posterior: Posterior,
        classes: Sequence[ClassInfo],
        seconds: float,
    ) -> None:
        """Write the results and the record; the old ones are kept until all new ones are complete.

        ``image`` are the image's files: one, or one per channel; ``classes`` the checkpoint's, background
        first.
        """
        arrays = {
            "labels": (posterior.labels, LABEL_INTENT),
            "sample_sd": (posterior.sample_sd, 0),
            "predictive_sd": (posterior.predictive_sd, 0),
        }
        files: dict[str, str] = {}
        record = {
            "status": "finished",
            "image": str(image[0]),
            "image_from_here": _relative_path(image[0], self.folder),
            **({"channel_files": [str(path) for path in image]} if len(image) > 1 else {}),
            "made_with": made_with,
            "files": files,
            "label_values": {
                str(value): info.model_dump(mode="json") for value, info in enumerate(classes)
            },
            "seconds": round(seconds, 3),
            "voxels": posterior.labels.size,
            "voxel_size": posterior.voxel_size,
            **posterior.summary(),
        }
        new = {kind: self.folder / UNFINISHED / f"{self.name}.{kind}.nii.gz" for kind in KINDS}
        new_record = self.folder / UNFINISHED / f"{self.name}.json"
        try:
            for kind, (array, intent) in arrays.items():
                if array is not None:
                    write_like(new[kind], np.asarray(array), posterior.scan, intent)
                    files[self._relative(kind)] = sha256_of(new[kind])
            _write_json(new_record, record)
            self.check_replaceable(image[0], made_with)
            # If the process is killed from here on, old and new files are mixed; all have known hashes.
            old = self.record()
            replaced = {name: known_hashes(old, name) for name in map(self._relative, KINDS)}
            _write_json(self.record_path, {**record, "status": "started", "replaced": replaced})
            for kind, (array, _) in arrays.items():
                path = self.path(kind)
                if array is None:
                    path.unlink(missing_ok=True)
                else:
                    path.parent.mkdir(exist_ok=True)
                    os.replace(new[kind], path)
            os.replace(new_record, self.record_path)
        except OSError as error:
            raise LDSegError(
                f"The results of {self.name} could not be written: {error.strerror or error}."
            ) from error
        finally:
            for path in (*new.values(), new_record):
                path.unlink(missing_ok=True)

    def write_failure(self, image: Path, reason: str, segmented: bool = False) -> None:
        """Record why there is no new result, or why one that is ``segmented`` is not in every format asked for.

        An old result and its record are kept.
        """
        failure = {"image": str(image), "reason": reason, "segmented": segmented}
        _write_json(self._failure_path, failure)

    def clear_failure(self) -> None:
        """Delete the record of an earlier failure."""
        self._failure_path.unlink(missing_ok=True)

    def failure(self, image: Path | str) -> str | None:
        """Return why ``image`` failed, None if it did not."""
        return self._failure_of(image).get("reason")

    def has_result(self, image: Path | str) -> bool:
        """Return whether ``image`` failed only when its result was saved in another format."""
        return was_segmented(self._failure_of(image))

    def outdated(self, image: Path | str) -> bool:
        """Return whether the result is of an earlier version of ``image``, which failed since."""
        failure = self._failure_of(image)
        return "reason" in failure and not was_segmented(failure)

    def _failure_of(self, image: Path | str) -> dict[str, Any]:
        """Return the record of the failure of ``image``, empty if it did not fail."""
        failure = read_record(self._failure_path)
        return failure if failure.get("image") == str(image) else {}

    def _relative(self, kind: str) -> str:
        """Return the path of ``path(kind)`` in the batch's folder."""
        return f"{kind}/{self.name}.nii.gz"

    @property
    def _failure_path(self) -> Path:
        return self.folder / FAILED / f"{self.name}.json"


def _relative_path(image: Path, folder: Path) -> str | None:
    """Return the path of ``image`` from ``folder``, so that both can be moved together; None across drives."""
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:
        return None


def _write_json(path: Path, record: dict) -> None:
    try:
        remove_leftovers(path)
        with atomic_write(path, ".json") as temporary:
            temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in ``path``; empty if there is none that can be read."""
    try:
        record = records.read_record(path, _Record, MAX_RECORD_BYTES).model_dump(exclude_unset=True)
    except LDSegError:
        return {}
    if "doubt" in record:  # the name in an earlier version
        record.setdefault("expected_error", record.pop("doubt"))
    return record


def known_names(folder: Path) -> dict[str, str]:
    """Return the case names of all records in ``folder``, by the path of the image."""
    names: dict[str, str] = {}
    for path in complete_files(folder / RECORDS, ".json"):
        image = read_record(path).get("image")
        if isinstance(image, str):
            names.setdefault(image, path.stem)
    return names


def known_hashes(record: dict[str, Any], name: str) -> list[str]:
    """Return the hashes that the unchanged file ``name`` can have."""
    hashes = [record.get("files", {}).get(name), *record.get("replaced", {}).get(name, ())]
    return [sha256 for sha256 in hashes if sha256]


def was_segmented(failure: dict[str, Any]) -> bool:
    """Return whether the case of ``failure`` was segmented: only saving it in another format failed."""
    return bool(failure.get("segmented"))


def was_made_with(record: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Return whether ``record`` is of a finished case made with ``settings``."""
    made_with = record.get("made_with", {})
    return is_finished(record) and all(
        made_with.get(key) == value for key, value in settings.items()
    )


def is_finished(record: dict[str, Any]) -> bool:
    """Return whether ``record`` is complete; one of a version without the expected error is not."""
    return record.get("status") == "finished" and "expected_error" in record
