"""The labelled cases of a data set or a project, for training and evaluation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np

from ..datasets.case import Case
from ..datasets.description import read_description
from ..datasets.folders import find_cases
from ..datasets.settings import DataSettings
from ..datasets.split import Split
from ..errors import LDSegError
from ..utils.text import nfc
from .case import CaseFolder, unnamed_value
from .folder import Project


def find_labelled_cases(
    settings: DataSettings, classes: Sequence[str]
) -> tuple[list[Case], Split | None]:
    """Return the cases that ``settings`` describes and, if the data are a project, its split.

    Of a project the completely reviewed cases and the signed ones are returned, with the label values of ``classes`` (names,
    background first).

    Raises
    ------
    LDSegError
        As ``find_cases``; or no case is reviewed, or one uses a class that is not among ``classes``.
    """
    if not (settings.folder / "project.json").is_file():
        cases = find_cases(settings)
        _check_count(settings, classes)
        return cases, None
    project = Project.for_reading(settings.folder)
    parts: dict[str, list[str]] = {"training": [], "validation": []}
    cases = []
    for folder in project.cases():
        record = folder.record()
        reviewed = record.reviewed_voxels >= record.voxels or record.sign_off is not None
        if not record.labelled or not reviewed:
            continue
        cases.append(labelled_case(project, folder, classes))
        parts[record.split].append(nfc(folder.name))
    if not cases:
        raise LDSegError(
            f"No case of {settings.folder} is reviewed completely yet; mark cases as reviewed first."
        )
    return cases, Split(**{part: tuple(names) for part, names in parts.items()})


def labelled_case(project: Project, folder: CaseFolder, classes: Sequence[str]) -> Case:
    """Return a case of the project with the label values of ``classes``.

    If it is not reviewed completely, ``read_reviewed`` gives the part that counts.

    Raises
    ------
    LDSegError
        If it uses a class that is not among ``classes``.
    """
    record = folder.record()
    unknown = [name for name in record.values[1:] if name not in classes]
    if unknown:
        raise LDSegError(
            f"{folder.name} uses the class {unknown[0]}, which is not among the classes "
            f"{', '.join(classes)}; add it to them, or leave the case unreviewed."
        )
    table = np.zeros(max(record.names) + 1, np.uint8)
    for value, name in record.names.items():
        table[value] = list(classes).index(name) if value else 0
    read = partial(project.images.read, folder)
    complete = record.reviewed_voxels >= record.voxels
    label = partial(_label, folder, record.names, table, complete)
    reviewed = None if complete else partial(_reviewed, folder)
    file = folder.file("label.nii.gz")
    return Case(nfc(folder.name), record.patient, read, (label,), file, reviewed)


def _check_count(settings: DataSettings, classes: Sequence[str]) -> None:
    """Raise LDSegError if label values with gaps are not those of ``classes``."""
    if not (settings.folder / "dataset.json").is_file() or settings.layout == "folder":
        return
    description = read_description(settings.folder)
    if description.is_sparse and len(description.classes()) != len(classes):
        names = ", ".join(description.classes().values())
        raise LDSegError(
            f"{settings.folder / 'dataset.json'} names the classes {names}, but there are {len(classes)} "
            "here; name exactly those, in this order."
        )


def _reviewed(folder: CaseFolder) -> np.ndarray:
    return folder.load().reviewed


def _label(
    folder: CaseFolder, values: Collection[int], table: np.ndarray, complete: bool
) -> np.ndarray:
    """Return the label with the classes of ``table``; 0 where nobody labelled, which does not count."""
    label = folder.load().label
    wrong, low = unnamed_value(label, values), int(label.min(initial=0))
    if wrong is None and low < 0 and complete:
        wrong = low
    if wrong is not None:
        raise LDSegError(
            f"The label of {folder.name} holds the value {wrong}, which has no class; "
            "name it in the Correct tab, or erase it there."
        )
    return table[np.maximum(label, 0)]
