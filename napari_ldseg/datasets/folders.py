"""Finding cases in a folder: images and labels of the same name, Decathlon, or nnU-Net."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import LDSegError
from ..scans.channels import channel_files, numbered, read_channels, read_numbered
from ..scans.files import read_labels, read_scan, stem_of, suffix_of
from ..scans.scan import Scan, corner_distance
from ..utils.text import nfc
from .case import Case
from .description import Description, read_description
from .settings import DataSettings


def find_cases(settings: DataSettings) -> list[Case]:
    """Return the labelled cases that ``settings`` describes, sorted by name; reads no image.

    Raises
    ------
    LDSegError
        If the folder is missing, has no images, or an image has no label.
    """
    folder = settings.folder
    if not folder.is_dir():
        raise LDSegError(f"The data folder {folder} does not exist; correct data.folder.")
    layout = _layout(folder) if settings.layout == "auto" else settings.layout
    finders = {"folder": _plain, "decathlon": _decathlon, "nnunet": _nnunet}
    cases = sorted(finders[layout](settings), key=lambda case: case.name)
    for first, second in pairwise(cases):
        if first.name == second.name:
            raise LDSegError(
                f"{folder} has two images called {first.name} in different folders; rename one of them."
            )
    if not cases:
        raise LDSegError(f"{folder} holds no labelled images; correct data.folder or data.images.")
    return cases


def find_unlabelled(
    settings: DataSettings, labelled: Sequence[Case], held_out: Sequence[Case]
) -> list[Case]:
    """Return the images of ``settings.unlabelled`` as cases without labels; reads no image.

    Those with the name of a ``labelled`` case are left out, as it takes part already or is held out, and those
    of a patient of ``held_out``, where ``settings.patient`` tells patients.

    Raises
    ------
    LDSegError
        If a folder is missing or has no other image.
    """
    names, patients = {case.name for case in labelled}, {case.patient for case in held_out}
    cases: list[Case] = []
    for folder in settings.unlabelled:
        before = len(cases)
        for name, path in _files(folder).items():
            patient = _patient(settings, name)
            if not {name, (numbered(name) or ("",))[0]} & names and patient not in patients:
                read = functools.partial(read_scan, path)
                cases.append(Case(name, patient or name, read, (), path))
        if len(cases) == before:
            raise LDSegError(
                f"{folder} holds no image without a label of a patient who is not held out; correct "
                "data.unlabelled, or remove it."
            )
    return cases


def stem(path: Path) -> str:
    """Return a file's name, composed (NFC), without its image suffix (``.nii.gz`` counts as one)."""
    return nfc(stem_of(path))


def read_label(path: Path, scan: Callable[[], Scan], instances: bool) -> np.ndarray:
    """Return a label file as an array on the axes of its image.

    Raises
    ------
    LDSegError
        If it cannot be read, is in colour, or its geometry differs from the image's.
    """
    label = read_labels(path)
    array = np.asarray(label.array)
    image = scan() if label.calibrated else label
    if image.calibrated and image.shape == array.shape:
        distance = corner_distance(label.affine, image.affine, image.size)
        if distance > 0.5 * min(image.spacing):
            raise LDSegError(
                f"{path.name} does not match its image's geometry (their affines differ); resample the label "
                "onto the image."
            )
    return (array > 0).astype(np.uint8) if instances else array


def _plain(settings: DataSettings) -> list[Case]:
    images = _files(settings.folder / settings.images)
    readers = [_files(settings.folder / name) for name in settings.labels]
    for name in images:
        for labels, subfolder in zip(readers, settings.labels, strict=True):
            if name not in labels:
                raise LDSegError(
                    f"{images[name].name} has no label of the same name in {subfolder}; add it, or "
                    "remove the image."
                )
    return [
        _case(settings, name, functools.partial(read_scan, path), [r[name] for r in readers], path)
        for name, path in images.items()
    ]


