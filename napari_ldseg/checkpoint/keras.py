"""Import of the authors' Keras weights: four ``.hdf5`` files become one checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ..errors import LDSegError
from ..model.architecture import Architecture
from ..model.authors_sizes import authors_architecture, check_authors
from ..model.schedule import ScheduleName
from ..utils.colours import class_colour
from ..utils.text import one_line
from .file import Checkpoint, build_model, save_checkpoint
from .hdf5 import read_hdf5
from .keras_layers import Layers, assign
from .metadata import ClassInfo, Grid, Intensity, Metadata, TrainingRecord

NETWORKS = ("label_encoder", "label_decoder", "image_encoder", "denoiser")
STEMS = dict(
    zip(NETWORKS, ("labelEncoder", "labelDecoder", "imageEncoder", "denoiser"), strict=True)
)
SUFFIXES = {2: ".hdf5", 3: "3D.hdf5"}
# The default of the authors' code; an exact denoiser keeps 0.92 of the spread at 15 steps.
POSTERIOR_STEPS = 15
DESCRIPTION = (
    "{dims}D, {classes} classes, images resized to {size}: imported from the Keras weights of the "
    "LDSeg authors' code. The numbers of steps are defaults, not measured."
)


def import_keras(
    folder: str | os.PathLike,
    dims: int | None = None,
    *,
    name: str | None = None,
    class_names: Sequence[str] = (),
    schedule: ScheduleName = "cosine",
    on_file: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """Return the checkpoint of the four Keras files in ``folder``; nothing is written.

    Parameters
    ----------
    folder
        Holds labelEncoder.hdf5, labelDecoder.hdf5, imageEncoder.hdf5 and denoiser.hdf5, or
        labelEncoder3D.hdf5 and so on.
    dims
        2 or 3; only needed if ``folder`` holds files of both.
    name
        The checkpoint's name, by default the folder's.
    class_names
        Names of the classes without the background; the files have none, so numbers by default.
    schedule
        The noise schedule of the training, which the files do not contain: ``"cosine"`` unless the
        authors' code was changed to ``"linear"`` or ``"quadratic"``.
    on_file
        Called after each of the four files is read.

    Raises
    ------
    LDSegError
        If a file is missing, damaged or of another network; the message names file and tensor.
    """
    paths = keras_files(folder, dims)
    layers = {}
    for part in NETWORKS:
        layers[part] = Layers(paths[part].name, part, read_hdf5(paths[part]))
        on_file()
    architecture, size = _derive(layers)
    metadata = _metadata(architecture, size, paths, name, class_names, schedule)
    with torch.device("meta"):
        model = build_model(metadata)
    weights: dict[str, torch.Tensor] = {}
    for part in NETWORKS:
        assign(layers[part], getattr(model, part), f"{part}.", weights)
    model.load_state_dict(weights, assign=True)
    return Checkpoint(metadata, model.eval().requires_grad_(False))


def import_keras_file(
    folder: str | os.PathLike, output: str | os.PathLike, dims: int | None = None, **options: Any
) -> Path:
    """Write the checkpoint of ``import_keras(folder, dims, **options)`` to ``output``.

    Raises
    ------
    LDSegError
        As ``import_keras``, or if ``output`` already exists; nothing is written then.
    """
    if Path(output).exists():
        raise LDSegError(
            f"{output} already exists; choose another name, or delete that file first."
        )
    return save_checkpoint(import_keras(folder, dims, **options), output)


def keras_files(folder: str | os.PathLike, dims: int | None = None) -> dict[str, Path]:
    """Return the path of each network's file in ``folder``. Raises LDSegError if one is missing."""
    folder = Path(folder)
    if not folder.is_dir():
        raise LDSegError(f"There is no folder {folder}; give the one with the .hdf5 files.")
    sets = {
        d: {part: folder / f"{STEMS[part]}{suffix}" for part in NETWORKS}
        for d, suffix in SUFFIXES.items()
    }
    present = {d: [p for p in sets[d].values() if p.is_file()] for d in sets}
    if dims is None:
        complete = [d for d in sets if len(present[d]) == len(NETWORKS)]
        if len(complete) > 1:
            raise LDSegError(
                f"{folder} holds both the 2D and the 3D files; choose with --dims 2 or --dims 3."
            )
        dims = complete[0] if complete else max(sets, key=lambda d: len(present[d]))
    if dims not in sets:
        raise LDSegError(f"The number of dimensions must be 2 or 3, not {dims}.")
    for path in sets[dims].values():
        if path not in present[dims]:
            raise LDSegError(
                f"{path.name} is missing in {folder}; put the four files of one model there."
            )
    return sets[dims]


