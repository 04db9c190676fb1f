"""Export to and import from the folder layouts of nnU-Net and the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..checkpoint.bundled import bundled_checkpoints
from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import ClassInfo
from ..datasets.description import read_description
from ..datasets.folders import find_cases
from ..datasets.settings import DataSettings
from ..errors import LDSegError
from ..scans.channels import channels_as_frames
from ..scans.files import write_like
from ..scans.labels import LABEL_INTENT
from ..scans.scan import Scan
from ..utils.colours import class_colour
from .case import Masks, unnamed_value
from .folder import Project
from .images import refers_to_file
from .patient import patients_of

Layout = Literal["nnU-Net", "Decathlon"]


@dataclass(frozen=True)
class Outcome:
    """How many cases were exported or imported, and one sentence for each that was not."""

    done: int
    left_out: tuple[str, ...]


def export(project: Project, folder: Path, layout: Layout) -> Outcome:
    """Write the reviewed cases to ``folder``, a new or empty one: all of it or nothing.

    Label values become the project's class numbers. Only completely reviewed cases are exported, since
    training on unreviewed predictions teaches a model its own mistakes.

    Raises
    ------
    LDSegError
        If there is nothing to export or the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LDSegError(f"{folder} is not empty; choose a new folder for the export.")
    ready, left_out = [], []
    for case in project.cases():
        try:
            record = case.record()
            project.classes_of(record)
        except LDSegError as error:
            left_out.append(str(error))
            continue
        if record.labelled and record.reviewed_voxels >= record.voxels:
            ready.append(case)
        else:
            left_out.append(f"{case.name} is not reviewed yet.")
    if not ready:
        raise LDSegError(
            "No case is completely reviewed yet, so there is nothing to export; mark cases as reviewed first."
        )
    backgrounds = {case.record().values[0] for case in ready}
    structures = [c.name for c in project.record.classes if c.name not in backgrounds]
    number = {name: i for i, name in enumerate(structures, start=1)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".exporting-", dir=folder.parent))
        try:
            written, channels = [], 1
            split: dict[str, list[str]] = {"train": [], "val": []}
            for case in ready:
                try:
                    image, record = project.images.read(case), case.record()
                    label = _renumbered(case.load(image).label, record.names, number)
                    count = _write_image(building / "imagesTr", case.name, image, layout)
                except LDSegError as error:
                    left_out.append(f"{case.name}: {error}")
                    continue
                write_like(
                    building / "labelsTr" / f"{case.name}.nii.gz", label, image, LABEL_INTENT
                )
                channels = max(channels, count)
                written.append(case.name)
                split["train" if record.split == "training" else "val"].append(case.name)
            if not written:
                raise LDSegError(f"Nothing could be exported: {left_out[0]}")
            describe = _nnunet_json if layout == "nnU-Net" else _decathlon_json
            _write_json(
                building / "dataset.json",
                describe(project.record.name, ["background", *structures], written, channels),
            )
            _write_json(building / "splits_final.json", [split])
            if folder.exists():
                folder.rmdir()
            building.chmod(0o755)
            building.rename(folder)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    except OSError as error:
        raise LDSegError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return Outcome(len(written), tuple(left_out))


def import_from(
    project: Project, folder: Path, progress: Callable[[str], None] = lambda name: None
) -> Outcome:
    """Add the training cases of an nnU-Net or Decathlon folder.

    Images of one channel are referred to, those of several are copied.

    Their labels were made by experts, so they count as reviewed, except where nobody labelled: negative
    values, and what dataset.json calls "ignore" (nnU-Net) or "void".

    Raises
    ------
    LDSegError
        If the folder has neither layout, or names a file outside itself.
    OSError
        If the project cannot be written.
    """
    classes = _classes(read_description(folder).classes().values(), _known_colours(project))
    done, left_out = 0, []
    cases = find_cases(DataSettings(folder=folder))
    patients = patients_of([found.name for found in cases], [found.file for found in cases])
    for found, patient in zip(cases, patients, strict=True):
        progress(found.name)
        try:
            image, label = found.read()
            if label.shape != image.shape:
                raise LDSegError(
                    f"its label has the shape {label.shape}, but the image {image.shape}."
                )
            reviewed = label >= 0
            if found.read_reviewed is not None:
                reviewed &= found.read_reviewed()
            label = _checked(np.maximum(label, 0), len(classes))
            path = found.file if refers_to_file(image, found.file) else None
        except LDSegError as error:
            left_out.append(f"{found.name}: {error}")
            continue
        masks = replace(Masks.untouched(label), reviewed=reviewed)
        project.add_case(found.name, image, path, classes, masks, patient=patient)
        done += 1
    return Outcome(done, tuple(left_out))


