"""The labelled cases of a data set or a project, for training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..datasets.case import Case
from ..datasets.folders import find_cases
from ..datasets.settings import DataSettings
from ..datasets.split import Split
from ..errors import LDSegError
from .case import CaseFolder
from .folder import Project


def find_labelled_cases(
    settings: DataSettings, classes: Sequence[str]
) -> tuple[list[Case], Split | None]:
    """Return the cases that ``settings`` describes and, if the data are a project, its split.

    Of a project the completely reviewed cases are returned, with the label values of ``classes`` (names,
    background first).

    Raises
    ------
    LDSegError
        As ``find_cases``; or no case is reviewed, or one uses a class that is not among ``classes``.
    """
    if not (settings.folder / "project.json").is_file():
        return find_cases(settings), None
    project = Project.for_reading(settings.folder)
    parts: dict[str, list[str]] = {"training": [], "validation": []}
    cases = []
    for folder in project.cases():
        record = folder.record()
        if not record.labelled or record.reviewed_voxels < record.voxels:
            continue
        cases.append(labelled_case(project, folder, classes))
        parts[record.split].append(folder.name)
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
    structures = record.values[1:]
    unknown = [name for name in structures if name not in classes]
    if unknown:
        raise LDSegError(
            f"{folder.name} uses the class {unknown[0]}, which is not among the classes "
            f"{', '.join(classes)}; add it to them, or leave the case unreviewed."
        )
    values = np.array([0, *(list(classes).index(name) for name in structures)], np.uint8)
    read = partial(project.images.read, folder)
    label = partial(_label, folder, values)
    complete = record.reviewed_voxels >= record.voxels
    reviewed = None if complete else partial(_reviewed, folder)
    file = folder.file("label.nii.gz")
    return Case(folder.name, record.patient, read, (label,), file, reviewed)


def _reviewed(folder: CaseFolder) -> np.ndarray:
    return folder.load().reviewed


def _label(folder: CaseFolder, values: np.ndarray) -> np.ndarray:
    label = folder.load().label
    low, high = int(label.min(initial=0)), int(label.max(initial=0))
    if low < 0 or high >= len(values):
        raise LDSegError(
            f"The label of {folder.name} holds the value {low if low < 0 else high}, which has no class; "
            "name it in the Correct tab, or erase it there."
        )
    return values[label]