def _decathlon(settings: DataSettings) -> list[Case]:
    description = read_description(settings.folder)
    if description.training is None:
        raise LDSegError(f"dataset.json of {settings.folder} has no list of training images.")
    several, cases = description.several_modalities, []
    reader: Callable[..., Scan] = read_channels if several else read_scan
    for pair in description.training:
        image, label = description.path(pair.image), description.path(pair.label)
        read = functools.partial(reader, (image,) if several else image)
        case = _case(settings, stem(image), read, [label], None if several else image)
        cases.append(_described(case, description, settings))
    return cases


def _described(case: Case, description: Description | None, settings: DataSettings) -> Case:
    """Return ``case`` with dense classes where those of dataset.json are not, and without what is ignored."""
    if description is None or settings.instances or not description.is_sparse:
        return case
    (read,) = case.read_labels
    dense = functools.partial(_dense, description, read, case.name)
    if not description.ignored():
        return replace(case, read_labels=(dense,))
    labels = functools.partial(_without_ignored, dense)
    return replace(case, read_labels=(labels,), read_reviewed=functools.partial(_labelled, dense))


def _dense(description: Description, read: Callable[[], np.ndarray], name: str) -> np.ndarray:
    return description.dense(read(), name)


def _without_ignored(read: Callable[[], np.ndarray]) -> np.ndarray:
    return np.maximum(read(), 0)


def _labelled(read: Callable[[], np.ndarray]) -> np.ndarray:
    return read() >= 0


def _nnunet(settings: DataSettings) -> list[Case]:
    images = _files(settings.folder / "imagesTr")
    labels = _files(settings.folder / "labelsTr")
    described = (settings.folder / "dataset.json").is_file()
    description = read_description(settings.folder) if described else None
    cases, groups = [], channel_files(images.values())
    for name, label in labels.items():
        if name not in groups:
            raise LDSegError(f"{label.name} has no image {name}_0000 in imagesTr; add it.")
        files = groups[name]
        file = files[0] if len(files) == 1 else None
        read = (
            functools.partial(read_scan, file) if file else functools.partial(read_numbered, files)
        )
        case = _case(settings, name, read, [label], file)
        cases.append(_described(case, description, settings))
    return cases


def _case(
    settings: DataSettings,
    name: str,
    read: Callable[[], Scan],
    labels: list[Path],
    file: Path | None,
) -> Case:
    patient = _patient(settings, name)
    if patient is None:
        raise LDSegError(
            f"The patient of {name} cannot be read from its name: data.patient ({settings.patient}) does "
            "not match it."
        )
    readers = tuple(functools.partial(read_label, p, read, settings.instances) for p in labels)
    return Case(name, patient, read, readers, file)


def _patient(settings: DataSettings, name: str) -> str | None:
    """Return the patient in a case's name, which is another one for each without an expression; None if it has none."""
    if settings.patient is None:
        return name
    found = re.search(settings.patient, name)
    return None if found is None else found.group(1)


def _layout(folder: Path) -> str:
    if not (folder / "dataset.json").is_file():
        return "nnunet" if (folder / "imagesTr").is_dir() else "folder"
    pairs = read_description(folder).training
    if pairs is None:
        return "nnunet"
    # nnU-Net 1 lists imagesTr/CASE.nii.gz too, but its files are CASE_0000.nii.gz.
    first = _stem_of(pairs[0].image) if pairs else ""
    images = folder / "imagesTr"
    found = {stem(path) for path in images.iterdir()} if images.is_dir() else set()
    renamed = first not in found and first in {(numbered(name) or ("",))[0] for name in found}
    return "nnunet" if renamed else "decathlon"


def _stem_of(relative: str) -> str:
    return stem(Path(relative.replace("\\", "/")))


def _files(folder: Path) -> dict[str, Path]:
    """Return the image files of ``folder`` by their stem."""
    if not folder.is_dir():
        raise LDSegError(f"The folder {folder} does not exist; correct data in the configuration.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if suffix_of(path) and not path.name.startswith("."):
            if stem(path) in found:
                raise LDSegError(
                    f"{folder} holds {stem(path)} twice, with different endings; remove one of the files."
                )
            found[stem(path)] = path
    return found
