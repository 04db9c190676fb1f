"""Fine-tuning on the datastore's final labels: as a project's cases, with its comparison, and adopted only on a word."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from ..checkpoint.header import read_metadata
from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..finetuning.comparison import COMPARISON, read_comparison
from ..finetuning.config import FineTuningConfig, Pace
from ..finetuning.launch import FineTuningRun, start
from ..finetuning.model_store import SUFFIX, ModelStore
from ..finetuning.plan import selectable_cases, suggest_model_name
from ..project.case import Masks
from ..project.folder import Project
from ..project.images import refers_to_file
from ..scans.files import image_files, image_hash
from ..utils.atomic import complete_files
from ..utils.inside import inside
from ..utils.text import one_line
from .segmentation import labels_on, read_request_image

PACES: tuple[Pace, ...] = get_args(Pace)
MAX_UPDATES = 1_000_000
SECONDS_BETWEEN_LOOKS = 1.0


class FinalLabel(NamedTuple):
    """A label of the datastore that somebody finished, with the class of each of its values."""

    name: str
    image: Path
    label: Path
    meanings: Mapping[int, int] | None


class TakenIn(NamedTuple):
    """The cases of the labels, a sentence for each label that cannot be used, and the cases that were corrected since."""

    cases: list[str]
    problems: list[str]
    corrected: list[str]


def check_training(params: Mapping[str, Any]) -> tuple[Pace, int | None]:
    """Return pace and number of updates (None: as many as suit) of a request to train. Raises LDSegError."""
    pace, updates = params.get("pace", PACES[0]), params.get("updates") or 0
    if isinstance(pace, list):  # a viewer sends the choices where nobody chose
        pace = PACES[0]
    if pace not in PACES:
        raise LDSegError(f"The pace {one_line(pace, 40)} is unknown; choose {' or '.join(PACES)}.")
    if not str(updates).isdecimal() or int(updates) > MAX_UPDATES:
        raise LDSegError(
            f"updates must be a whole number up to {MAX_UPDATES}, not {one_line(updates, 40)}; 0 means as "
            "many as suit."
        )
    return pace, int(updates) or None


def take_in(project_folder: Path, labels: Sequence[FinalLabel], base: Path) -> TakenIn:
    """Make cases of ``labels`` in the project.

    The project is created if it is missing. A label counts as reviewed completely, as its author has submitted it. A
    case whose image is known gets the new label, unless the case was changed after the label was submitted: somebody
    has corrected it in napari. ``base`` is the checkpoint whose classes the labels have.

    Raises
    ------
    LDSegError
        If the project is open elsewhere or cannot be written.
    """
    metadata = read_metadata(base)
    taken, problems, corrected = set(), [], []
    project = Project(project_folder, create=True)
    try:
        for label in labels:
            try:
                channels = metadata.architecture.image_channels
                name, newer = _take_in(project, label, metadata.classes, channels)
                taken.add(name)
                corrected += [name] if newer else []
            except LDSegError as error:
                problems.append(f"{label.name}: {error}")
        names = [info.name for info in metadata.classes]
        every = selectable_cases(project, names, metadata.architecture.dims)
    except OSError as error:
        raise LDSegError(
            f"{project_folder} cannot be written: {error.strerror or error}."
        ) from error
    finally:
        project.close()
    cases = [case for case in every if case.name in taken]
    problems += [f"{case.name}: {case.problem}" for case in cases if case.problem]
    return TakenIn([case.name for case in cases if not case.problem], problems, corrected)


def train(
    project: Path,
    base: Path,
    cases: Sequence[str],
    *,
    pace: Pace = "quick",
    updates: int | None = None,
    device: str = "auto",
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Fine-tune ``base`` on the project's ``cases`` in a process of its own; return what came of it, as JSON.

    ``report`` is called with a sentence whenever there is news. The new model is not used before ``adopt``.

    Raises
    ------
    LDSegError
        If there are no cases, another run is at work, or the training fails.
    """
    if not cases:
        raise LDSegError("There is no final label to train on; submit some first.")
    name = suggest_model_name(project, read_metadata(base).name)
    config = FineTuningConfig(
        project=project,
        base=base,
        name=name,
        classes=read_metadata(base).classes,
        cases=tuple(cases),
        pace=pace,
        device=device,
        updates=updates,
    )
    run = start(config)
    status = _followed(run, report)
    if status.phase != "finished":
        raise LDSegError(f"The training did not finish: {status.text}")
    comparison = read_comparison(run.file(COMPARISON))
    verdict = comparison.verdict
    return {
        "model": name,
        "cases": len(cases),
        "verdict": verdict.kind,
        "comparison": verdict.text,
        "before": verdict.before,
        "after": verdict.after,
        "warning": comparison.warning,
        "adopted": False,
    }


def adopt(project: Path, name: str) -> dict[str, Any]:
    """Offer the trained model ``name`` from now on. Raises LDSegError if the project has none of that name."""
    store = ModelStore(project)
    path = inside(store.folder, f"{name}{SUFFIX}")
    if not path.is_file():
        known = ", ".join(p.stem for p in complete_files(store.folder, SUFFIX)) or "none"
        raise LDSegError(f"There is no trained model {name}; there are: {known}.")
    store.adopt(path)
    return {"model": name, "adopted": True}


def _followed(run: FineTuningRun, report: Callable[[str], None]) -> Any:
    text = ""
    while not (status := run.status()).ended:
        line = f"{status.text} {status.update}/{status.updates}" if status.updates else status.text
        if line != text:
            report(text := line)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return status


def _take_in(
    project: Project, label: FinalLabel, classes: Sequence[ClassInfo], channels: int
) -> tuple[str, bool]:
    """Return the name of the label's case, and whether that was corrected since and keeps its own label."""
    scan = read_request_image(label.image, channels)
    array = labels_on(scan, label.label)
    plain = {c: c for c in range(1, len(classes))}
    values = plain if label.meanings is None else label.meanings
    mapped = np.zeros(array.shape, np.uint8)
    for value, c in values.items():
        mapped[array == value] = c
    unknown = np.setdiff1d(np.unique(array), [0, *values])
    if len(unknown):
        raise LDSegError(f"its label has the value {unknown[0]}, which is no class of the model.")
    masks = Masks(mapped, np.zeros(mapped.shape, bool), np.ones(mapped.shape, bool))
    path = image_files(label.image)[0] if label.image.is_dir() else label.image
    sha256 = image_hash(path)
    for name, record in project.records().items():
        if record.image is not None and record.image.sha256 == sha256:
            case = project.case(name)
            if np.array_equal(case.load().label, mapped):
                return name, False
            if case.changed > label.label.stat().st_mtime:
                return name, True
            case.save(case.grid(), masks)
            return name, False
    refer = path if refers_to_file(scan, path) else None
    return project.add_case(label.name, scan, refer, classes, masks).name, False
