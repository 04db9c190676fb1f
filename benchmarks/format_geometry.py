"""How far each format's reader is from another library's: python benchmarks/format_geometry.py.

Small files are made of every format, with axial, oblique, reversed and tilted grids, and read twice: by
read_scan, and by SimpleITK, nibabel, highdicom or ome-zarr. The figure is the largest distance in mm between
the two places of a voxel, over all corners of the grid. Tilted series are compared slice by slice, since
ITK's images have no shear. Needs ome-zarr and the test dependencies.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from machine import table

sys.path.insert(0, str(Path(__file__).parents[1]))

from napari_ldseg.scans.files import read_scan
from tests.dicom_files import AXIAL, enhanced, oblique, rotation, save, save_series, slices, volume
from tests.zarr_files import ome_zarr

LPS = np.diag([-1.0, -1.0, 1.0])
SHAPE = (5, 6, 7)  # slice, row, column
Place = Callable[[tuple[int, ...]], np.ndarray]


def corners() -> Iterator[tuple[int, ...]]:
    """Yield the (x, y, slice) of the grid's corners."""
    yield from itertools.product(*((0, n - 1) for n in SHAPE[::-1]))


def distance(path: Path, place: Place) -> float:
    """Return the largest distance in mm between read_scan's places and ``place`` (RAS+ mm)."""
    affine = read_scan(path).source.affine
    return max(
        float(np.linalg.norm((affine @ [*index, 1])[:3] - place(index))) for index in corners()
    )


def of_itk(image: sitk.Image) -> Place:
    """Return the places of an ITK image."""
    return lambda index: LPS @ image.TransformIndexToPhysicalPoint([int(i) for i in index])


def series(folder: Path, name: str) -> float:
    """Return the distance of a DICOM series from ITK's reading of it."""
    orientation = AXIAL if name in ("axial", "reversed", "tilted") else oblique()
    shear = (0.3, -0.6) if "tilted" in name else (0, 0)
    made = slices(volume(SHAPE), orientation, step=-2.5 if name == "reversed" else 2.5, shear=shear)
    save_series(folder, made)
    files = [str(file) for file in read_scan(folder).source.files]
    if "tilted" in name:
        images = [sitk.ReadImage(file) for file in files]
        return distance(folder, lambda i: of_itk(images[i[2]])((i[0], i[1], 0)))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return distance(folder, of_itk(reader.Execute()))


def multi_frame(folder: Path) -> float:
    """Return the distance of an enhanced DICOM file from highdicom's reading of it."""
    import highdicom

    x, y = np.array(oblique()).reshape(2, 3)
    places = [np.array([10.0, -20, 5]) + 3 * k * np.cross(x, y) for k in range(SHAPE[0])]
    path = save(enhanced(volume(SHAPE), places, oblique()), folder / "enhanced.dcm")
    theirs = highdicom.Image.from_file(path).get_volume().affine
    # highdicom counts slices in its own direction.
    if not np.allclose(theirs[:3, 3], places[0], atol=0.1):
        theirs = theirs @ np.array(
            [[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float
        )
    return distance(path, lambda i: LPS @ (theirs @ [i[2], i[1], i[0], 1])[:3])


def itk_file(folder: Path, suffix: str) -> float:
    """Return the distance of an oblique, partly flipped file from ITK's reading of it."""
    image = sitk.GetImageFromArray(volume(SHAPE, np.int16))
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-40, 30.5, 12))
    image.SetDirection(np.ravel(rotation() @ np.diag([-1, 1, -1])))
    sitk.WriteImage(image, str(folder / f"scan{suffix}"))
    path = folder / f"scan{suffix}"
    return distance(path, of_itk(sitk.ReadImage(str(path))))


def zarr_image(folder: Path) -> float:
    """Return the distance of an OME-Zarr image from the scale and translation that ome-zarr reads."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path = ome_zarr(
        folder / "a.ome.zarr", volume(SHAPE), "zyx", (2.5, 0.9, 0.7), translation=(1, 2, 3)
    )
    (node,) = Reader(parse_url(path))()
    scale, shift = node.metadata["coordinateTransformations"][0]
    z, y, x = scale["scale"]
    dz, dy, dx = shift["translation"]
    return distance(path, lambda i: np.array([-(dx + x * i[0]), -(dy + y * i[1]), dz + z * i[2]]))


def main() -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as top:
        for name in ("axial", "reversed", "oblique", "tilted", "oblique and tilted"):
            rows.append((f"DICOM series, {name}", "SimpleITK", series(Path(top, name), name)))
        rows.append(("DICOM multi-frame, oblique", "highdicom", multi_frame(Path(top))))
        for suffix in (".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"):
            rows.append(
                (f"{suffix}, oblique and flipped", "SimpleITK", itk_file(Path(top), suffix))
            )
        nifti = nib.load(Path(top, "scan.nii.gz"))
        of_nibabel = distance(Path(top, "scan.nii.gz"), lambda i: (nifti.affine @ [*i, 1])[:3])
        rows.append((".nii.gz, oblique and flipped", "nibabel", of_nibabel))
        rows.append((".ome.zarr", "ome-zarr", zarr_image(Path(top))))
    shown = [(what, library, f"{error:.1e}") for what, library, error in rows]
    print(table(("file", "compared with", "largest distance, mm"), shown))


if __name__ == "__main__":
    main()
