"""The metadata of a checkpoint: its schema, validated and bounded; imports no torch."""

from __future__ import annotations

import json
import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..model.architecture import Architecture, check_swin
from ..model.authors_sizes import check_authors
from ..model.diffdgss.sizes import DiffDGSSSizes
from ..utils.text import nfc

Text = Annotated[str, Field(max_length=2000)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Cells = Annotated[int, Field(ge=1, le=4096)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1, le=1_000_000)]
Millimetres = Annotated[float, Field(gt=0.001, lt=10_000, allow_inf_nan=False)]

MAX_GRID_VOXELS = 2**28
MIN_CASES_FOR_INTERVALS = 19
MIN_CASES_FOR_COVERAGE = 40
MAX_FEATURES = 160

BASELINES = "res-unet", "swin-unetr"
DETERMINISTIC = "unet", *BASELINES


def _renamed_networks(name: object) -> object:
    """Return the current name of the authors' networks, which the first checkpoints call "released"."""
    return "authors" if name == "released" else name


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassInfo(_Schema):
    """The meaning of a label value, which is its index in ``Metadata.classes``."""

    name: Annotated[str, AfterValidator(nfc), Field(min_length=1, max_length=100)]
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
    snomed: Annotated[str, Field(pattern=r"^[0-9]{6,18}$")] | None = None


class Grid(_Schema):
    """The voxel grid of the networks, with axes in the checkpoint's orientation.

    Either every image is resized to ``size`` voxels, or resampled to ``spacing`` mm per voxel and
    then padded around the centre to at least ``minimum_size``. With ``keep_shape`` an image is resized to fit
    into ``size`` without being distorted, and padded around the centre. ``linear`` resampling applies a low-pass
    filter where it shrinks; ``corners`` aligns the centres of the corner voxels and does not filter
    (scipy's zoom); ``nearest`` takes the voxel at floor(index * ratio) (as OpenCV).
    """

    size: tuple[Cells, ...] | None = None
    spacing: tuple[Millimetres, ...] | None = None
    minimum_size: tuple[Cells, ...] | None = None
    resampling: Literal["linear", "corners", "nearest"] = "linear"
    keep_shape: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Grid:
        if (self.size is None) == (self.spacing is None):
            raise ValueError("the grid needs either a size or a spacing")
        if self.size is not None and self.minimum_size is not None:
            raise ValueError("a grid of fixed size takes no minimum size")
        if self.keep_shape and self.size is None:
            raise ValueError("keep_shape needs a grid of fixed size")
        if math.prod(self.size or self.minimum_size or ()) > MAX_GRID_VOXELS:
            raise ValueError("the grid is too large")
        return self


class Intensity(_Schema):
    """How an image's intensities are mapped to [0, 1] for the networks.

    ``min-max`` maps the extremes to 0 and 1, ``percentile`` the two percentiles, and clips. They are
    those of each channel, or of all channels ``jointly``, after the resampling or ``before_resampling``.
    ``fundus`` is for colour photographs of the retina: see ``inference.fundus``.
    """

    method: Literal["min-max", "percentile", "fundus"] = "percentile"
    lower: Annotated[float, Field(ge=0, lt=50)] = 0.5
    upper: Annotated[float, Field(gt=50, le=100)] = 99.5
    jointly: bool = False
    before_resampling: bool = False


class FieldOfView(_Schema):
    """Smallest and largest extent of the training images per axis, in mm."""

    smallest: tuple[Millimetres, ...]
    largest: tuple[Millimetres, ...]


class TrainingSize(_Schema):
    """Smallest and largest training image per axis, in pixels.

    They are pixels of the images for a grid of fixed size, and of the grid for a grid of fixed spacing.
    """

    smallest: tuple[Pixels, ...]
    largest: tuple[Pixels, ...]


class Metric(_Schema):
    """The value of one metric and what it was measured on."""

    name: Text
    class_name: Text
    value: Annotated[float, Field(allow_inf_nan=False)]
    split: Text
    cases: Count
    samples: Count
    steps: Count


