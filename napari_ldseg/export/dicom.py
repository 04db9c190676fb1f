"""DICOM: labels as a Segmentation, maps as a Parametric Map, both on the series that they were made on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint.metadata import ClassInfo
from ..errors import LDSegError
from ..scans.dicom.header import without_values
from ..scans.scan import LPS
from ..utils.atomic import atomic_write
from ..utils.quiet import hidden_warnings
from ..utils.text import one_line
from .codes import PRIVATE_SCHEME, Coded, category_of, type_of
from .result import SOFTWARE, Result, colour_of, on_file_grid

if TYPE_CHECKING:
    from pydicom import Dataset

# Attributes of patient and study that a result must have; empty is allowed (type 2).
NEEDED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
# Those and the others of patient and study that highdicom copies and checks.
CHECKED = (
    *NEEDED,
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)
LONG_STRING = 64  # characters in the types LO and, of a label of a segment, LO
SERIES_NUMBER, MAP_SERIES_NUMBER = 901, 902


def write_labels(path: Path, result: Result) -> None:
    """Write labels as a binary Segmentation with one segment per class. Raises OSError and LDSegError."""
    from highdicom.seg import Segmentation, SegmentDescription

    sources, frames = _sources_and_frames(result.stored_labels(), result)
    # Segments are numbered from 1 without gaps, label values need not be.
    values = sorted(result.classes)
    numbers = np.zeros(max([*values, int(frames.max(initial=0))], default=0) + 1, np.uint16)
    numbers[values] = np.arange(1, len(values) + 1)
    unknown = np.setdiff1d(np.unique(frames), [0, *values])
    if len(unknown):
        raise LDSegError(
            f"{result.scan.name} has voxels of label {unknown[0]}, which has no class; give it one first."
        )
    if not frames.any():
        raise LDSegError(
            f"{result.scan.name} has no labelled voxels, so there is no segment to save."
        )
    descriptions = [
        SegmentDescription(number, **_described(info, result, path.name))
        for number, info in enumerate((result.classes[value] for value in values), start=1)
    ]
    dataset = _quiet(
        Segmentation,
        source_images=sources,
        pixel_array=numbers[frames],
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_number=SERIES_NUMBER,
        content_label="SEGMENTATION",
        **_common(result, "Segmentation"),
    )
    if any(type_of(info).scheme == PRIVATE_SCHEME for info in result.classes.values()):
        _add_scheme(dataset)
    _save(path, dataset)


def write_map(path: Path, array: np.ndarray, result: Result) -> None:
    """Write a map of 0 to 1, such as an SD, shaped like the scan, as a Parametric Map of 32-bit floats.

    Raises OSError and LDSegError.
    """
    from highdicom.content import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code

    sources, frames = _sources_and_frames(np.asarray(array, np.float32), result)
    mapping = RealWorldValueMapping(
        lut_label="SD",
        lut_explanation="Standard deviation of the class probability",
        unit=Code("1", "UCUM", "no units"),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=Code("386136009", "SCT", "Standard deviation"),
    )
    # A width below 1 needs this function (PS3.3 C.11.2.1.3).
    window = VOILUTTransformation(0.25, 0.5, voi_lut_function="LINEAR_EXACT")
    dataset = _quiet(
        ParametricMap,
        source_images=sources,
        pixel_array=frames,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[window],
        series_number=MAP_SERIES_NUMBER,
        content_label="SD",
        **_common(result, "Uncertainty (SD)"),
    )
    if "Laterality" not in dataset:
        dataset.Laterality = sources[0].get("Laterality", "")  # type 2C, which highdicom leaves out
    _save(path, dataset)


def reason_not(result: Result) -> str | None:
    """Return why there is no DICOM series to refer to; None if there is one."""
    source = result.scan.source
    if source is None or source.format != "DICOM" or not source.files:
        return "the image is not from a DICOM series, which a DICOM segmentation must refer to"
    return None


def reason_no_map(result: Result) -> str | None:
    """Return why there can be no Parametric Map, which needs a place in space; None if there can be."""
    from highdicom.spatial import get_image_coordinate_system

    try:
        (header,) = _headers(result, 1)
    except LDSegError as error:
        return str(error).rstrip(".")
    if get_image_coordinate_system(header) is None:
        return "the image has no position in space"
    return None


def _sources_and_frames(array: np.ndarray, result: Result) -> tuple[Sequence[Dataset], np.ndarray]:
    """Return the headers of the series, and ``array`` as (frames, rows, columns) in the order of its frames."""
    data, affine = on_file_grid(array, result.scan)
    if data.ndim > 3 and data.shape[2] > 1:
        raise LDSegError(
            f"{result.scan.name} is a series of volumes over time, which cannot be saved as a DICOM "
            "segmentation; save it as NIfTI."
        )
    sources = _headers(result)
    for dataset in sources:
        for keyword in NEEDED:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
        if result.scan.space == 3:
            _fill_thickness(dataset, float(np.linalg.norm(affine[:3, 2])))
    frames = np.moveaxis(data.reshape(*data.shape[:2], -1), (0, 1, 2), (2, 1, 0))
    if len(frames) > 1 and "FrameOfReferenceUID" not in sources[0]:
        raise LDSegError(
            f"{result.scan.name} has no position in space (no FrameOfReferenceUID), so that a DICOM "
            "segmentation of its frames is not possible; save it as NIfTI."
        )
    if len(frames) == 1 and "SharedFunctionalGroupsSequence" not in sources[0]:
        sources[0].SharedFunctionalGroupsSequence = [_functional_groups()]
    if len(sources) == 1:
        frames = frames[_stored_order(sources[0], affine, len(frames))]
    elif len(sources) != len(frames):
        raise LDSegError(
            f"{result.scan.name} has {len(frames)} slices, its DICOM series {len(sources)} files; open the "
            "series again."
        )
    shape = (sources[0].Rows, sources[0].Columns)
    if frames.shape[1:] != shape:
        raise LDSegError(
            f"{result.scan.name} and its DICOM files differ in size; open the series again."
        )
    return sources, np.ascontiguousarray(frames)


def _headers(result: Result, most: int | None = None) -> list[Dataset]:
    """Return the headers of the files of the series, or of the first ``most``. Raises LDSegError."""
    import pydicom

    reason, source = reason_not(result), result.scan.source
    if reason is not None or source is None:
        raise LDSegError(f"{result.scan.name} cannot be saved as DICOM: {reason}.")
    error: Exception | None = None
    try:
        with hidden_warnings():  # of what is odd in a header
            headers: list[Dataset] = [
                pydicom.dcmread(file, stop_before_pixels=True, force=True)
                for file in source.files[:most]
            ]
        if all(key in header for header in headers for key in ("SOPClassUID", "Rows", "Columns")):
            return headers
    except Exception as raised:  # pydicom raises nearly anything on a damaged file
        error = raised
    raise LDSegError(
        f"{source.files[0].parent} does not hold the DICOM files of {result.scan.name} any more; put "
        "them back there."
    ) from error


def _fill_thickness(dataset: Dataset, distance: float) -> None:
    """Let slices without a thickness be as thick as their ``distance`` in mm: highdicom needs one to read its files."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    measures = [one for groups in shared for one in groups.get("PixelMeasuresSequence") or ()]
    for one in measures or [dataset]:
        if one.get("SliceThickness") is None:
            one.SliceThickness = f"{distance:.6g}"


