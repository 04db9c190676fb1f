"""A small CT series of no patient, one file per slice, and one multi-frame file, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)


def write_ct_series(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> list[Path]:
    """Write ``voxels`` (columns, rows, slices), int16, one file per slice in a mixed order of names.

    ``affine`` maps their indices to mm in RAS+. Return the files in the order of the slices.
    """
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    column, row, _ = np.linalg.norm(lps[:3, :3], axis=0)
    common = _common(CTImageStorage)
    files = []
    for index in range(voxels.shape[2]):
        path = folder / f"IM{(index * 7) % 101:04}.dcm"
        dataset = _dataset(path, common, voxels[:, :, index].T)
        dataset.Modality, dataset.PatientPosition, dataset.Laterality = "CT", "HFS", ""
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = index + 1
        dataset.AcquisitionNumber = 1
        dataset.FrameOfReferenceUID = common.FrameOfReferenceUID
        dataset.PositionReferenceIndicator = ""
        dataset.ImagePositionPatient = (lps @ [0, 0, index, 1])[:3].round(8).tolist()
        axes = [*(lps[:3, 0] / column), *(lps[:3, 1] / row)]
        dataset.ImageOrientationPatient = np.round(axes, 10).tolist()
        dataset.PixelSpacing = [float(row), float(column)]
        dataset.SliceThickness = round(float(np.linalg.norm(lps[:3, 2])), 8)
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.KVP = 0, 1, None
        dataset.RescaleType = "HU"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def write_loop(path: Path, frames: np.ndarray) -> Path:
    """Write ``frames`` (frames, rows, columns), uint8, as one ultrasound file without a position in space."""
    dataset = _dataset(path, _common(UltrasoundMultiFrameImageStorage), frames)
    dataset.Modality = "US"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(frames)
    dataset.FrameTime = 40.0
    dataset.FrameIncrementPointer = 0x00181063
    dataset.save_as(path, enforce_file_format=True)
    return path


def _common(storage: str) -> Dataset:
    """Return what all files of a series share."""
    dataset = Dataset()
    dataset.SOPClassUID = storage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Phantom^Test", "PHANTOM-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260101", "120000", "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = 1
    dataset.Manufacturer = "napari-ldseg phantoms"
    return dataset


def _dataset(path: Path, common: Dataset, pixels: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.update({element.tag: element for element in common if element.tag != 0x00200052})
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    return dataset
