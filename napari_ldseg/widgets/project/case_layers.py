"""Showing a case of the project as layers."""

from __future__ import annotations

from collections.abc import Mapping
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
class LoadedCase:
    """A case as read from the disk; ``file`` is that of its image."""

    case: CaseFolder
    image: Scan
    file: Path
    masks: Masks
    classes: Mapping[int, ClassInfo]
    runs: tuple[dict, ...]


def read_case(project: Project, name: str) -> LoadedCase:
    """Read the image and masks of a case, with the changes in its journal. Raises LDSegError."""
    case = project.case(name)
    record = case.record()
    classes = project.classes_of(record)
    path = project.images.path(case)
    image = project.images.read(case, path)
    return LoadedCase(case, image, path, case.load(image), classes, record.runs)


def show_case(viewer: ViewerModel, loaded: LoadedCase) -> tuple[Image, Labels]:
    """Add the labels of a case to ``viewer``, and its image unless it is shown already."""
    image = _shown(viewer, loaded)
    if image is None:
        attributes = layer_geometry(loaded.image)
        attributes["metadata"][FILE_KEY] = str(loaded.file)
        image = viewer.add_image(
            loaded.image.array, name=loaded.case.name, rgb=loaded.image.channels, **attributes
        )
    labels = Labels(
        loaded.masks.label.copy(),
        name=f"labels · {loaded.case.name}",
        opacity=0.5,
        **derived_attributes(image),
    )
    classes = {value: c for value, c in loaded.classes.items() if value > 0}
    set_classes(labels, classes, loaded.classes[0].name)
    labels.metadata.update({RESULT_KEY: {}, RUNS_KEY: list(loaded.runs)})
    viewer.add_layer(labels)
    return image, labels


def _shown(viewer: ViewerModel, loaded: LoadedCase) -> Image | None:
    """Return the layer that shows the image of the case, if there is one."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and RESULT_KEY not in layer.metadata:
            file = layer.metadata.get(FILE_KEY) or layer.source.path
            same = file is not None and Path(file) == loaded.file
            if same and np.allclose(layer.scale, layer_geometry(loaded.image)["scale"]):
                return layer
    return None
