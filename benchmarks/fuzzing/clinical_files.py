"""DICOM, NRRD, MetaImage and OME-Zarr: single files, series in folders, archives and folders of chunks."""

from __future__ import annotations

import functools
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np

from napari_ldseg.scans.dicom.archive import remove_unpacked
from napari_ldseg.scans.dicom.series import series_of_folder
from napari_ldseg.scans.files import read_like, read_scan, write_like

from .mutations import TEXTS, damaged, damaged_json

AXIAL = [1, 0, 0, 0, 1, 0]
IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
# Numbers of a header that decide on sizes: rows, columns, samples, frames, bits, representation.
SIZE_TAGS = (0x0010, 0x0011, 0x0002, 0x0008, 0x0100, 0x0101, 0x0102, 0x0103, 0x0006)


def dicom(rng: Random, folder: Path, attempt: Callable) -> None:
    """Read a damaged DICOM file, a series of which some files are damaged, or an archive of one."""
    files = list(rng.choice(_dicom()))
    for i in range(len(files)):
        if len(files) == 1 or rng.random() < 0.3:
            files[i] = _damaged_dicom(files[i], rng)
    if len(files) > 1 and rng.random() < 0.2:
        files.append(rng.choice(files))
    kind = rng.random()
    if kind < 0.15:
        path = folder / "scan.zip"
        content = BytesIO()
        with zipfile.ZipFile(
            content, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        ) as archive:
            for i, data in enumerate(files):
                archive.writestr(
                    rng.choice((f"IM{i}", f"../../outside/{i}.dcm", f"/tmp/{i}")), data
                )
        data = content.getvalue()
        path.write_bytes(damaged(data, rng) if rng.random() < 0.5 else data)
    else:
        path = folder / "series"
        path.mkdir()
        for i, data in enumerate(files):
            (path / f"slice{i}{rng.choice(('.dcm', '', '.ima'))}").write_bytes(data)
        if len(files) == 1:
            path = next(path.iterdir())
        elif rng.random() < 0.5:
            attempt(series_of_folder, path)
    try:
        _read(path, folder, attempt)
    finally:
        remove_unpacked()


def nrrd(rng: Random, folder: Path, attempt: Callable) -> None:
    """Read a damaged NRRD file, with its data inside or beside it."""
    _header_and_data(rng, folder, attempt, _itk_files((".nrrd", ".nhdr")))


def metaimage(rng: Random, folder: Path, attempt: Callable) -> None:
    """Read a damaged MetaImage file, with its data inside or beside it."""
    _header_and_data(rng, folder, attempt, _itk_files((".mha", ".mhd")))


def zarr(rng: Random, folder: Path, attempt: Callable) -> None:
    """Read a damaged OME-Zarr image."""
    path = folder / "image.ome.zarr"
    content = rng.choice(_zarrs())
    victims = {rng.choice(list(content)) for _ in range(rng.choice((1, 1, 2)))}
    for name, data in content.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in victims:
            is_json = Path(name).name in ("zarr.json", ".zattrs", ".zarray", ".zgroup")
            structured = is_json and rng.random() < 0.8
            data = damaged_json(json.loads(data), rng) if structured else damaged(data, rng)
        if name in victims and rng.random() < 0.05:
            target.symlink_to(folder.parent / "outside" / "secret.nii.gz")
        elif name not in victims or rng.random() > 0.05:
            target.write_bytes(data)
    _read(path, folder, attempt)


def _read(path: Path, folder: Path, attempt: Callable) -> None:
    scan = attempt(read_scan, path)
    if scan is None:
        return
    array = np.asarray(scan.array)
    assert array.dtype.kind in "biuf", f"values of type {array.dtype}"
    assert np.isfinite(scan.affine).all() and min(scan.spacing) > 0, "unusable affine"
    label = np.ones(scan.shape, np.uint8)
    written = attempt(write_like, folder / "label.nii.gz", label, scan, about="label.nii.gz")
    if written is not None:
        again = attempt(read_like, written, scan)
        assert again is not None and np.array_equal(again, label), "a label was read differently"


def _header_and_data(
    rng: Random, folder: Path, attempt: Callable, seeds: list[dict[str, bytes]]
) -> None:
    content = dict(rng.choice(seeds))
    header = next(iter(content))
    if rng.random() < 0.6:
        content[header] = _with_other_line(content[header], rng)
    else:
        name = rng.choice(list(content))
        content[name] = damaged(content[name], rng)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    _read(folder / header, folder, attempt)


def _with_other_line(data: bytes, rng: Random) -> bytes:
    """Return a file in which a line of the header has another value, is missing, or is there twice."""
    end = max(data.find(b"\n\n"), data.find(b"ElementDataFile"))
    lines = data[:end].split(b"\n")
    i = rng.randrange(len(lines))
    mark = b":" if b":" in lines[i] else b"="
    key, _, value = lines[i].partition(mark)
    kind = rng.randrange(5)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines[i] = key + mark + b" " + rng.choice(TEXTS).encode("utf-8", "replace")
    else:
        words = value.split() or [b"0"]
        j = rng.randrange(len(words))
        words[j] = rng.choice(
            (
                b"0",
                b"-1",
                b"1",
                b"2",
                b"65536",
                b"2147483648",
                b"99999999999999999999",
                b"nan",
                b"1e30",
                b"x",
            )
        )
        lines[i] = key + mark + b" " + b" ".join(words)
    return b"\n".join(lines) + data[end:]


