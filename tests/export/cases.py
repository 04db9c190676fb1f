"""Results to export: an oblique, anisotropic, flipped volume as each format stores it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from dicom_series import write_ct_series

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.export.result import Result
from napari_ldseg.scans.display_axes import on_display_axes, to_display_axes
from napari_ldseg.scans.scan import Scan, Source

CLASSES = {
    1: ClassInfo(name="left ventricle", colour="#4363d8", snomed="87878005"),
    2: ClassInfo(name="Épi, «wall»", colour="#3cb44b"),
    5: ClassInfo(name="absent", colour="#42d4f4"),
}
SUMMARY = {
    "provenance": {
        "checkpoint": "camus",
        "checkpoint_sha256": "ab" * 32,
        "seed": 3,
        "samples": 4,
        "steps": 10,
        "sampler": "ddim",
        "napari_ldseg": "0.1.0",
    }
}
SHAPE = (20, 14, 9)


def oblique_affine() -> np.ndarray:
    """Return a RAS+ affine that is rotated about all axes, anisotropic, and flipped along two axes."""
    a, b, c = 0.3, -0.2, 0.15
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_y @ turn_x @ np.diag([-0.7, -0.9, 2.5])
    affine[:3, 3] = (31.25, -12.5, 700.125)
    return affine


def file_labels() -> np.ndarray:
    """Return labels (x, y, z) without any symmetry, of the classes 1 and 2."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:9, 3:7, 1:6] = 1
    labels[8:12, 6:13, 4:8] = 2
    labels[0, 0, 0] = 2
    return labels


def volume(form: str = "NRRD", affine: np.ndarray | None = None, files=()) -> Result:
    """Return the labels on the volume of a file of the format ``form``."""
    affine = oblique_affine() if affine is None else affine
    source = Source(affine, SHAPE, format=form, files=tuple(files))
    scan = on_display_axes(np.zeros(SHAPE, np.uint8), source, "scan")
    labels = to_display_axes(file_labels(), scan.source)
    return Result(scan, labels, CLASSES, SUMMARY)


def dicom_volume(folder: Path) -> Result:
    """Return the labels on a CT series that is written into ``folder``."""
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return volume("DICOM", files=write_ct_series(folder, voxels, oblique_affine()))


def picture(shape: tuple[int, int] = (12, 17), image: Path | None = None) -> Result:
    """Return labels on a 2D image file."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 2:9] = 1
    labels[6:11, 1:3] = 2
    return Result(Scan(np.zeros(shape, np.uint8)), labels, CLASSES, SUMMARY, image=image)


def stack() -> Result:
    """Return labels on a stack of pages with a voxel size."""
    labels = np.ascontiguousarray(file_labels().T)
    affine = np.array([[0, 0, -0.3, 0], [0, -0.3, 0, 0], [1.7, 0, 0, 0], [0, 0, 0, 1]], float)
    return Result(Scan(np.zeros(labels.shape, np.uint8), affine), labels, CLASSES, SUMMARY)


def with_value(result: Result, value: int) -> Result:
    """Return ``result`` with one voxel of another label value."""
    labels = result.labels.astype(np.uint16)
    labels[(0,) * labels.ndim] = value
    return replace(result, labels=labels)
