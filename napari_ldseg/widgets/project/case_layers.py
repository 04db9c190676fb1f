"""A case of the project as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ...checkpoint.metadata import ClassInfo
from ...layers.geometry import derived_attributes, layer_geometry
from ...project.case import CaseFolder, Masks
from ...project.folder import Project
from ...scans.scan import Scan
from ..common.class_labels import set_classes
from ..common.layers import RESULT_KEY, RUNS_KEY

FILE_KEY = "napari_ldseg_file"


@dataclass(frozen=True)
class Opened:
    """What was read of a case; ``file`` is where its image came from."""

    case: CaseFolder
    image: Scan
    file: Path
    masks: Masks
    classes: Sequence[ClassInfo]
    runs: tuple[dict, ...]


def read_case(project: Project, name: str) -> Opened:
    """Read a case's image and masks, its journal replayed. Raises LDSegError."""
    case = project.case(name)
    record = case.record()
    classes = project.classes_of(record)
    path = project.images.path(case)
    image = project.images.read(case, path)
    return Opened(case, image, path, case.load(image), classes, record.runs)


def show_case(viewer: ViewerModel, opened: Opened) -> tuple[Image, Labels]:
    """Add a case's image, unless it is there, and its labels to ``viewer``."""
    image = _shown(viewer, opened)
    if image is None:
        attributes = layer_geometry(opened.image)
        attributes["metadata"][FILE_KEY] = str(opened.file)
        image = viewer.add_image(
            opened.image.array, name=opened.case.name, rgb=opened.image.channels, **attributes
        )
    labels = Labels(
        opened.masks.label.copy(),
        name=f"labels · {opened.case.name}",
        opacity=0.5,
        **derived_attributes(image),
    )
    background, *classes = opened.classes
    set_classes(labels, dict(enumerate(classes, start=1)), background.name)
    labels.metadata.update({RESULT_KEY: {}, RUNS_KEY: list(opened.runs)})
    viewer.add_layer(labels)
    return image, labels


def _shown(viewer: ViewerModel, opened: Opened) -> Image | None:
    """Return the layer that shows the case's image already."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and RESULT_KEY not in layer.metadata:
            file = layer.metadata.get(FILE_KEY) or layer.source.path
            same = file is not None and Path(file) == opened.file
            if same and np.allclose(layer.scale, layer_geometry(opened.image)["scale"]):
                return layer
    return None