class TrainingRecord(_Schema):
    """Where the weights come from.

    ``cases`` maps the names of a project's training cases to the hashes of their images and labels,
    ``parent_name`` is the name of the checkpoint whose hash is ``Metadata.parent``, ``trained`` the local
    time of completion.
    """

    data: Text
    licence: Text
    split: Text
    updates: Annotated[int, Field(ge=0)] = 0
    settings: dict[str, str | int | float | bool] = {}
    cases: Annotated[dict[Text, Text], Field(max_length=100_000)] = {}
    parent_name: Text | None = None
    trained: Text | None = None

    def mirrored_axes(self, dims: int) -> tuple[int, ...]:
        """Return the axes of the networks' grid that the augmentation mirrored; none if it is not recorded."""
        try:
            axes = json.loads(str(self.settings.get("augmentation.flip_axes", "[]")))
            return tuple(sorted({int(axis) for axis in axes if 0 <= int(axis) < dims}))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return ()

    @property
    def rotation(self) -> float:
        """The largest angle in radians by which the augmentation turned; 0 if it is not recorded."""
        try:
            angle = float(self.settings.get("augmentation.rotation", 0))
        except ValueError:
            return 0.0
        return min(max(angle, 0.0), math.pi) if math.isfinite(angle) else 0.0


class Calibration(_Schema):
    """The calibration of a result's uncertainty, measured on validation cases.

    It applies only to results of N = ``samples`` samples with K = ``steps`` steps of ``sampler``. ``cases``
    are independent: the number of patients, each of which counts once. ``rank_correlation`` is Spearman's, of
    the cases' expected errors with their true errors (1 - mean DSC): how well a worklist is ordered; None if
    it was not measured or there were too few patients.
    ``inference.calibration`` defines ``temperature`` and ``volume_factors`` (one per class without the
    background). ``level`` is the nominal coverage of the intervals.
    """

    samples: Count
    steps: Count
    sampler: Literal["ddim", "ddpm"] = "ddim"
    split: Text
    cases: Count
    temperature: Annotated[float, Field(ge=0.1, le=10)]
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    volume_factors: tuple[Annotated[float, Field(ge=0, le=1e6)], ...] | None = None
    rank_correlation: Annotated[float, Field(ge=-1, le=1)] | None = None

    @model_validator(mode="after")
    def _enough_cases(self) -> Calibration:
        if self.volume_factors is not None and self.cases < MIN_CASES_FOR_INTERVALS:
            raise ValueError(f"volume factors need at least {MIN_CASES_FOR_INTERVALS} patients")
        return self

    @property
    def claims_coverage(self) -> bool:
        """Whether there were enough cases to state the coverage of the intervals."""
        return self.volume_factors is not None and self.cases >= MIN_CASES_FOR_COVERAGE