def _write_image(folder: Path, name: str, image: Scan, layout: Layout) -> int:
    """Write the image's channels as ``layout`` requires; return how many."""
    if not image.channels or layout == "Decathlon":
        one_file = channels_as_frames(image) if image.channels else image
        ending = "_0000.nii.gz" if layout == "nnU-Net" else ".nii.gz"
        write_like(folder / f"{name}{ending}", np.asarray(one_file.array), one_file)
        return image.channel_count
    for channel in range(image.channel_count):
        array = np.ascontiguousarray(image.array[..., channel])
        grey = replace(image, array=array, channels=False)
        write_like(folder / f"{name}_{channel:04d}.nii.gz", array, grey)
    return image.channel_count


def _nnunet_json(name: str, classes: list[str], cases: list[str], channels: int) -> dict:
    return {
        "name": name,
        "channel_names": {str(i): f"channel {i}" for i in range(channels)},
        "labels": {label: value for value, label in enumerate(classes)},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }


def _decathlon_json(name: str, classes: list[str], cases: list[str], channels: int) -> dict:
    return {
        "name": name,
        "description": name,
        "tensorImageSize": "3D" if channels == 1 else "4D",
        "modality": {str(i): "unknown" for i in range(channels)},
        "labels": {str(value): label for value, label in enumerate(classes)},
        "numTraining": len(cases),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases
        ],
        "test": [],
    }


def _known_colours(project: Project) -> dict[str, str]:
    """Return the colours of the bundled models' and the project's classes by lower-case name."""
    known: dict[str, str] = {}
    for path in bundled_checkpoints().values():
        with suppress(LDSegError):
            known.update((c.name.casefold(), c.colour) for c in read_metadata(path).classes)
    known.update((c.name.casefold(), c.colour) for c in project.record.classes)
    return known


def _classes(names: Iterable[str], known: dict[str, str]) -> list[ClassInfo]:
    """Return the classes, background first, in ``known`` colours or others."""
    background, *structures = names
    colours = {known.get(name.casefold()) for name in structures}
    free = (colour for colour in map(class_colour, count(1)) if colour not in colours)
    return [
        ClassInfo(name=background, colour=class_colour(0)),
        *(
            ClassInfo(name=name, colour=known.get(name.casefold()) or next(free))
            for name in structures
        ),
    ]


def _checked(label: np.ndarray, classes: int) -> np.ndarray:
    if not np.array_equal(label, np.rint(label)) or label.max(initial=0) >= classes:
        raise LDSegError(
            f"its label holds values other than the classes 0 to {classes - 1}; name them in dataset.json or "
            "erase them."
        )
    return np.ascontiguousarray(label.astype(np.uint8))


def _renumbered(
    label: np.ndarray, names: Mapping[int, str], number: Mapping[str, int]
) -> np.ndarray:
    """Return ``label`` with the ``number`` of each class instead of its value."""
    wrong = unnamed_value(label, names)
    if wrong is not None or label.min(initial=0) < 0:
        raise LDSegError(
            f"its label holds the value {wrong or label.min()}, which has no class; name it under Edit classes "
            "or erase it."
        )
    table = np.zeros(max(names) + 1, np.min_scalar_type(max(number.values(), default=0)))
    for value, name in names.items():
        table[value] = number.get(name, 0)
    return table[label]


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
