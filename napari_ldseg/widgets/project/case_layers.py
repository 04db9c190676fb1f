"""Showing a case of the project as layers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ...errors import LDSegError
from ...layers.geometry import derived_attributes, layer_geometry
from ...project.case import CaseContent, CaseFolder, Masks
from ...project.folder import Project
from ...scans.scan import Scan
from ..common.class_labels import set_classes
from ..common.layers import RESULT_KEY, RUNS_KEY, add_unselected, sd_layer

FILE_KEY = "napari_ldseg_file"
# What the table of a result is made of; a case from elsewhere may have less.
SUMMARY = {
    "unit",
    "classes",
    "calibrated",
    "time_points",
    "mean_sample_sd",
    "part_of_image",
    "provenance",
}


@dataclass(frozen=True)
class LoadedCase(CaseContent):
    """A case of the project as read from the disk."""

    case: CaseFolder
    masks: Masks


def read_case(project: Project, name: str) -> LoadedCase:
    """Read the image and masks of a case, with the changes in its journal. Raises LDSegError."""
    case = project.case(name)
    record = case.record()
    classes = project.classes_of(record)
    path = project.images.path(case)
    image = project.images.read(case, path)
    masks, maps = case.load(image), case.load_maps()
    return LoadedCase(
        name, image, path, masks.label, classes, record.runs, maps, case=case, masks=masks
    )


def show_case(viewer: ViewerModel, loaded: CaseContent) -> tuple[Image, Labels]:
    """Add the labels and the SDs of a case to ``viewer``, and its image unless it is shown already."""
    image = _shown(viewer, loaded)
    if image is None:
        attributes = layer_geometry(loaded.image)
        attributes["metadata"][FILE_KEY] = str(loaded.file)
        image = viewer.add_image(
            loaded.image.array, name=loaded.name, rgb=loaded.image.channels, **attributes
        )
    labels = Labels(
        loaded.label.copy(),
        name=f"labels · {loaded.name}",
        opacity=0.5,
        **derived_attributes(image),
    )
    classes = {value: c for value, c in loaded.classes.items() if value > 0}
    set_classes(labels, classes, loaded.classes[0].name)
    latest = loaded.runs[-1] if loaded.runs and set(loaded.runs[-1]) >= SUMMARY else {}
    labels.metadata.update({RESULT_KEY: latest, RUNS_KEY: list(loaded.runs)})
    for name, title in (("predictive_sd", "predictive SD"), ("sample_sd", "uncertainty")):
        if name in loaded.maps and loaded.maps[name].shape == labels.data.shape:
            layer = sd_layer(loaded.maps[name], f"{title} · {loaded.name}", image)
            layer.visible = name == "sample_sd"
            layer.metadata[RESULT_KEY] = latest
            add_unselected(viewer, layer)
    viewer.add_layer(labels)
    return image, labels


def write_maps(
    case: CaseFolder, grid: Scan, maps: Mapping[str, np.ndarray], on_failure: Callable[[str], None]
) -> None:
    """Write the SDs of a case in a thread of their own, so that no correction waits for them.

    ``on_failure`` is called in that thread.
    """

    def work() -> None:
        try:
            case.save_maps(grid, maps)
        except (OSError, LDSegError) as error:
            with suppress(RuntimeError):  # Qt has deleted the widgets already.
                on_failure(f"The uncertainty of {case.name} cannot be saved: {error}")

    threading.Thread(target=work, daemon=True).start()


def _shown(viewer: ViewerModel, loaded: CaseContent) -> Image | None:
    """Return the layer that shows the image of the case, if there is one."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and RESULT_KEY not in layer.metadata:
            file = layer.metadata.get(FILE_KEY) or layer.source.path
            same = file is not None and Path(file) == loaded.file
            if same and np.allclose(layer.scale, layer_geometry(loaded.image)["scale"]):
                return layer
    return None
