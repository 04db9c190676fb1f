"""What the checkpoint that a run makes will say of itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import FieldOfView, Grid, Intensity, Metadata, TrainingRecord
from ..datasets.case import Case
from ..errors import LDSegError
from ..inference.checks import extent_mm
from ..model.architecture import Architecture
from .frozen import content_hash
from .request import Request

FLAT_SIZE = (128, 128)
WIDTHS = {
    2: {
        "label_widths": (8, 16, 32, 48),
        "image_widths": (16, 32, 64, 96),
        "denoiser_widths": (48, 96),
        "denoiser_attention": (1,),
        "embedding_channels": 24,
    },
    3: {
        "label_widths": (8, 16, 32),
        "image_widths": (12, 32, 64),
        "denoiser_widths": (32, 64),
        "denoiser_attention": (1,),
        "embedding_channels": 24,
    },
}
MOST_VOXELS = 2**21


def describe(
    request: Request, base: Checkpoint | None, training: Sequence[Case], kept_aside: int
) -> Metadata:
    """Return the description of the checkpoint to make.

    Raises
    ------
    LDSegError
        If there is no ``base`` and the cases are too different for one new model.
    """
    split = f"{len(training)} training and {kept_aside} validation cases, drawn by patient"
    hashes = {case.name: content_hash(case) for case in training}
    words = f"{len(training)} corrected cases of the project {request.project.name}"
    if base is None:
        old = _new(request, training)
        record = TrainingRecord(data=words, licence="not stated", split=split, cases=hashes)
    else:
        old = base.metadata
        record = TrainingRecord(
            data=f"{old.training.data}; then {words}"[:2000],
            licence=old.training.licence,
            split=split,
            updates=old.training.updates,
            cases=hashes,
            parent_name=old.name,
        )
    architecture = Architecture(**{**_fields(old.architecture), "classes": len(request.classes)})
    return Metadata.model_validate(
        old.model_dump()
        | {
            "name": request.name,
            "architecture": architecture,
            "classes": request.classes,
            "field_of_view": _field_of_view(old, training),
            "training": record,
            "metrics": (),
            "calibration": None,
            "parent": None,
        }
    )


def _fields(architecture: Architecture) -> dict:
    return {name: getattr(architecture, name) for name in architecture.__dataclass_fields__}


def _new(request: Request, training: Sequence[Case]) -> Metadata:
    scans = [case.read_scan() for case in training]
    kinds = {(len(scan.shape), scan.channel_count) for scan in scans}
    if len(kinds) > 1:
        raise LDSegError(
            "The cases are partly 2D and partly 3D, or differ in their channels; choose cases of one kind."
        )
    dims, channels = kinds.pop()
    architecture = Architecture(
        dims=dims,
        image_channels=channels,
        classes=len(request.classes),
        latent_channels=4,
        dropout=0.0,
        **WIDTHS[dims],  # type: ignore[arg-type]
    )
    grid = Grid(size=FLAT_SIZE)
    if dims == 3:
        spacing = np.median([scan.spacing for scan in scans], axis=0)
        voxels = np.max([np.array(s.shape) * s.spacing / spacing for s in scans], axis=0)
        stride = architecture.stride
        size = (np.ceil(voxels / stride) * stride).astype(int)
        if size.prod() > MOST_VOXELS:
            raise LDSegError(
                "The volumes are too large to train a new model on whole; crop them to the structure, or "
                "start from a model."
            )
        grid = Grid(spacing=tuple(spacing.tolist()), minimum_size=tuple(size.tolist()))
    return Metadata(
        name=request.name,
        description=f"{', '.join(c.name for c in request.classes[1:])}; trained on corrected cases."[
            :2000
        ],
        architecture=architecture,
        channels=("image",)
        if channels == 1
        else tuple(f"channel {i + 1}" for i in range(channels)),
        classes=request.classes,
        orientation="SPL" if dims == 3 else None,
        grid=grid,
        intensity=Intensity(method="min-max", jointly=channels > 1),
        training=TrainingRecord(data="", licence="", split=""),
    )


def _field_of_view(old: Metadata, training: Sequence[Case]) -> FieldOfView | None:
    """Return the base's field of view, widened to that of the cases."""
    if old.architecture.dims == 2 or not training:
        return old.field_of_view
    scans = (case.read_scan() for case in training)
    seen = [extent_mm(old, scan) for scan in scans if scan.calibrated]
    if old.field_of_view is not None:
        seen += [old.field_of_view.smallest, old.field_of_view.largest]
    if not seen:
        return None
    extents = np.array(seen)
    return FieldOfView(
        smallest=tuple(extents.min(0).tolist()), largest=tuple(extents.max(0).tolist())
    )
