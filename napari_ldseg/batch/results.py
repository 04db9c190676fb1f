"""One case's results on disk, and its record: how they were made and whether they are complete.

In the cohort's folder: ``labels/``, ``sample_sd/`` and ``predictive_sd/`` with ``<case>.nii.gz`` on the
image's own grid, and ``records/<case>.json``. New files are made in ``.unfinished/``; when all are whole
they are moved into place, and meanwhile the record says ``started``, then ``finished``. Why a case failed is
in ``failed/<case>.json`` until it succeeds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LDSegError
from ..inference.posterior import Posterior
from ..scans.files import read_scan, write_like
from ..utils.atomic import atomic_write, remove_leftovers
from ..utils.hashing import sha256_of
from .inputs import KINDS

LABEL_INTENT = 1002
RECORDS, FAILED, UNFINISHED = "records", "failed", ".unfinished"
HASH = "image_file_sha256"


@dataclass(frozen=True)
class CaseResults:
    """The files of one case in the cohort's ``folder``."""

    folder: Path
    name: str

    @property
    def record_path(self) -> Path:
        """The case's record."""
        return self.folder / RECORDS / f"{self.name}.json"

    def path(self, kind: str) -> Path:
        """The case's image of that kind."""
        return self.folder / kind / f"{self.name}.nii.gz"

    def record(self) -> dict[str, Any]:
        """Return the record; empty if there is none that can be read."""
        return read_record(self.record_path)

    def finished(self, made_with: dict[str, Any]) -> bool:
        """Return whether the results are complete and were made with the same settings and image."""
        record = self.record()
        return (
            record.get("status") == "finished"
            and record.get("made_with") == made_with
            and all((self.folder / name).is_file() for name in record["files"])
        )

    def corrected(self, classes: Sequence[str]) -> bool:
        """Return whether the label, of these ``classes``, was changed after it was written."""
        record, path = self.record(), self.path("labels")
        written = _written(record, self._shown("labels"))
        return (
            list(record.get("classes", {})) == list(classes)
            and bool(written)
            and path.is_file()
            and sha256_of(path) not in written
        )

    def corrected_sizes(self) -> dict[str, float]:
        """Return each class's size in the label as it is now, in the record's unit, per time point.

        Empty where an older record does not tell the voxel size.

        Raises
        ------
        LDSegError
            If the label cannot be read or is not on the image's grid.
        """
        record, shown = self.record(), self._shown("labels")
        if "voxel_size" not in record:
            return {}
        label = read_scan(self.path("labels")).array
        if label.size != record["voxels"]:
            raise LDSegError(
                f"{shown} was changed and now has {label.size} voxels, but its image has "
                f"{record['voxels']}; save it on the image's own grid, or move it away."
            )
        size = record["voxel_size"] / max(record["time_points"], 1)
        return {
            name: np.count_nonzero(label == c) * size
            for c, name in enumerate(record["classes"], start=1)
        }

    def check_replaceable(self, image: Path, made_with: dict[str, Any]) -> None:
        """Raise LDSegError where writing would destroy something that is not this case's old result."""
        record = self.record()
        for kind in KINDS:
            path, shown = self.path(kind), self._shown(kind)
            if not path.exists():
                continue
            known = _written(record, shown)
            if not known:
                raise LDSegError(
                    f"{shown} is already there and is no result of this command; move it away or "
                    "choose another output folder."
                )
            if sha256_of(path) not in known:
                raise LDSegError(
                    f"{shown} was changed after it was made; move it away to keep it, or choose "
                    "another output folder."
                )
        same_file = record.get("made_with", {}).get(HASH) == made_with[HASH]
        if record and record.get("image") != str(image) and not same_file:
            raise LDSegError(
                f"The output folder already holds {self.name} made from {record.get('image')}; choose "
                "another output folder."
            )

    def write(self, image: Path, made_with: dict, posterior: Posterior, seconds: float) -> None:
        """Write the images and the record; the old ones stay until all of the new are whole."""
        arrays = {
            "labels": (posterior.labels, LABEL_INTENT),
            "sample_sd": (posterior.sample_sd, 0),
            "predictive_sd": (posterior.predictive_sd, 0),
        }
        files: dict[str, str] = {}
        record = {
            "status": "finished",
            "image": str(image),
            "made_with": made_with,
            "files": files,
            "expected_error": posterior.expected_error(),
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
                    files[self._shown(kind)] = sha256_of(new[kind])
            _write_json(new_record, record)
            self.check_replaceable(image, made_with)
            # A kill from here on leaves old files among new ones; both are known by their hashes.
            old = self.record()
            replaced = {shown: _written(old, shown) for shown in map(self._shown, KINDS)}
            _write_json(self.record_path, {**record, "status": "started", "replaced": replaced})
            for kind, (array, _) in arrays.items():
                path = self.path(kind)
                path.parent.mkdir(exist_ok=True)
                if array is None:
                    path.unlink(missing_ok=True)
                else:
                    os.replace(new[kind], path)
            os.replace(new_record, self.record_path)
        except OSError as error:
            raise LDSegError(
                f"The results of {self.name} could not be written: {error.strerror or error}."
            ) from error
        finally:
            for path in (*new.values(), new_record):
                path.unlink(missing_ok=True)

    def write_failure(self, image: Path, reason: str) -> None:
        """Record why there is no new result; an old one and its record stay."""
        _write_json(self._failure_path, {"image": str(image), "reason": reason})

    def forget_failure(self) -> None:
        """Remove the record of an earlier failure."""
        self._failure_path.unlink(missing_ok=True)

    def failure(self, image: Path | str) -> str | None:
        """Return why ``image`` failed, None if it did not."""
        failure = read_record(self._failure_path)
        return failure["reason"] if failure.get("image") == str(image) else None

    def _shown(self, kind: str) -> str:
        return f"{kind}/{self.name}.nii.gz"

    @property
    def _failure_path(self) -> Path:
        return self.folder / FAILED / f"{self.name}.json"


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
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def known_names(folder: Path) -> dict[str, str]:
    """Return which case each image of ``folder``'s records is, by the image's path."""
    names: dict[str, str] = {}
    for path in sorted((folder / RECORDS).glob("*.json")):
        image = read_record(path).get("image")
        if isinstance(image, str):
            names.setdefault(image, path.stem)
    return names


def _written(record: dict[str, Any], shown: str) -> list[str]:
    """Return the hashes that the file called ``shown`` may have unless somebody changed it."""
    hashes = [record.get("files", {}).get(shown), *record.get("replaced", {}).get(shown, ())]
    return [sha256 for sha256 in hashes if sha256]


def was_made_with(record: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Return whether ``record`` is of a finished case made with ``settings``."""
    made_with = record.get("made_with", {})
    return record.get("status") == "finished" and all(
        made_with.get(key) == value for key, value in settings.items()
    )
