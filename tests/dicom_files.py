"""Small DICOM files made for tests: series of slices, multi-frame files, ultrasound clips."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
US_CLIP = "1.2.840.10008.5.1.4.1.1.3.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
OPHTHALMIC = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
PATIENT = "Mustermann^Erika"
AXIAL = (1, 0, 0, 0, 1, 0)


def rotation(degrees=(20, -15, 35)):
    """Return a 3x3 rotation about x, y and z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def oblique():
    """Return an oblique ImageOrientationPatient."""
    turned = rotation()
    return (*turned[:, 0], *turned[:, 1])


def dataset(array, kind=CT, modality="CT", **tags):
    """Return a dataset with the pixels of ``array`` and ``tags``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    made = Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.Modality = kind, modality
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    made.SeriesInstanceUID = made.StudyInstanceUID = generate_uid()
    made.PatientName, made.PatientID = PATIENT, "PID4711"
    array = np.asarray(array)
    colour = array.shape[-1] == 3 and array.dtype == np.uint8 and array.ndim > 2
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    space = array.shape[:-1] if colour else array.shape
    made.Rows, made.Columns = space[-2:]
    if len(space) == 3:
        made.NumberOfFrames = space[0]
    made.BitsAllocated = made.BitsStored = 8 * array.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    made.PixelData = array.tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def save(made, path):
    """Write a dataset; return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def slices(
    volume,
    orientation=AXIAL,
    spacing=(0.7, 0.9),
    step=2.5,
    origin=(-40, 30, 12),
    shear=(0, 0),
    **tags,
):
    """Return a dataset for each slice of ``volume`` (slice, row, column).

    ``step`` is along the normal, ``shear`` the shift along columns and rows per slice, all in mm.
    """
    x, y = np.array(orientation, float).reshape(2, 3)
    move = np.cross(x, y) * step + x * shear[0] + y * shear[1]
    series = generate_uid()
    made = []
    for i, plane in enumerate(volume):
        position = np.array(origin) + i * move
        made.append(
            dataset(
                plane,
                **{
                    "SeriesInstanceUID": series,
                    "ImagePositionPatient": [f"{v:.8g}" for v in position],
                    "ImageOrientationPatient": [f"{v:.10g}" for v in orientation],
                    "PixelSpacing": [str(v) for v in spacing],
                    "SliceThickness": "2",
                    "InstanceNumber": i + 1,
                    "SeriesNumber": 3,
                    "RescaleSlope": "1",
                    "RescaleIntercept": "-1024",
                    **tags,
                },
            )
        )
    return made


def save_series(folder, made, names=None):
    """Write the datasets under names that say nothing of their order; return the paths in the order of ``made``."""
    order = np.random.default_rng(len(made)).permutation(len(made))
    names = names or [f"IM{order[i]:04d}.dcm" for i in range(len(made))]
    return [save(one, Path(folder) / name) for one, name in zip(made, names, strict=True)]


def volume(shape=(5, 6, 7), dtype=np.uint16, seed=0):
    """Return random values of 12 bits."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(dtype)


def enhanced(array, positions, orientation=AXIAL, spacing=(0.7, 0.9), times=None, slopes=None):
    """Return an enhanced MR dataset with a functional group for each frame of ``array``."""
    made = dataset(array, ENHANCED_MR, "MR", FrameOfReferenceUID=generate_uid())
    shared = Dataset()
    plane, measures = Dataset(), Dataset()
    plane.ImageOrientationPatient = [f"{v:.10g}" for v in orientation]
    measures.PixelSpacing, measures.SliceThickness = [str(v) for v in spacing], "2"
    shared.PlaneOrientationSequence = Sequence([plane])
    shared.PixelMeasuresSequence = Sequence([measures])
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for i, position in enumerate(positions):
        group, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{v:.8g}" for v in position]
        group.PlanePositionSequence = Sequence([place])
        if times is not None:
            content.TemporalPositionIndex = times[i]
            group.FrameContentSequence = Sequence([content])
        if slopes is not None:
            values = Dataset()
            values.RescaleSlope, values.RescaleIntercept = str(slopes[i]), "0"
            group.PixelValueTransformationSequence = Sequence([values])
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return made


def clip(array, delta=(0.03, 0.05)):
    """Return an ultrasound clip (frame, row, column, 3) with a calibrated region, ``delta`` (y, x) in cm."""
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaY, region.PhysicalDeltaX = delta
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = array.shape[2] - 1, array.shape[1] - 1
    return dataset(array, US_CLIP, "US", SequenceOfUltrasoundRegions=Sequence([region]))


def compressed(made, syntax):
    """Return ``made`` compressed with a transfer syntax."""
    made.compress(syntax, generate_instance_uid=False)
    return made


def read(path):
    """Return the dataset of a file."""
    return pydicom.dcmread(path)
