"""A training configuration: the YAML file, and the checkpoint it describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ..checkpoint.metadata import (
    DETERMINISTIC,
    ClassInfo,
    Grid,
    Intensity,
    LargerImages,
    Metadata,
    Text,
    TrainingRecord,
)
from ..datasets.case import Case
from ..datasets.settings import DataSettings
from ..errors import LDSegError
from ..inference.checks import field_of_view, training_size
from ..model.architecture import Architecture
from ..model.diffdgss.sizes import DiffDGSSSizes
from ..utils.atomic import atomic_write
from ..utils.colours import class_colour
from ..utils.records import not_utf8
from .settings import TrainingSettings

MAX_BYTES = 2**20
MAX_BRACKETS = 2000
MADE_BY = "# Written by napari-ldseg train: every setting of this run.\n"


class _UniqueKeys(yaml.SafeLoader):
    """YAML without a key that stands twice in one place: the first value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]} stands there twice; remove one of them")
        return super().construct_mapping(node, deep)


def _classes(value: object) -> object:
    """Return classes with a colour for each that is given by its name alone."""
    if not isinstance(value, list | tuple):
        return value
    for one in value:
        if isinstance(one, bool | int | float):
            raise ValueError(f"YAML does not read {one!r} as text; put the name in quotation marks")
    return tuple(
        {"name": one, "colour": class_colour(i)} if isinstance(one, str) else one
        for i, one in enumerate(value)
    )