def _damaged_dicom(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.4:
        return damaged(data, rng, other=rng.choice(rng.choice(_dicom())))
    result = bytearray(data)
    # A number of the group of image sizes, as a tag of two bytes in either encoding.
    tag = struct.pack("<HH", 0x28, rng.choice(SIZE_TAGS))
    place = bytes(result).find(tag)
    if place < 0:
        return damaged(data, rng)
    value = rng.choice((0, 1, 2, 3, 7, 8, 16, 32, 64, 255, 20_000, 65_535))
    result[place + 8 : place + 10] = struct.pack("<H", value)
    return bytes(result)


@functools.cache
def _dicom() -> list[list[bytes]]:
    """Return images as the bytes of their files: series, multi-frame, 2D, in several encodings."""
    volume = np.random.default_rng(0).integers(0, 900, (4, 32, 32)).astype(np.uint16)
    colour = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    made = []
    for syntax in (EXPLICIT, IMPLICIT, RLE, JPEG_LS, JPEG_2000, DEFLATED):
        made.append([_file(plane, syntax, i) for i, plane in enumerate(volume)])
        made.append([_file(volume[0], syntax, None)])
    made += [[_file(colour, syntax, None)] for syntax in (EXPLICIT, RLE, JPEG_2000)]
    made.append([_file(volume, EXPLICIT, None, enhanced=True)])
    return made


def _file(array: np.ndarray, syntax: str, number: int | None, enhanced: bool = False) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import UID

    made, meta = Dataset(), FileMetaDataset()
    made.file_meta = meta
    meta.TransferSyntaxUID = UID(EXPLICIT)
    meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = f"1.2.3.{number or 0}"
    made.SeriesInstanceUID, made.Modality, made.PatientName = "1.2.4", "CT", "Somebody"
    colour = array.shape[-1] == 3
    space = array.shape[:-1] if colour else array.shape
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    if len(space) == 3:
        made.NumberOfFrames = space[0]
    made.Rows, made.Columns = space[-2:]
    made.BitsAllocated = made.BitsStored = 8 * array.dtype.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    made.RescaleSlope, made.RescaleIntercept = "1", "-1024"
    made.WindowCenter, made.WindowWidth = "40", "400"
    if number is not None:
        made.ImagePositionPatient = [0, 0, 2.5 * number]
        made.ImageOrientationPatient, made.PixelSpacing = AXIAL, [0.7, 0.9]
    if enhanced:
        shared, plane, measures = Dataset(), Dataset(), Dataset()
        plane.ImageOrientationPatient, measures.PixelSpacing = AXIAL, [0.7, 0.9]
        shared.PlaneOrientationSequence = Sequence([plane])
        shared.PixelMeasuresSequence = Sequence([measures])
        made.SharedFunctionalGroupsSequence = Sequence([shared])
        groups = []
        for i in range(len(array)):
            group, place = Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, 2.5 * i]
            group.PlanePositionSequence = Sequence([place])
            groups.append(group)
        made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    made.PixelData = array.tobytes()
    if syntax in (RLE, JPEG_LS, JPEG_2000):
        made.compress(UID(syntax), generate_instance_uid=False)
    else:
        meta.TransferSyntaxUID = UID(syntax)
        made["PixelData"].VR = "OW"
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@functools.cache
def _itk_files(suffixes: tuple[str, ...]) -> list[dict[str, bytes]]:
    """Return images as the names and bytes of their files, the header first."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    images = [
        sitk.GetImageFromArray(rng.integers(0, 99, (4, 5, 6)).astype(np.int16)),
        sitk.GetImageFromArray(rng.random((4, 5, 6)).astype(np.float32)),
        sitk.GetImageFromArray(rng.integers(0, 99, (4, 5, 6, 3)).astype(np.uint8), isVector=True),
        sitk.GetImageFromArray(rng.integers(0, 99, (8, 9)).astype(np.uint8)),
    ]
    found = []
    for image in images:
        for suffix in suffixes:
            for compressed in (False, True):
                with tempfile.TemporaryDirectory() as folder:
                    sitk.WriteImage(image, f"{folder}/scan{suffix}", useCompression=compressed)
                    files = sorted(Path(folder).iterdir(), key=lambda p: p.suffix != suffix)
                    found.append({path.name: path.read_bytes() for path in files})
    return found


@functools.cache
def _zarrs() -> list[dict[str, bytes]]:
    """Return OME-Zarr images as the names and bytes of their files."""
    import zarr as library
    from zarr.storage import LocalStore

    array = np.random.default_rng(0).integers(0, 99, (2, 4, 8, 9)).astype(np.uint16)
    found = []
    for version, axes in (("0.4", "czyx"), ("0.5", "tzyx"), ("0.5", "zyx")):
        described = [
            {"name": axis, "type": {"c": "channel", "t": "time"}.get(axis, "space")}
            for axis in axes
        ]
        for axis in described:
            axis |= {"unit": "micrometer"} if axis["type"] == "space" else {}
        scale = {
            "type": "scale",
            "scale": [1.0] + [2.0, 0.5, 0.5][4 - len(axes) :] + [0.5] * (len(axes) - 4),
        }
        scale["scale"] = [2.0] * len(axes)
        multiscales = [
            {"axes": described, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
        ]
        modern = version == "0.5"
        attributes = {"ome": {"version": version, "multiscales": multiscales}} if modern else {}
        attributes = attributes or {"multiscales": [{"version": version, **multiscales[0]}]}
        with tempfile.TemporaryDirectory() as folder:
            store = LocalStore(folder)
            form = 3 if modern else 2
            library.create_group(store, zarr_format=form, attributes=attributes)
            part = array[0] if len(axes) == 3 else array
            made = library.create_array(
                store,
                name="0",
                shape=part.shape,
                dtype=part.dtype,
                chunks=(2,) * part.ndim,
                zarr_format=form,
            )
            made[...] = part
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            found.append({p.relative_to(folder).as_posix(): p.read_bytes() for p in files})
    return found