def _functional_groups() -> Dataset:
    """Return what highdicom reads of any multi-frame class, which a photograph of such a class (OP) does not have."""
    from pydicom import Dataset

    groups = Dataset()
    groups.PixelMeasuresSequence = [Dataset()]
    return groups


def _stored_order(dataset: Dataset, affine: np.ndarray, count: int) -> np.ndarray:
    """Return which slice each frame of a multi-frame file is, from its position."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    positions = [group.get("PlanePositionSequence") for group in groups]
    if len(positions) != count or not all(positions):
        return np.arange(count)
    points = np.array([position[0].ImagePositionPatient for position in positions], float)
    to_index = np.linalg.inv(LPS @ affine)
    order = np.rint(points @ to_index[2, :3] + to_index[2, 3]).astype(int)
    if sorted(order) != list(range(count)):
        raise LDSegError("The frames of the DICOM file are not one stack of slices; save as NIfTI.")
    return order


def _described(info: ClassInfo, result: Result, name: str) -> dict[str, Any]:
    """Return the description of a segment without its number."""
    from highdicom.color import CIELabColor
    from highdicom.uid import UID

    label = one_line(info.name, LONG_STRING)
    kind = "SEMIAUTOMATIC" if result.edited else "AUTOMATIC"
    if not result.model:
        kind = "MANUAL"
    return {
        "segment_label": label,
        "segmented_property_category": _code(category_of(info)),
        "segmented_property_type": _code(type_of(info)),
        "algorithm_type": kind,
        "algorithm_identification": None if kind == "MANUAL" else _algorithm(result),
        "tracking_uid": UID(),
        "tracking_id": label,
        "display_color": CIELabColor.from_rgb(*colour_of(info)),
    }


def _algorithm(result: Result) -> Any:
    """Return the identification of the model, its version and its settings."""
    from highdicom.content import AlgorithmIdentificationSequence
    from pydicom.sr.coding import Code

    provenance = result.provenance
    settings = ("samples", "steps", "sampler", "seed", "checkpoint_sha256", "precision")
    return AlgorithmIdentificationSequence(
        name=one_line(f"{SOFTWARE} {result.model}", LONG_STRING),
        family=Code("123110", "DCM", "Artificial Intelligence"),
        version=str(provenance.get("napari_ldseg", version(SOFTWARE))),
        source=SOFTWARE,
        parameters={key: str(provenance[key]) for key in settings if key in provenance},
    )


def _code(coded: Coded) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(coded.value, coded.scheme, coded.meaning)


def _common(result: Result, what: str) -> dict[str, Any]:
    """Return the arguments that both kinds of object have."""
    from highdicom.uid import UID

    described = f"{what}, {result.model}" if result.model else what
    return {
        "series_instance_uid": UID(),
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": "LDSeg",
        "software_versions": version(SOFTWARE),
        "device_serial_number": str(result.provenance.get("checkpoint_sha256", "none"))[
            :LONG_STRING
        ],
        "content_description": one_line(f"{described}; for research only", LONG_STRING),
        "series_description": one_line(described, LONG_STRING),
        "specific_character_set": "ISO_IR 192",
    }


def _quiet(kind: Any, **arguments: Any) -> Any:
    """Return the object of ``kind``; raise LDSegError if the series does not allow it."""
    with _plain_errors(arguments["source_images"][0]):
        dataset = kind(**arguments)
        for groups in dataset.SharedFunctionalGroupsSequence:
            measures = groups.get("PixelMeasuresSequence")
            # Of a photograph; highdicom does not read measures without a thickness.
            if measures is not None and not all("SliceThickness" in one for one in measures):
                del groups.PixelMeasuresSequence
        return dataset


@contextmanager
def _plain_errors(source: Dataset) -> Iterator[None]:
    """Turn what highdicom and pydicom raise into an LDSegError that repeats no value of the header of ``source``."""
    try:
        with hidden_warnings():  # of what is odd in the source's own attributes
            yield
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        values = {name: str(source.get(name) or "") for name in CHECKED}
        named = [name for name in CHECKED if values[name] and values[name] in str(error)]
        reason = one_line(without_values(error)).rstrip(".")
        if named:
            reason = f"its {max(named, key=lambda name: len(values[name]))} is invalid"
        reason = reason or f"highdicom does not accept it ({type(error).__name__})"
        raise LDSegError(
            f"The DICOM series cannot have a segmentation: {reason}; save as NIfTI."
        ) from error


def _save(path: Path, dataset: Dataset) -> None:
    with _plain_errors(dataset), atomic_write(path, ".dcm") as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _add_scheme(dataset: Dataset) -> None:
    """Say whose the private codes are (PS3.3 C.12.1.1.1)."""
    from pydicom import Dataset
    from pydicom.sequence import Sequence as Items

    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = f"Classes of {SOFTWARE} models, by the hash of their name"
    item.CodingSchemeResponsibleOrganization = "The napari-ldseg developers"
    dataset.CodingSchemeIdentificationSequence = Items([item])