class TrainingConfig(BaseModel):
    """Everything about a run: the fields of the file that ``napari-ldseg train`` reads.

    Parameters
    ----------
    name, description
        The checkpoint's name and what it is for, in one line each.
    source, licence
        Where the data come from, and their licence; both go into the checkpoint.
    data
        The folder and the split.
    channels
        Names of the image's channels; one for a grey image.
    classes
        Names (or name, colour, snomed) of the label values 0, 1, ..., background first.
    orientation
        Of the networks' axes in 3D, such as SPL (superior, posterior, left); 3D grids only.
    grid, intensity, parametrisation, schedule
        As in ``checkpoint.metadata.Metadata``.
    networks
        ``ldseg``, ``diffdgss``, or the deterministic ``unet``, ``res-unet`` and ``swin-unetr``.
    architecture
        Fields of ``model.architecture.Architecture``, or for ``diffdgss`` of
        ``model.diffdgss.sizes.DiffDGSSSizes``; dimensions, channels and classes are known.
    training
        Length, optimiser, loss weights, augmentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: Text = ""
    source: Text = "not stated"
    licence: Text = "not stated"
    data: DataSettings
    channels: tuple[Text, ...] = ("image",)
    classes: Annotated[tuple[ClassInfo, ...], BeforeValidator(_classes), Field(min_length=2)]
    orientation: str | None = None
    grid: Grid
    intensity: Intensity = Intensity()
    larger_images: LargerImages | None = None
    networks: Literal["ldseg", "res-unet", "swin-unetr", "unet", "diffdgss"] = "ldseg"
    parametrisation: Literal["plain-difference", "velocity"] = "velocity"
    schedule: Literal["cosine", "linear", "quadratic"] = "linear"
    architecture: dict[str, Any] = {}
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _uses_unlabelled(self) -> TrainingConfig:
        if self.data.unlabelled and not self.training.diffusion_updates:
            raise ValueError(
                "data.unlabelled needs training.diffusion_updates of diffdgss networks; set it, or "
                "remove data.unlabelled"
            )
        return self

    def metadata(self, training: Sequence[Case], split: str) -> Metadata:
        """Return the description of the checkpoint to make.

        The training cases give the field of view in 3D and the images' size in 2D; ``split`` describes how the cases were divided.

        Raises
        ------
        LDSegError
            If the settings contradict each other, or a case cannot be read.
        """
        dims = len(self.grid.size or self.grid.spacing or ())
        try:
            known: dict[str, Any] = {
                "dims": dims,
                "image_channels": len(self.channels),
                "classes": len(self.classes),
                "dropout": 0.0,
            }
            absent = [axis for axis in self.training.augmentation.flip_axes if axis >= dims]
            if absent:
                raise ValueError(
                    f"training.augmentation.flip_axes names the axis {absent[0]} of a {dims}D grid"
                )
            if self.training.augmentation.stain and len(self.channels) != 3:
                raise ValueError(
                    "training.augmentation.stain needs three channels (red, green, blue)"
                )
            given = {
                k: tuple(v) if isinstance(v, list) else v for k, v in self.architecture.items()
            }
            sizes, schedule, length = None, self.schedule, 1000
            if self.networks == "diffdgss":
                own = {k: known[k] for k in ("image_channels", "classes")}
                _check_names(given, DiffDGSSSizes)
                sizes = TypeAdapter(DiffDGSSSizes).validate_python(own | given)
                given, schedule, length = {}, "cosine", sizes.schedule_length
            _check_names(given, Architecture)
            if self.networks in DETERMINISTIC and "image_widths" in given:
                given.setdefault("label_widths", given["image_widths"])
            if "denoiser_widths" in given:
                known["denoiser_attention"] = tuple(range(1, len(given["denoiser_widths"])))
            architecture = TypeAdapter(Architecture).validate_python(known | given)
            metadata = Metadata(
                name=self.name,
                description=self.description or self.name,
                architecture=architecture,
                networks=self.networks,
                diffdgss=sizes,
                parametrisation=self.parametrisation,
                schedule=schedule,
                schedule_length=length,
                channels=self.channels,
                classes=self.classes,
                orientation=(self.orientation or "SPL") if dims == 3 else self.orientation,
                grid=self.grid,
                intensity=self.intensity,
                larger_images=self.larger_images,
                training=TrainingRecord(data=self.source, licence=self.licence, split=split),
            )
            scans = (case.read_scan() for case in training)
            seen = {
                "field_of_view": field_of_view(metadata, scans),  # reads the scans in 3D
                "training_size": training_size(metadata, scans),  # in 2D
            }
            return metadata.model_copy(update=seen)
        except (TypeError, ValidationError, ValueError) as error:
            raise LDSegError(
                f"The configuration of {self.name} does not fit together: {_first(error)}."
            ) from error


def read_config(path: Path) -> TrainingConfig:
    """Read a configuration; relative paths in it count from its own folder.

    Raises
    ------
    LDSegError
        If the file is missing, is not YAML, has a key twice, or a value is unknown or wrong.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LDSegError(f"{path.name} is too large to be a configuration.")
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > MAX_BRACKETS:  # deep nesting takes quadratic time
            raise LDSegError(f"{path.name} has too many brackets to be a configuration.")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise LDSegError(f"{path.name} uses YAML aliases (*name); write the values out.")
        content = yaml.load(text, _UniqueKeys)
        if not isinstance(content, dict):
            raise LDSegError(
                f"{path.name} is not a configuration; it must consist of lines of key: value."
            )
        config = TrainingConfig.model_validate(content)
    except OSError as error:
        raise LDSegError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    except (ValidationError, RecursionError) as error:
        raise LDSegError(f"{path.name}: {_first(error)}.") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LDSegError(f"{path.name} is not valid YAML: {reason}.") from error
    return config.model_copy(update={"data": config.data.beside(path.resolve().parent)})


def write_config(config: TrainingConfig, path: Path) -> None:
    """Write ``config`` as YAML with absolute paths, every default included.

    Raises
    ------
    LDSegError
        If ``path`` is a file that this function did not write.
    OSError
        If it cannot be written.
    """
    if path.exists() and not path.read_bytes().startswith(MADE_BY.encode()):
        raise LDSegError(
            f"{path.parent} holds a {path.name} of your own; choose another folder for the run."
        )
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with atomic_write(path, ".part") as temporary:
        temporary.write_text(MADE_BY + text, encoding="utf-8")


def _check_names(given: dict[str, Any], sizes: type) -> None:
    unknown = set(given) - {field.name for field in fields(sizes)}
    if unknown:
        raise ValueError(f"there is no setting architecture.{min(unknown)}")


def _first(error: Exception) -> str:
    """Return the first problem of a validation in a few words, with its place."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())[:200]
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {place}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    reason = " ".join(problem["msg"].removeprefix("Value error, ").split())[:200]
    return f"{place}: {reason}" if place else reason
