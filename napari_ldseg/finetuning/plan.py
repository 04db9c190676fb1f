"""Before a run starts: which cases can be used, how long it will take, what the model is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, RootModel

from ..checkpoint.metadata import Metadata
from ..datasets.slices import is_taken_by_slice
from ..errors import LDSegError
from ..project.folder import Project
from ..project.schema import CaseRecord
from ..training.settings import Augmentation, Network, TrainingSettings
from ..utils.atomic import complete_files
from ..utils.inside import inside
from ..utils.records import read_record, write_record
from ..utils.text import free_name
from .config import ALLOWED_IN_NAMES, Pace, read_config
from .launch import MODELS, RUNS

SPEED = "speed.json"
SECONDS_PER_VOXEL = 3.2e-6
FIXED_SECONDS = 15
BLEND = 0.25
WATCHED_IMAGES = 8
NOT_RETRAINED = (
    "{} is a baseline without diffusion, which is not retrained here; choose an LDSeg model."
)
PATCH, COLOUR = 128, 0.15
FIXED: tuple[Network, ...] = ("label_encoder", "label_decoder")


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Speed(BaseModel):
    """The seconds that a run took: ``fixed``, and per ``update``."""

    fixed: Seconds
    update: Seconds


class Speeds(RootModel[dict[str, Speed]]):
    """``speed.json``: the speed of the last run for each ``speed_key``."""


class SelectableCase(NamedTuple):
    """A case of the project; ``reviewed`` is a fraction, ``problem`` says why it cannot be used.

    ``images`` is 1, or, of a volume that a 2D model is trained on slice by slice, about how many slices count.
    """

    name: str
    patient: str
    split: str
    reviewed: float
    images: int
    problem: str


def selectable_cases(
    project: Project,
    classes: Sequence[str],
    dims: int | None,
    records: Mapping[str, CaseRecord] | None = None,
) -> list[SelectableCase]:
    """Return the project's cases and whether a model can be trained on them.

    Parameters
    ----------
    project
        Open, or for reading.
    classes
        Names of the model's classes, background first.
    dims
        2 or 3, the model's; None for any.
    records
        As they are now in the window; by default as on the disk.
    """
    found = []
    for name, record in (project.records() if records is None else records).items():
        reviewed = record.reviewed_voxels / record.voxels
        problem, shape = "", record.geometry.shape
        by_slice = is_taken_by_slice(dims, len(shape))
        images = max(1, round(reviewed * shape[0])) if by_slice else 1
        unknown = [value for value in record.values[1:] if value not in classes]
        if not record.labelled or not record.reviewed_voxels:
            problem = "Nothing is reviewed yet: mark what is right as reviewed in the Project tab."
        elif dims is not None and len(shape) != dims and not by_slice:
            problem = f"It is {len(shape)}D, the model is {dims}D."
        elif unknown:
            problem = f"It has the class {unknown[0]}, which the model does not have."
        elif record.unnamed_value is not None:
            problem = (
                f"Its label holds the value {record.unnamed_value}, which has no class: give it a name "
                "under Edit classes in the Correct tab, or erase it."
            )
        elif record.image is None:
            problem = (
                "The project has no image for it; open it in the Project tab and locate the image."
            )
        found.append(SelectableCase(name, record.patient, record.split, reviewed, images, problem))
    return found


def suggest_model_name(project: Path, base: str) -> str:
    """Return ``base`` with the first number that no model and no run of the project has: camus-2.

    Characters that file names cannot have are replaced.
    """
    allowed = re.sub(f"[^{ALLOWED_IN_NAMES}]+", "-", base).strip("-. ")
    stem = re.sub(r"-\d+$", "", allowed)[:90] or "model"
    taken = {path.stem for path in complete_files(project / MODELS, ".safetensors")}
    for path in (project / RUNS).glob("*/config.json"):
        with suppress(LDSegError):
            taken.add(read_config(path.parent).name)
    return free_name(stem, {stem, *taken}.__contains__)


def settings_for(pace: Pace, metadata: Metadata, base: Metadata | None) -> TrainingSettings:
    """Return the settings of a pace for the model ``metadata`` that starts from ``base``.

    If both have the same classes, image encoder and denoiser are trained, and the result is ``BLEND`` of the
    way from the base's weights to the trained ones, so that little of the base is forgotten
    (``benchmarks/forgetting.py``). With other classes, or without a base, all weights are trained. Of a DiffDGSS
    model, the interpreter is trained; of a U-Net, all weights, on parts of the images as large as its base's.
    """
    scratch = base is None
    same = base is not None and [c.name for c in base.classes] == [c.name for c in metadata.classes]
    flat = metadata.architecture.dims == 2
    augmentation = Augmentation(shift=6.0 if flat else 3.0)
    if base is not None:  # the new model must not lose the symmetries that its label maps use
        turned = max(base.training.rotation, augmentation.rotation)
        axes = base.training.mirrored_axes(base.architecture.dims)
        augmentation = augmentation.model_copy(update={"flip_axes": axes, "rotation": turned})
    updates = {"quick": 160 if flat else 120, "thorough": 1200 if flat else 800}[pace]
    settings = TrainingSettings(
        updates=updates * (4 if scratch else 1),
        batch_size=8 if flat else 2,
        learning_rate=2e-3 if scratch else 5e-4 if same else 1e-3,
        warmup=20,
        ema_decay=0.98 if pace == "quick" else 0.99,
        validate_every=20 if pace == "quick" else 100,
        weight_decay=1e-2 if scratch else 0.0,
        blend=BLEND if same else 1.0,
        fixed=FIXED if same else (),
        augmentation=augmentation,
    )
    if base is None or metadata.networks not in ("diffdgss", "unet"):
        return settings
    # The interpreter alone, on parts of the images: the features hold for other cameras.
    fixed = ("diffusion",) if metadata.networks == "diffdgss" else ()
    patch = int(base.training.settings.get("patch", 0)) or PATCH
    changes = {"fixed": fixed, "blend": 1.0, "patch": patch, "batch_size": 4}
    coloured = augmentation.model_copy(update={"shift": 0.0, "colour": COLOUR})
    return settings.model_copy(update=changes | {"precision": "32-true", "augmentation": coloured})


def expected_seconds(
    project: Path, metadata: Metadata, settings: TrainingSettings, held_out: int
) -> float:
    """Return about how long a run will take: like the last one here, or by a rule of thumb.

    ``held_out`` is the number of validation images.
    """
    voxels = 1
    for size in metadata.grid.size or metadata.grid.minimum_size or (64,) * 3:
        voxels *= size
    known = read_speeds(project).get(speed_key(metadata, settings))
    if known is not None:
        return known.fixed + settings.updates * known.update
    update = settings.batch_size * voxels * SECONDS_PER_VOXEL
    measured = (
        2 * held_out + min(held_out, WATCHED_IMAGES) * settings.updates / settings.validate_every
    )
    return FIXED_SECONDS + settings.updates * update + measured * voxels * SECONDS_PER_VOXEL


def speed_key(metadata: Metadata, settings: TrainingSettings) -> str:
    """Return a key for everything that determines an update's time on one computer."""
    size = metadata.grid.size or metadata.grid.minimum_size or metadata.grid.spacing
    return f"{metadata.architecture} {size} {settings.batch_size}"


def read_speeds(project: Path) -> dict[str, Speed]:
    """Return the times of the project's earlier runs by ``speed_key``; nothing if they cannot be read."""
    with suppress(LDSegError):
        return read_record(inside(project / RUNS, SPEED), Speeds).root
    return {}


def remember_speed(project: Path, key: str, speed: Speed) -> None:
    """Add the time of a run to those of the project; do nothing if that is impossible."""
    with suppress(OSError, LDSegError):
        write_record(inside(project / RUNS, SPEED), Speeds(read_speeds(project) | {key: speed}))
