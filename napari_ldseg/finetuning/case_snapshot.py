"""A copy of a run's cases as they were when it started: later changes of the project do not affect the run."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..checkpoint.file import Checkpoint
from ..datasets.case import Case
from ..datasets.slices import by_slice, counted_scan, is_taken_by_slice
from ..errors import LDSegError
from ..evaluation.overlap import renumbered
from ..inference.segment import segment
from ..project.case import CaseFolder, Masks
from ..project.folder import CASES, Project
from ..project.images import ImageMissing
from ..project.labelled_cases import labelled_case
from ..scans.scan import Scan
from ..utils.atomic import atomic_write
from ..utils.inside import inside
from ..utils.records import write_record

SNAPSHOT, PREDICTED = "snapshot", "predicted.npy"


def snapshot_cases(project: Path, names: Sequence[str], to: Path) -> None:
    """Copy labels and masks of the cases ``names`` to the new folder ``to``: all of them or nothing.

    Labels are copied where they are reviewed, and are 0 elsewhere. Images in the case's folder are copied,
    others are referred to.

    Raises
    ------
    LDSegError
        If a case is gone, broken, or without its image, or the disk is full.
    """
    source = Project.for_reading(project)
    building = None
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".copying-", dir=to.parent))
        write_record(building / "project.json", source.record)
        for name in names:
            _copy_case(source, name, inside(building / CASES, name))
        building.rename(to)
    except OSError as error:
        raise LDSegError(
            f"The cases could not be copied to {to}: {error.strerror or error}; make room, then resume."
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def read_snapshot(
    folder: Path, classes: Sequence[str], dims: int | None = None
) -> tuple[list[Case], list[Case]]:
    """Return the training cases and the validation cases, with the label values of ``classes``.

    Where a label is not reviewed, it is that of ``predict_unreviewed``. For networks of 2 ``dims``, volumes
    are ``by_slice``. Raises LDSegError.
    """
    project = Project.for_reading(folder)
    parts: dict[str, list[Case]] = {"training": [], "validation": []}
    for case_folder in project.cases():
        case = labelled_case(project, case_folder, classes)
        if case.read_reviewed is not None:
            case = replace(
                case, read_labels=(partial(_completed_label, case, case_folder.file(PREDICTED)),)
            )
        record = case_folder.record()
        if is_taken_by_slice(dims, len(record.geometry.shape)):
            case = by_slice(case)
        parts[record.split].append(case)
    return parts["training"], parts["validation"]


def update_image_references(folder: Path, project: Path) -> None:
    """In the snapshot ``folder``, refer to images that have moved where the project refers to them now."""
    copies, source = Project.for_reading(folder), Project.for_reading(project)
    for case in copies.cases():
        try:
            copies.images.path(case)
        except ImageMissing:
            with suppress(LDSegError):  # the first reading reports what is missing
                copies.images.locate(case, source.images.path(source.case(case.name)))


def predict_unreviewed(
    cases: Sequence[Case],
    base: Checkpoint,
    classes: Sequence[str],
    check: Callable[[], None],
    device: str = "auto",
) -> None:
    """Write the label of ``base`` beside each partly reviewed case, for the voxels that are not reviewed.

    The label encoder needs a complete label. Classes that ``base`` does not have are absent there.
    """
    for case in cases:
        if case.read_reviewed is None or case.file is None:
            continue
        path = inside(case.file.parent, PREDICTED)
        if not path.exists():
            check()
            labels = label_map(base, case, classes, device)
            if case.slices is not None:
                found, labels = labels, np.zeros(case.read_reviewed().shape, np.uint8)
                labels[list(case.slices)] = found
            with atomic_write(path, ".part") as temporary, temporary.open("wb") as file:
                np.save(file, labels)


def label_map(
    checkpoint: Checkpoint, case: Case, classes: Sequence[str], device: str
) -> np.ndarray:
    """Return the label map of the counted part of ``case``, with the values of ``classes``, 0 for others."""
    labels = segment(checkpoint, counted_scan(case), 1, device=device).labels
    return renumbered(labels, checkpoint.metadata, classes)


def content_hash(case: Case, scan: Scan) -> str:
    """Return the hash of what a case contributes to a training: image, label, and which voxels count."""
    digest = hashlib.sha256(np.ascontiguousarray(scan.array).tobytes())
    label = np.asarray(case.read_labels[0]()).astype(np.uint8)
    if case.read_reviewed is not None:
        reviewed = case.read_reviewed()
        digest.update(np.packbits(reviewed).tobytes())
        label = label * reviewed
    digest.update(np.ascontiguousarray(label).tobytes())
    return digest.hexdigest()


def _copy_case(source: Project, name: str, to: Path) -> None:
    folder = source.case(name)
    if not folder.file("case.json").is_file():
        raise LDSegError(f"The case {name} is no longer in the project; choose the cases again.")
    record, path = folder.record(), source.images.path(folder)
    if folder.file("label.nii.gz").exists():
        grid, masks = folder.grid(), folder.load()
    else:
        grid = source.images.read(folder, path)
        masks = folder.load(grid)
    to.mkdir(parents=True)
    places = {"path": None, "last_seen": str(path.resolve())}
    if folder.folder.resolve() in path.resolve().parents:
        with suppress(OSError):
            os.link(path, to / path.name)
        if not (to / path.name).exists():
            shutil.copyfile(path, to / path.name)
        places = {"path": f"{CASES}/{name}/{path.name}", "last_seen": None}
    if record.image is None:
        raise LDSegError(f"The project has no image for {name}; locate it in the Project tab.")
    reference = record.image.model_copy(update=places)
    write_record(to / "case.json", record.model_copy(update={"image": reference}))
    label = np.where(masks.reviewed, masks.label, 0).astype(masks.label.dtype)
    CaseFolder(to).save(grid, Masks(label, masks.edited, masks.reviewed))


def _completed_label(case: Case, predicted: Path) -> np.ndarray:
    label, reviewed = case.read_labels[0](), case.read_reviewed
    try:
        elsewhere = np.load(predicted, allow_pickle=False)
    except (OSError, ValueError):
        return label  # before ``predict_unreviewed``
    return label if reviewed is None else np.where(reviewed(), label, elsewhere)
