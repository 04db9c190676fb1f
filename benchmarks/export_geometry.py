"""Where each format puts a voxel, as other programs read it: the table of docs/how-to/export.md.

    python benchmarks/export_geometry.py

Writes labels on an oblique, anisotropic volume of 160 x 130 x 90 voxels that is flipped along two axes (OME-Zarr,
PNG and TIFF have no rotation, so for them a straight one), reads them with another program, and prints how far
the corners are from where they should be and how many voxels differ.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import SimpleITK as sitk
import tifffile
import zarr
from dicom_series import write_ct_series
from PIL import Image

from napari_ldseg.checkpoint.metadata import ClassInfo
from napari_ldseg.export.formats import FORMATS, export_labels
from napari_ldseg.export.result import Result
from napari_ldseg.scans.display_axes import on_display_axes, to_display_axes
from napari_ldseg.scans.scan import Scan, Source

SHAPE = (160, 130, 90)
LPS = np.diag([-1.0, -1, 1, 1])
CLASSES = {
    1: ClassInfo(name="ellipsoid", colour="#4363d8"),
    2: ClassInfo(name="box", colour="#3cb44b"),
}
Read = tuple[np.ndarray, np.ndarray]


def affine() -> np.ndarray:
    """Return a RAS+ affine rotated about all axes, with voxels of 0.7 x 0.9 x 2.5 mm, flipped along x and y."""
    result = np.eye(4)
    for angle, (i, j) in ((0.3, (0, 1)), (-0.2, (2, 0)), (0.15, (1, 2))):
        turn = np.eye(4)
        turn[[i, j], [i, j]], turn[i, j], turn[j, i] = np.cos(angle), -np.sin(angle), np.sin(angle)
        result = result @ turn
    result = result @ np.diag([-0.7, -0.9, 2.5, 1])
    result[:3, 3] = (31.25, -12.5, 700.125)
    return result


def labels() -> np.ndarray:
    """Return an ellipsoid and a box, (x, y, z)."""
    x, y, z = np.indices(SHAPE)
    array = (((x - 60) / 40) ** 2 + ((y - 60) / 30) ** 2 + ((z - 40) / 25) ** 2 < 1).astype(
        np.uint8
    )
    array[100:150, 20:90, 50:80] = 2
    return array


def by_simpleitk(path: Path) -> Read:
    """Return the array (x, y, z) and the RAS+ affine."""
    image = sitk.ReadImage(str(path))
    found = np.eye(4)
    found[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    found[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS @ found


def by_highdicom(path: Path) -> Read:
    """Return the array (x, y, z) and the RAS+ affine; slices without labels are not in the file."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    found = volume.affine[:, [2, 1, 0, 3]]
    return volume.array.T, LPS @ found


def by_nibabel(path: Path) -> Read:
    """Return the array (x, y, z) and the RAS+ affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def by_zarr(path: Path) -> Read:
    """Return the array (x, y, z) and the affine of scale and translation, in LPS turned to RAS+."""
    group = zarr.open_group(path, mode="r")
    place = group.attrs["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    found = np.diag([*place[0]["scale"][::-1], 1.0])
    found[:3, 3] = place[1]["translation"][::-1]
    return group["0"][:].T, LPS @ found


def by_tifffile(path: Path) -> Read:
    """Return the array (x, y, z) and the affine of ImageJ's voxel size."""
    with tifffile.TiffFile(path) as file:
        tags, metadata = file.pages[0].tags, file.imagej_metadata or {}
        x, y = (tags[tag].value[1] / tags[tag].value[0] for tag in (282, 283))
        return file.asarray().T, LPS @ np.diag([x, y, metadata["spacing"], 1])


def error_of(found: Read, expected: Read) -> tuple[float, int]:
    """Return the largest distance of a corner in mm, and the number of voxels with another label."""
    array, where = found
    # A reader may turn an axis around.
    for axis, step in enumerate(np.diag(np.linalg.inv(expected[1]) @ where)[:3]):
        if step < 0:
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, array.shape[axis] - 1
            array, where = np.flip(array, axis), where @ turn
    # A file may hold a part of the slices.
    start = np.linalg.inv(expected[1]) @ where[:, 3]
    offset = np.rint(start[:3]).astype(int)
    full = np.zeros(expected[0].shape, np.uint8)
    part = tuple(slice(o, o + n) for o, n in zip(offset, array.shape, strict=True))
    full[part] = array
    corners = np.array(np.meshgrid(*([0, n - 1] for n in array.shape))).reshape(3, -1)
    shifted = corners + offset[:, None]
    at = where[:3, :3] @ corners + where[:3, 3:]
    right = expected[1][:3, :3] @ shifted + expected[1][:3, 3:]
    return float(np.linalg.norm(at - right, axis=0).max()), int((full != expected[0]).sum())


def main() -> None:
    """Print the table."""
    oblique, array = affine(), labels()
    straight = np.diag([-0.7, -0.9, 2.5, 1.0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_ct_series(folder, array.astype(np.int16), oblique)
        source = Source(oblique, SHAPE, format="DICOM", files=tuple(files))
        scan = on_display_axes(np.zeros(SHAPE, np.uint8), source, "scan")
        volume = Result(scan, to_display_axes(array, scan.source), CLASSES)
        pages = Scan(np.zeros(SHAPE[::-1], np.uint8), straight[:, [2, 1, 0, 3]])
        stack = Result(pages, np.ascontiguousarray(array.T), CLASSES)
        print("| format | read by | corner off by (mm) | other voxels |\n|---|---|---|---|")
        for format, program, read, result in (
            ("nifti", "nibabel", by_nibabel, volume),
            ("nifti", "SimpleITK", by_simpleitk, volume),
            ("nrrd", "SimpleITK", by_simpleitk, volume),
            ("mha", "SimpleITK", by_simpleitk, volume),
            ("dicom-seg", "highdicom", by_highdicom, volume),
            ("zarr", "zarr", by_zarr, stack),
            ("tiff", "tifffile", by_tifffile, stack),
        ):
            path = export_labels(folder / f"{format}{FORMATS[format].suffix}", result, format)
            place = oblique if result is volume else straight
            distance, others = error_of(read(path), (array, place))
            print(f"| {FORMATS[format].title} | {program} | {distance:.1e} | {others} |")
        plane = np.ascontiguousarray(array[:, :, 55].T)
        picture = Result(Scan(np.zeros(plane.shape, np.uint8)), plane, CLASSES)
        path = export_labels(folder / "plane.png", picture, "png")
        with Image.open(path) as image:
            others = int((np.asarray(image) != plane).sum())
        print(f"| PNG | Pillow | – | {others} |")


if __name__ == "__main__":
    main()