def dims_of_file(path: str | os.PathLike) -> int:
    """Return 2 or 3, from the name of one of the four files."""
    return 3 if Path(path).name.endswith(SUFFIXES[3]) else 2


def _derive(layers: dict[str, Layers]) -> tuple[Architecture, tuple[int, ...]]:
    """Return the architecture and the image size, derived from the shapes of the tensors."""
    label, decoder = layers["label_encoder"], layers["label_decoder"]
    dims = label.dims
    for other in layers.values():
        if other.dims != dims:
            raise LDSegError(
                f"{other.file} is {other.dims}D, but {label.file} is {dims}D; put the four files of "
                "one model in a folder."
            )
    per_label, per_image = (3, 4) if dims == 2 else (4, 3)
    image, denoiser = layers["image_encoder"], layers["denoiser"]
    label_widths = label.widths(0, per_label, 1 if dims == 2 else 0)
    image_widths = (image.kernel(0)[-1], *image.widths(1, per_image, 1))
    latent = label.latent()
    attention = denoiser.gammas("attention_block")
    if len(attention) < 3:
        raise denoiser.error("attention_block/gamma:0", "is missing")
    try:
        architecture = authors_architecture(
            dims,
            image.kernel(0)[-2],
            decoder.kernel(-1)[-1],
            label_widths,
            image_widths,
            (denoiser.kernel(0)[-1], attention[0], attention[2]),
        )
        size = tuple(n * architecture.stride for n in latent)
        check_authors(architecture, size)
    except ValueError as error:
        raise LDSegError(
            f"{label.file} and the other files do not fit together: {error}; put the four files of one "
            "model in a folder."
        ) from error
    return architecture, size


def _metadata(
    architecture: Architecture,
    size: tuple[int, ...],
    paths: dict[str, Path],
    name: str | None,
    class_names: Sequence[str],
    schedule: ScheduleName,
) -> Metadata:
    dims, classes = architecture.dims, architecture.classes
    if class_names and len(class_names) != classes - 1:
        raise LDSegError(
            f"The files have {classes - 1} classes without the background, but {len(class_names)} names "
            "were given; give one per class."
        )
    names = ["background", *(class_names or (f"class {i}" for i in range(1, classes)))]
    channels = architecture.image_channels
    hashes: dict[str, str | int | float | bool] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()
    }
    try:
        return Metadata(
            name=(name or paths["denoiser"].parent.resolve().name or "authors")[:100],
            description=DESCRIPTION.format(
                dims=dims, classes=classes, size=" x ".join(str(n) for n in size)
            ),
            architecture=architecture,
            networks="authors",
            parametrisation="plain-difference",
            schedule=schedule,
            channels=("red", "green", "blue")
            if channels == 3
            else tuple(f"channel {i}" for i in range(1, channels + 1)),
            classes=tuple(ClassInfo(name=n, colour=class_colour(i)) for i, n in enumerate(names)),
            orientation=None if dims == 2 else "SPL",
            grid=Grid(size=size, resampling="nearest" if dims == 2 else "corners"),
            intensity=Intensity(method="min-max", jointly=True, before_resampling=dims == 3),
            label_steps=2,
            posterior_steps=POSTERIOR_STEPS,
            training=TrainingRecord(
                data="Not stated: weights imported from the authors' Keras format.",
                licence="Not stated; ask the authors before you share the weights.",
                split="Not stated.",
                settings=hashes,
            ),
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "size"
        reason = one_line(first["msg"].removeprefix("Value error, "), 150)
        raise LDSegError(f"The model's {place} is not possible: {reason}.") from error
