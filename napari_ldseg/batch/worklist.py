"""A worklist: the cases of a results folder or of a project, and what is to do with each; imports no torch.

The status of a case is that of its case in the project, because a correction of a result adds one there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..project.case import CaseContent
from ..project.schema import CaseRecord
from ..scans.files import image_exists, image_hash, read_like, read_scan
from ..scans.labels import as_labels
from ..scans.scan import Scan
from ..utils.atomic import complete_files
from ..utils.colours import class_colour
from ..utils.hashing import sha256_of
from ..utils.inside import inside
from ..utils.text import one_line
from .inputs import KINDS
from .results import FAILED, HASH, RECORDS, is_finished, known_hashes, read_record, was_segmented

TO_DO, CORRECTED, REVIEWED, SIGNED_OFF = "to do", "corrected", "reviewed", "signed off"
MAX_RECORD_BYTES = 16 * 2**20
# The fields of a record that ``Posterior.summary`` made.
SUMMARY = (
    *("samples", "unit", "time_points", "classes", "calibrated", "warning"),
    *("expected_error", "expected_error_ranking"),
    *("mean_sample_sd", "mean_predictive_sd", "provenance"),
)


@dataclass(frozen=True)
class Result:
    """A finished case of a results folder.

    Attributes
    ----------
    name
        The name of its files.
    images
        Where its image may be: where it was, and the same place seen from the results folder.
    sha256
        Of the image's file; None if an old record does not have it.
    expected_error
        As ``Posterior.expected_error``, 0 to 1.
    corrected
        Whether the label file was changed after it was written.
    classes
        By label value, with the background.
    summary
        That of the ``Posterior``.
    """

    name: str
    images: tuple[Path, ...]
    sha256: str | None
    expected_error: float | None
    corrected: bool
    classes: Mapping[int, ClassInfo] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)


class Results(NamedTuple):
    """The finished cases of a results ``folder``, and how many images failed there."""

    folder: Path
    cases: tuple[Result, ...]
    failed: int


@dataclass(frozen=True)
class Entry:
    """One line of a worklist.

    Attributes
    ----------
    name
        Of the result, else of the project's case.
    expected_error
        Of the model's label map, 0 to 1; None if it is not known.
    status
        ``TO_DO``, ``CORRECTED``, ``REVIEWED`` or ``SIGNED_OFF``.
    case
        The name of the project's case of this image; None if it has none.
    version
        Changes whenever the case of the project was saved.
    result
        The result; None for an entry of the project alone.
    ranking
        Why the expected errors of the model are no order for its cases; None if they are, or that is not known.
    """

    name: str
    expected_error: float | None
    status: str
    case: str | None
    version: str = ""
    result: Result | None = None
    ranking: str | None = None


def read_results(folder: Path) -> Results:
    """Return the finished cases that ``napari-ldseg segment`` wrote to ``folder``.

    One of the folders in it (``labels``, ``records``, ...) stands for it.

    Raises
    ------
    LDSegError
        If it is not such a folder, or has no finished case, or a link leads out of it.
    """
    if folder.name in (RECORDS, *KINDS) and (folder.parent / RECORDS).is_dir():
        folder = folder.parent
    if not folder.is_dir():
        raise LDSegError(f"{folder} is not there; choose another folder of results.")
    records = inside(folder, RECORDS)
    if not records.is_dir():
        raise LDSegError(
            f"{folder} holds no results of napari-ldseg segment; choose the folder that was given "
            "with --output."
        )
    try:
        files = complete_files(records, ".json")
        failures = map(read_record, complete_files(inside(folder, FAILED), ".json"))
        failed = sum(not was_segmented(failure) for failure in failures)
        cases = [_result(folder, path.stem) for path in files]
    except OSError as error:
        raise LDSegError(
            f"{folder} cannot be read: {error.strerror or error}; check its permissions."
        ) from error
    finished = tuple(case for case in cases if case is not None)
    if not finished:
        raise LDSegError(
            f"{folder} holds no finished case; run napari-ldseg segment again to finish them."
        )
    return Results(folder, finished, failed)


def load_result(folder: Path, result: Result) -> CaseContent:
    """Return the image, the label and the SDs of a case of the results ``folder``.

    Raises
    ------
    LDSegError
        If the image is missing or has changed, or a file cannot be read or is not on the image's grid.
    """
    path = _image_file(folder, result)
    image = replace(read_scan(path), name=result.name)
    label = _on_grid(folder, "labels", image)
    maps = {
        kind: np.asarray(_on_grid(folder, kind, image), np.float32)
        for kind in KINDS[1:]
        if _file(folder, kind, result.name).is_file()
    }
    runs = ({**result.summary, "part_of_image": False},)
    label = np.ascontiguousarray(as_labels(label, f"labels/{result.name}.nii.gz"))
    return CaseContent(result.name, image, path, label, result.classes, runs, maps)


def load_preview(folder: Path, result: Result) -> tuple[Scan, np.ndarray]:
    """Return the image and the label of a case of the results ``folder``. Raises LDSegError."""
    path = next((p for p in result.images if image_exists(p)), result.images[0])
    image = replace(read_scan(path), name=result.name)
    return image, as_labels(_on_grid(folder, "labels", image), result.name)


def entries_of_project(records: Mapping[str, CaseRecord]) -> list[Entry]:
    """Return the cases of a project, the highest expected error first."""
    return _in_order(
        Entry(
            name,
            _number(latest.get("expected_error")),
            status_of(record),
            name,
            record.changed,
            ranking=_text(latest.get("expected_error_ranking")),
        )
        for name, record in records.items()
        for latest in [record.runs[-1] if record.runs else {}]
    )


def entries_of_results(results: Sequence[Result], records: Mapping[str, CaseRecord]) -> list[Entry]:
    """Return ``results`` with the status of the project's ``records``, the highest expected error first."""
    by_hash: dict[str, list[str]] = {}
    by_path: dict[str, list[str]] = {}
    for name, record in records.items():
        if record.image is not None:
            by_hash.setdefault(record.image.sha256, []).append(name)
            if record.image.last_seen is not None:
                by_path.setdefault(record.image.last_seen, []).append(name)
    entries = []
    for result in results:
        if result.sha256 is not None:
            names = by_hash.get(result.sha256, [])
        else:
            names = [n for path in result.images for n in by_path.get(str(path), [])]
        wanted = {info.name for value, info in result.classes.items() if value > 0}
        # The same image may have been labelled for another purpose.
        names = [n for n in names if not wanted.isdisjoint(records[n].values)]
        case = max(names, key=lambda n: records[n].changed, default=None)
        status, version = CORRECTED if result.corrected else TO_DO, ""
        if case is not None:
            record = records[case]
            own = status_of(record)
            status, version = status if own == TO_DO else own, record.changed
        ranking = _text(result.summary.get("expected_error_ranking"))
        entries.append(
            Entry(result.name, result.expected_error, status, case, version, result, ranking)
        )
    return _in_order(entries)