class Domain(_Schema):
    """Where the training images are in the space of the D features that ``inference.domain`` defines.

    Attributes
    ----------
    mean
        The features' mean over the training images, D values.
    factor
        The lower triangle, row by row, of L with L L' = C^-1, the inverse of their shrunk covariance.
    limit
        The largest usual distance.
    images
        How many images the mean and covariance are of.
    full_size
        Whether none of them was resized for the networks.
    """

    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MAX_FEATURES)]
    factor: Annotated[tuple[Finite, ...], Field(max_length=MAX_FEATURES * (MAX_FEATURES + 1) // 2)]
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    images: Count
    full_size: bool = False

    @model_validator(mode="after")
    def _triangle(self) -> Domain:
        size = len(self.mean)
        if len(self.factor) != size * (size + 1) // 2:
            raise ValueError(f"{len(self.factor)} values are no triangle of {size} rows")
        return self


LargerImages = Literal["resize", "tile", "find"]


class Metadata(_Schema):
    """Everything except the weights that is needed to use a checkpoint.

    ``larger_images`` is what to do with images that are far larger than the training images: ``"resize"``
    takes them as a whole, because every training image shows the complete field; ``"tile"`` segments
    overlapping tiles, because structures are everywhere; ``"find"`` searches for the structures with
    tiles and segments around them, because the training images are crops around a structure. None is
    the default of ``inference.checks.larger_images``.

    ``networks`` is the model family. The sizes of ``"diffdgss"`` networks are in ``diffdgss``; of their
    ``architecture`` only dimensions, channels and classes are used.
    """

    format_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=100)]
    description: Text
    architecture: Architecture
    networks: Annotated[
        Literal["ldseg", "authors", "res-unet", "swin-unetr", "unet", "diffdgss"],
        BeforeValidator(_renamed_networks),
    ] = "ldseg"
    diffdgss: DiffDGSSSizes | None = None
    parametrisation: Literal["plain-difference", "velocity"] = "velocity"
    schedule: Literal["cosine", "linear", "quadratic"] = "cosine"
    schedule_length: Annotated[int, Field(ge=2, le=100_000)] = 1000
    channels: tuple[Text, ...]
    classes: tuple[ClassInfo, ...]
    orientation: Annotated[str, Field(pattern=r"^[LRAPIS]{3}$")] | None = None
    grid: Grid
    intensity: Intensity = Intensity()
    field_of_view: FieldOfView | None = None
    training_size: TrainingSize | None = None
    larger_images: LargerImages | None = None
    label_steps: Annotated[int, Field(ge=1, le=1000)] = 2
    posterior_steps: Annotated[int, Field(ge=1, le=1000)] = 10
    training: TrainingRecord
    metrics: tuple[Metric, ...] = ()
    calibration: Calibration | None = None
    domain: Domain | None = None
    parent: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    software: dict[str, Text] = {}

    def steps_for(self, samples: int) -> int:
        """Return the number of sampling times K that ``samples`` samples are drawn with, unless another is given."""
        return self.label_steps if samples == 1 else self.posterior_steps

    @property
    def deterministic(self) -> bool:
        """Whether noise and steps have no effect on a sample."""
        return self.networks in DETERMINISTIC

    @property
    def baseline(self) -> bool:
        """Whether the networks are for comparisons, and are not retrained."""
        return self.networks in BASELINES

    @property
    def mean_dsc(self) -> tuple[float, int] | None:
        """The mean over the classes of the label map's measured DSC, and its number of cases.

        The number is the largest of the classes'; None if no DSC was measured.
        """
        found = [m for m in self.metrics if m.name == "DSC" and m.samples == 1]
        if not found:
            return None
        return sum(m.value for m in found) / len(found), max(m.cases for m in found)

    @model_validator(mode="after")
    def _fits_together(self) -> Metadata:
        arch = self.architecture
        if len(self.classes) != arch.classes:
            raise ValueError(f"{len(self.classes)} class names for {arch.classes} classes")
        if len(self.channels) != arch.image_channels:
            raise ValueError(f"{len(self.channels)} channel names for {arch.image_channels}")
        if (self.orientation is None) != (arch.dims == 2):
            raise ValueError("a 3D checkpoint needs an orientation, a 2D checkpoint must have none")
        if self.orientation and not all(set(self.orientation) & set(p) for p in ("LR", "AP", "IS")):
            raise ValueError(f"the orientation {self.orientation} has an axis twice")
        per_axis = [self.grid.size, self.grid.spacing, self.grid.minimum_size]
        if self.field_of_view is not None:
            per_axis += [self.field_of_view.smallest, self.field_of_view.largest]
        if self.training_size is not None:
            per_axis += [self.training_size.smallest, self.training_size.largest]
        if any(values is not None and len(values) != arch.dims for values in per_axis):
            raise ValueError(f"the grid and the field of view must have {arch.dims} axes")
        factors = None if self.calibration is None else self.calibration.volume_factors
        if factors is not None and len(factors) != arch.classes - 1:
            raise ValueError(f"{len(factors)} volume factors for {arch.classes - 1} classes")
        if (self.diffdgss is not None) != (self.networks == "diffdgss"):
            raise ValueError("diffdgss networks, and no others, need their sizes in diffdgss")
        if arch.patch != 1 and self.networks != "unet":
            raise ValueError("architecture.patch is for unet networks only")
        if self.networks == "res-unet" and (arch.downsamplings == 0 or min(arch.image_widths) < 2):
            raise ValueError("res-unet networks need at least two image_widths of 2 or more")
        if self.networks == "swin-unetr":
            check_swin(arch, self.grid.size or self.grid.minimum_size)
        if self.diffdgss is not None:
            _check_diffdgss(self.diffdgss, arch, self.intensity)
            if self.schedule_length != self.diffdgss.schedule_length or self.schedule != "cosine":
                raise ValueError(
                    "the schedule must be the cosine of diffdgss.schedule_length times"
                )
        if self.networks == "authors":
            check_authors(arch, self.grid.size or ())
        return self


def _check_diffdgss(sizes: DiffDGSSSizes, arch: Architecture, intensity: Intensity) -> None:
    if arch.dims != 2:
        raise ValueError("diffdgss networks are 2D")
    if (sizes.image_channels, sizes.classes) != (arch.image_channels, arch.classes):
        raise ValueError("the channels and classes of diffdgss must be those of the architecture")
    if sizes.inversion == "noised":
        raise ValueError("noised features are for comparisons; choose the anchored inversion")
    if intensity.method == "fundus" and arch.image_channels != 3:
        raise ValueError("fundus intensities need three channels (red, green, blue)")
