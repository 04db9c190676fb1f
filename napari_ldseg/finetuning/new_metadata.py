"""The metadata of the checkpoint that a run makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..checkpoint.file import Checkpoint
from ..checkpoint.metadata import Grid, Intensity, Metadata, TrainingRecord
from ..datasets.case import Case
from ..errors import LDSegError
from ..inference.checks import field_of_view, training_size
from ..inference.orientation import orientation_change
from ..inference.preprocessing import grid_map
from ..model.architecture import Architecture
from ..scans.scan import Scan
from .case_snapshot import content_hash
from .config import FineTuningConfig

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


def new_metadata(
    config: FineTuningConfig,
    base: Checkpoint | None,
    training: Sequence[Case],
    validation: Sequence[Case],
) -> Metadata:
    """Return the metadata of the new checkpoint.

    Raises
    ------
    LDSegError
        If a volume is too large to train on, or there is no ``base`` and the cases are too different for
        one new model.
    """
    split = f"{len(training)} training and {len(validation)} validation cases, drawn by patient"
    hashes: dict[str, str] = {}
    seen, held_out = [], []
    for case in training:
        scan = case.read_scan()
        hashes[case.name] = content_hash(case, scan)
        seen.append(_without_voxels(scan))
    if base is None or base.metadata.grid.size is None:  # The grid must hold them too.
        held_out = [_without_voxels(case.read_scan()) for case in validation]
    images = sum(len(case.slices) for case in training if case.slices is not None)
    slices = f" ({images} slices of them)" if images else ""
    data = f"{len(training)} corrected cases{slices} of the project {config.project.name}"
    if base is None:
        old = _for_new_networks(config, [*seen, *held_out])
        record = TrainingRecord(data=data, licence="not stated", split=split, cases=hashes)
    else:
        old = base.metadata
        record = TrainingRecord(
            data=f"{old.training.data}; then {data}"[:2000],
            licence=old.training.licence,
            split=split,
            updates=old.training.updates,
            cases=hashes,
            parent_name=old.name,
        )
    architecture = replace(old.architecture, classes=len(config.classes))
    return Metadata.model_validate(
        old.model_dump()
        | {
            "name": config.name,
            "architecture": architecture,
            "diffdgss": old.diffdgss and replace(old.diffdgss, classes=len(config.classes)),
            "classes": config.classes,
            "grid": _grid(old, [*seen, *held_out]),
            "field_of_view": field_of_view(old, seen),
            "training_size": training_size(old, seen),
            "training": record,
            "metrics": (),
            "calibration": None,
            "domain": None,
            "parent": None,
        }
    )


def _without_voxels(scan: Scan) -> Scan:
    """Return the scan with an array that takes no memory: its geometry alone."""
    array = np.asarray(scan.array)
    return replace(scan, array=np.broadcast_to(array.dtype.type(0), array.shape))


def _for_new_networks(config: FineTuningConfig, scans: Sequence[Scan]) -> Metadata:
    kinds = {(len(scan.shape), scan.channel_count) for scan in scans}
    if len(kinds) > 1:
        raise LDSegError(
            "Some cases are 2D and others 3D, or their channels differ; choose cases of one kind."
        )
    dims, channels = kinds.pop()
    architecture = Architecture(
        dims=dims,
        image_channels=channels,
        classes=len(config.classes),
        latent_channels=4,
        dropout=0.0,
        **WIDTHS[dims],  # type: ignore[arg-type]
    )
    metadata = Metadata(
        name=config.name,
        description=f"{', '.join(c.name for c in config.classes[1:])}; trained on corrected cases."[
            :2000
        ],
        architecture=architecture,
        schedule="linear",
        channels=("image",)
        if channels == 1
        else tuple(f"channel {i + 1}" for i in range(channels)),
        classes=config.classes,
        orientation="SPL" if dims == 3 else None,
        grid=Grid(size=FLAT_SIZE) if dims == 2 else Grid(spacing=(1.0, 1.0, 1.0)),
        intensity=Intensity(method="min-max", jointly=channels > 1),
        training=TrainingRecord(data="", licence="", split=""),
    )
    if dims == 2:
        return metadata
    # A scan's axes may be in another order than the grid's.
    orders = [orientation_change(metadata, scan.affine)[0] for scan in scans]
    spacings = [np.array(s.spacing)[list(order)] for s, order in zip(scans, orders, strict=True)]
    grid = Grid(spacing=tuple(np.median(spacings, axis=0).tolist()))
    return metadata.model_copy(update={"grid": grid})


def _grid(old: Metadata, scans: Sequence[Scan]) -> Grid:
    """Return the base's grid; if its size is not fixed, large enough for every case."""
    if old.grid.size is not None:
        return old.grid
    dims = old.architecture.dims
    scans = [scan for scan in scans if len(scan.shape) >= dims]
    sizes = [grid_map(old, scan.shape[-dims:], scan.affine).size for scan in scans]
    if not sizes:
        return old.grid
    stride = old.architecture.stride
    size = (np.ceil(np.max(sizes, axis=0) / stride) * stride).astype(int)
    if old.grid.minimum_size is not None and np.all(size <= old.grid.minimum_size):
        return old.grid
    if size.prod() > MOST_VOXELS:
        largest = scans[int(np.argmax([np.prod(s) for s in sizes]))].name
        raise LDSegError(
            f"{largest} is too large to train on; crop the volumes to the structure, or uncheck it."
        )
    return old.grid.model_copy(update={"minimum_size": tuple(size.tolist())})