def status_of(record: CaseRecord) -> str:
    """Return what has been done with a case of the project."""
    if record.sign_off is not None:
        return SIGNED_OFF
    if record.labelled and record.reviewed_voxels >= record.voxels:
        return REVIEWED
    return CORRECTED if record.edited_voxels else TO_DO


def next_to_do(entries: Sequence[Entry], after: str | None = None) -> Entry | None:
    """Return the first entry to do after the one named ``after``, from the start again at the end."""
    names = [entry.name for entry in entries]
    start = names.index(after) + 1 if after in names else 0
    left = [e for e in (*entries[start:], *entries[:start]) if e.status == TO_DO]
    return next((entry for entry in left if entry.name != after), None)


def _in_order(entries: Iterable[Entry]) -> list[Entry]:
    def key(entry: Entry) -> tuple[float, str]:
        error = entry.expected_error
        return (1.0 if error is None else -error, entry.name.casefold())

    return sorted(entries, key=key)


def _number(value: object) -> float | None:
    """Return ``value`` if it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value <= 1 else None


def _text(value: object) -> str | None:
    """Return ``value`` as one line of printable text, if it is text."""
    return one_line(value) if isinstance(value, str) and value else None


def _result(folder: Path, name: str) -> Result | None:
    """Return the case ``name`` from its record; None if it is not finished or cannot be read."""
    path = inside(folder, f"{RECORDS}/{name}.json")
    if not path.is_file() or path.stat().st_size > MAX_RECORD_BYTES:
        return None
    record = read_record(path)
    if not is_finished(record) or not isinstance(record.get("image"), str):
        return None
    made_with, files = record.get("made_with"), record.get("files")
    if not isinstance(made_with, dict) or not isinstance(files, dict):
        return None
    images = [Path(record["image"])]
    if isinstance(record.get("image_from_here"), str):
        images.append(folder / record["image_from_here"])
    sha256 = made_with.get(HASH)
    return Result(
        name,
        tuple(images),
        sha256 if isinstance(sha256, str) else None,
        _number(record["expected_error"]),
        _corrected(
            _file(folder, "labels", name), path, known_hashes(record, f"labels/{name}.nii.gz")
        ),
        _classes(record),
        {key: record[key] for key in SUMMARY if key in record},
    )


def _corrected(label: Path, record: Path, hashes: Sequence[str]) -> bool:
    """Return whether ``label`` has changed; only one that is newer than its record is read for it."""
    if not label.is_file() or label.stat().st_mtime_ns <= record.stat().st_mtime_ns:
        return False
    return bool(hashes) and sha256_of(label) not in hashes


def _classes(record: Mapping[str, Any]) -> dict[int, ClassInfo]:
    """Return the classes of a record by label value; an older one has their names alone."""
    try:
        return {int(value): ClassInfo(**info) for value, info in record["label_values"].items()}
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError):
        sizes = record.get("classes")
        names = ["background", *sizes] if isinstance(sizes, dict) else ["background"]
        return {
            value: ClassInfo(
                name=one_line(name, 100) or f"label {value}", colour=class_colour(value)
            )
            for value, name in enumerate(names)
        }


def _image_file(folder: Path, result: Result) -> Path:
    """Return where the image is, unchanged. Raises LDSegError."""
    there = [path for path in result.images if image_exists(path)]
    for path in there:
        if result.sha256 is None or image_hash(path) == result.sha256:
            return path
    if there:
        raise LDSegError(
            f"{there[0]} has changed since it was segmented; run napari-ldseg segment again for it."
        )
    raise LDSegError(
        f"The image of {result.name} is no longer at {result.images[0]}; put it back there, or move "
        f"{folder.name} and its images together."
    )


def _file(folder: Path, kind: str, name: str) -> Path:
    return inside(folder, f"{kind}/{name}.nii.gz")


def _on_grid(folder: Path, kind: str, image: Scan) -> np.ndarray:
    """Return the image of one of ``KINDS`` on the axes of ``image``. Raises LDSegError."""
    path = _file(folder, kind, image.name)
    if not path.is_file():
        raise LDSegError(f"{kind}/{path.name} is missing in {folder}; restore it.")
    return read_like(path, image)
