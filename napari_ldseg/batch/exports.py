"""Results of a batch in other formats and as reports, beside the NIfTI files and made from them.

``labels/``, ``sample_sd/`` and ``predictive_sd/`` get ``<case>`` with the format's ending, ``reports/`` gets
``<case>.html``. ``exports/<case>.json`` has the hashes of what was written, so that a file that somebody has
changed since is never overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..export.formats import FORMATS, SAME, export_labels, export_map, same_format
from ..export.report import write_report
from ..export.result import Result
from ..scans.channels import read_image
from ..scans.files import read_like
from ..utils import records
from ..utils.hashing import sha256_of
from ..utils.text import one_line
from .inputs import KINDS, Input
from .results import CaseResults

EXPORTS, REPORTS = "exports", "reports"
NIFTI = "nifti"
MAX_RECORD_BYTES = 2**20


class _File(BaseModel):
    """The hash of an exported file, None if it was about to be written, and that of what it was made from."""

    model_config = ConfigDict(extra="ignore")

    sha256: str | None = None
    made_from: str = ""


class _Exported(BaseModel):
    """The files that were exported, by their paths in the batch's folder."""

    model_config = ConfigDict(extra="ignore")

    files: dict[str, _File] = {}


def check_formats(names: Sequence[str]) -> list[str]:
    """Return ``names``, each once. Raises LDSegError if one is no format."""
    for name in names:
        if name not in (*FORMATS, SAME):
            raise LDSegError(f"There is no format {name}; give {', '.join((*FORMATS, SAME))}.")
    return list(dict.fromkeys(names))


def export_case(
    results: CaseResults, item: Input, channels: int, formats: Sequence[str], report: bool
) -> None:
    """Write a finished case in ``formats`` and its report, unless they are there; first what is possible.

    Parameters
    ----------
    results
        The case's files.
    item
        The image.
    channels
        The number of the model's channels.
    formats
        Of ``FORMATS``, and ``SAME`` for the format that the image came in. NIfTI is there anyway.
    report
        Whether to write the report.

    Raises
    ------
    LDSegError
        If a format cannot hold the result, a file was changed since or is none of ours, or it cannot be written.
    """
    if not (report or set(formats) - {NIFTI}):
        return
    made_from = {
        kind: sha256_of(results.path(kind)) for kind in KINDS if results.path(kind).exists()
    }
    scan = read_image(item.image, channels)
    record = results.record()
    result = Result(
        scan,
        read_like(results.path(KINDS[0]), scan),
        {
            int(value): ClassInfo.model_validate(info)
            for value, info in record.get("label_values", {}).items()
            if int(value)
        },
        record,
        edited=record.get("files", {}).get(f"labels/{item.name}.nii.gz") != made_from["labels"],
        image=item.path,
    )
    maps = {kind: read_like(results.path(kind), scan) for kind in KINDS[1:] if kind in made_from}
    writers: dict[str, Callable[[Path], Any]] = {}
    refused = []
    for name in dict.fromkeys(same_format(result) if one == SAME else one for one in formats):
        one = FORMATS[name]
        if name == NIFTI:
            continue
        reason = one.reason_not(result)
        if reason is not None:
            refused.append(f"cannot be saved as {one.title}: {reason}")
            continue
        labels = f"{KINDS[0]}/{item.name}{one.suffix}"
        writers[labels] = partial(export_labels, result=result, name=name)
        for kind, array in maps.items() if one.reason_no_map(result) is None else ():
            file = f"{kind}/{item.name}{one.map_suffix}"
            writers[file] = partial(export_map, array=array, result=result, name=name)
    if report:
        writers[f"{REPORTS}/{item.name}.html"] = partial(
            write_report,
            result=result,
            name=item.name,
            predictive_sd=maps.get("predictive_sd"),
            sample_sd=maps.get("sample_sd"),
        )
    refused += _write(results.folder, item.name, json.dumps(made_from), writers)
    if refused:
        raise LDSegError(f"{scan.name} was segmented, but {'; '.join(refused)}.")


def _write(
    folder: Path, name: str, made_from: str, writers: dict[str, Callable[[Path], Any]]
) -> list[str]:
    """Write what is not there yet or was made from other files; return why some could not be written."""
    path = folder / EXPORTS / f"{name}.json"
    try:
        exported = records.read_record(path, _Exported, MAX_RECORD_BYTES)
    except LDSegError:
        exported = _Exported()
    files = exported.files
    refused = []
    for file, write in writers.items():
        old = files.get(file)
        try:
            _check_replaceable(folder / file, file, old)
            current = old is not None and old.sha256 and old.made_from == made_from
            if current and (folder / file).exists():
                continue
            files[file] = _File()
            _save(path, exported)
            write(folder / file)
            files[file] = _File(sha256=_hash(folder / file), made_from=made_from)
        except Exception as error:
            files.pop(file, None)
            if old is not None:
                files[file] = old
            text = f"{file} cannot be written: {type(error).__name__}: {one_line(error)}"
            refused.append(str(error).rstrip(".") if isinstance(error, LDSegError) else text)
        _save(path, exported)
    return refused


def _check_replaceable(path: Path, file: str, old: _File | None) -> None:
    if not path.exists():
        return
    if old is None:
        raise LDSegError(
            f"{file} already exists and is not a result of this command; move it away or choose another "
            "output folder."
        )
    if old.sha256 is not None and _hash(path) != old.sha256:
        raise LDSegError(
            f"{file} was changed after it was written; move it away to keep it, or choose another output "
            "folder."
        )


def _hash(path: Path) -> str:
    """Return the hash of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return sha256_of(path)
    import hashlib

    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _save(path: Path, exported: _Exported) -> None:
    try:
        records.write_record(path, exported)
    except OSError as error:
        raise LDSegError(f"{path} could not be written: {error.strerror or error}.") from error
