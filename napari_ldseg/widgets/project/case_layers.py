"""Showing a case of the project as layers, and adding layers to it as a case."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from ...errors import LDSegError
from ...layers.channels import layers_scan
from ...layers.geometry import FILE_KEY, derived_attributes, layer_geometry
from ...project.case import CaseContent, CaseFolder, Masks
from ...project.folder import Project
from ...project.images import refers_to_file
from ...project.patient import NUMBERED_LAYER, patient_of
from ...review.maps import MAP_TITLES, SD_NAMES
from ...scans.scan import Scan
from ..common.class_labels import set_classes
from ..common.layers import RESULT_KEY, RUNS_KEY, add_unselected, sd_layer
from .tracked_labels import TrackedLabels

CHANNEL_KEY = "napari_ldseg_channel"
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
    image = _shown(viewer, loaded) or _add_image(viewer, loaded)
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
    fitting = [
        n for n in SD_NAMES if n in loaded.maps and loaded.maps[n].shape == labels.data.shape
    ]
    for name in reversed(fitting):
        title = f"{MAP_TITLES[name]} · {loaded.name}"
        layer = sd_layer(loaded.maps[name], title, image, list(classes.values()))
        layer.visible = name == fitting[0]
        layer.metadata[RESULT_KEY] = latest
        add_unselected(viewer, layer)
    viewer.add_layer(labels)
    return image, labels


def add_case(project: Project, tracked: TrackedLabels, scan: Scan, masks: Masks) -> CaseFolder:
    """Add labels, on the grid of ``scan``, and their image to the project. Raises LDSegError or OSError."""
    image, file, patient = tracked.image, None, None
    # The label's own geometry: the image may have been moved since.
    shown = None if image is None else layers_scan(tracked.channels or (image,), scan)
    if shown is not None and shown.shape != scan.shape:
        shown = None
    if image is not None and shown is not None:
        source = image.metadata.get(FILE_KEY) or image.source.path
        path = Path(source) if source else None
        scan = replace(scan, array=shown.array, channels=shown.channels, name=shown.name)
        patient = patient_of(scan.name, path)
        part = bool(tracked.channels) or CHANNEL_KEY in image.metadata
        file = path if not part and refers_to_file(scan, path) else None
    return project.add_case(
        NUMBERED_LAYER.sub("", scan.name),
        scan,
        file,
        tracked.classes,
        masks,
        tracked.layer.metadata.get(RUNS_KEY, ())[-100:],
        patient,
        copy=shown is not None,
    )


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


def _add_image(viewer: ViewerModel, loaded: CaseContent) -> Image:
    """Add the image of the case, one layer per channel unless they are colours; return the first."""
    scan, name = loaded.image, loaded.name
    attributes = layer_geometry(scan)
    attributes["metadata"][FILE_KEY] = str(loaded.file)
    colour = scan.channel_count == 3 and scan.array.dtype in (np.uint8, np.uint16)
    if not scan.channels or colour:
        return viewer.add_image(scan.array, name=name, rgb=scan.channels, **attributes)
    layers = []
    for channel in range(scan.channel_count):
        layers.append(Image(scan.array[..., channel], name=f"{name}_{channel:04d}", **attributes))
        layers[-1].metadata[CHANNEL_KEY] = channel
        viewer.add_layer(layers[-1])
    return layers[0]


def _shown(viewer: ViewerModel, loaded: CaseContent) -> Image | None:
    """Return the layer that shows the image of the case, the first of several, if there is one."""
    for layer in viewer.layers:
        other = RESULT_KEY in layer.metadata or layer.metadata.get(CHANNEL_KEY)
        if isinstance(layer, Image) and not other:
            file = layer.metadata.get(FILE_KEY) or layer.source.path
            same = file is not None and Path(file) == loaded.file
            scale = layer_geometry(loaded.image)["scale"]
            if same and len(layer.scale) == len(scale) and np.allclose(layer.scale, scale):
                return layer
    return None
