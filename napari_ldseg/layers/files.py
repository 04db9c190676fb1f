"""napari's reader: NIfTI, DICOM, NRRD, MetaImage and OME-Zarr as layers on their anatomical axes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Layer

from ..errors import LDSegError
from ..export.picture import orientation_of
from ..scans.dicom.header import DICOM_SUFFIXES, is_dicom
from ..scans.dicom.reader import read_series
from ..scans.dicom.series import ZIP_SUFFIX, Series, series_at
from ..scans.files import read_scan, stem_of, suffix_of
from ..scans.labels import LABEL_INTENT, as_labels, named_label
from ..scans.metaimage import METAIMAGE_SUFFIXES
from ..scans.nifti import NIFTI_SUFFIXES
from ..scans.nrrd import NRRD_SUFFIXES
from ..scans.scan import Scan
from ..scans.zarr_image import ZARR_SUFFIXES
from .geometry import FILE_KEY, GEOMETRY_KEY, layer_geometry

LayerTuple = tuple[Any, dict[str, Any], str]
Choose = Callable[[list[Series]], Sequence[Series]]
# napari reads 2D images itself.
LAYER_SUFFIXES = (
    *(*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *METAIMAGE_SUFFIXES),
    *(*ZARR_SUFFIXES, *DICOM_SUFFIXES, ZIP_SUFFIX),
)
MODALITY_KEY = "napari_ldseg_modality"
MOST_LOOKED_AT = 2000  # files of a folder, until one is DICOM
MOST_LINES = 3
NO_LAYERS: list[Any] = [(None,)]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the reader if it reads every path by its ending, or as DICOM without one, else None."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(_is_readable(Path(p)) for p in paths) else None


def read_layers(path: str | Sequence[str], choose: Choose = tuple) -> list[LayerTuple]:
    """Read files and folders as napari layers: label images as labels, all others as images.

    ``choose`` returns which of several series of a DICOM folder are read; by default all are. What was
    left out of a folder is a warning.
    """
    layers: list[LayerTuple] = []
    read: set[Path] = set()  # files of a series that several of the paths belong to
    for one in map(Path, [path] if isinstance(path, str) else path):
        if one in read:
            continue
        if suffix_of(one) in ZARR_SUFFIXES or not _is_dicom(one):
            layers += scan_layers(read_scan(one), one)
        else:
            for series in _series(one, choose):
                if read.isdisjoint(series.files) or series.place is not None:
                    layers += _with_file(
                        scan_layers(read_series(series), Path(series.name)), series.path
                    )
                read.update(series.files)
    return layers or NO_LAYERS


def reader_warning(layer: Layer) -> str | None:
    """Return what napari's own reader has left out of the file of ``layer``, as a sentence; None if nothing."""
    if layer.source.path is None or layer.source.reader_plugin != "napari":
        return None
    path = Path(layer.source.path)
    if suffix_of(path) in LAYER_SUFFIXES:
        return (
            f"{path.name} was opened with napari's own reader, which ignores its voxel size and position; "
            "open it again and choose LDSeg as its reader."
        )
    if orientation_of(path) != 1:
        return (
            f"{path.name} is shown and segmented as it is stored, not upright as its EXIF tag asks; if it "
            "lies on its side, save it upright in a picture program and open it again."
        )
    return None


def scan_layers(scan: Scan, path: Path) -> list[LayerTuple]:
    """Return the layers of ``scan`` as read from ``path``: one, or one for each channel that is no colour."""
    name = stem_of(path)
    attributes = {"name": name, **layer_geometry(scan)}
    if scan.modality:
        attributes["metadata"][MODALITY_KEY] = scan.modality
    labels = _labels(scan, path)
    if labels is not None:
        return [(labels, attributes, "labels")]
    if scan.source is not None and scan.source.window is not None and not scan.channels:
        attributes["contrast_limits"] = scan.source.window
    if scan.channels and scan.channel_count != 3:
        return [
            (scan.array[..., i], {**attributes, "name": f"{name}_{i:04d}"}, "image")
            for i in range(scan.channel_count)
        ]
    if scan.channels:
        attributes["rgb"] = True
    return [(scan.array, attributes, "image")]


def series_layer(path: Path, layers: Iterable[Layer]) -> Image | None:
    """Return which of ``layers`` shows the series that the DICOM slice ``path`` is a part of; None if none does."""
    for layer in layers:
        stored = layer.metadata.get(GEOMETRY_KEY) if isinstance(layer, Image) else None
        source = None if stored is None else stored["scan"].source
        files = () if source is None else source.files
        # The layers of results have the geometry of their image, but not its file.
        single = FILE_KEY not in layer.metadata or len(files) < 2
        if not single and path.absolute() in {file.absolute() for file in files}:
            return layer
    return None


def _series(path: Path, choose: Choose) -> Sequence[Series]:
    """Return the chosen images of a DICOM file, folder or archive."""
    skipped: list[str] = []
    found = series_at(path, skipped.append)
    if skipped:
        more = [f"and {len(skipped) - MOST_LINES} more"] if len(skipped) > MOST_LINES else []
        warnings.warn(" ".join(skipped[:MOST_LINES] + more), stacklevel=3)
    if not found:
        raise LDSegError(
            f"{path.name} holds no DICOM image; choose a folder or a file with an image."
        )
    return found if len(found) == 1 else choose(found)


def _with_file(layers: list[LayerTuple], file: Path) -> list[LayerTuple]:
    for _, attributes, _ in layers:
        attributes["metadata"][FILE_KEY] = str(file)
    return layers


def _is_readable(path: Path) -> bool:
    suffix = suffix_of(path)
    return suffix in LAYER_SUFFIXES or (not suffix and _is_dicom(path))


def _is_dicom(path: Path) -> bool:
    """Return whether it is a DICOM file, an archive, or a folder with a DICOM file in it."""
    if not path.is_dir():
        return suffix_of(path) in (*DICOM_SUFFIXES, ZIP_SUFFIX) or is_dicom(path)
    looked_at = 0
    for folder, _, names in os.walk(path):
        for name in names:
            looked_at += 1
            if looked_at > MOST_LOOKED_AT:
                return False
            if is_dicom(Path(folder, name)):
                return True
    return False


def _labels(scan: Scan, path: Path) -> np.ndarray | None:
    """Return the array as class numbers if the file is marked or named as labels, else None."""
    if scan.channels:
        return None
    header = None if scan.source is None else scan.source.header
    if header is not None and int(header["intent_code"]) == LABEL_INTENT:
        return as_labels(scan.array, path.name)
    return named_label(path, stem_of(path), scan.array)
