"""DICOM images: a series of slices, a multi-frame file, or a 2D image, with its exact geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LDSegError
from ..colours import plain_samples
from ..display_axes import on_display_axes
from ..memory import check_size
from ..scan import Scan, Source
from .header import Header, numbers, plain_dicom_errors, read_dataset
from .picture import pixel_size
from .pixels import (
    BYTES_PER_SAMPLE,
    Values,
    in_smallest_type,
    stored_pixels,
    values_of,
    window_of,
)
from .series import ZIP_SUFFIX, Series, one_series, series_of_file
from .slices import Plane, arrange

FORMAT = "DICOM"


def read_dicom(path: Path) -> Scan:
    """Read the DICOM image of a file, a folder or a ZIP archive.

    A file that is a slice stands for its series: all slices of it in its folder are read. Slices are put in
    order by their place; several at each place become frames. A multi-frame file is a volume where its
    frames have places, else frames over time. Values are rescaled as the file says; MONOCHROME1 is inverted,
    other colours become RGB.

    Raises
    ------
    LDSegError
        If it cannot be read or is too large, holds several images, or its slices are not on one grid.
    """
    return read_series(one_series(path) if _is_folder(path) else series_of_file(path))


def dicom_files(path: Path) -> tuple[Path, ...]:
    """Return the files of the image that ``read_dicom`` reads from ``path``. Raises LDSegError."""
    if path.is_file() and _is_folder(path):
        return (path,)
    return (one_series(path) if path.is_dir() else series_of_file(path)).files


def stands_for(path: Path, files: tuple[Path, ...]) -> bool:
    """Return whether ``read_dicom`` reads exactly the image of ``files`` from ``path``."""
    try:
        series = one_series(path) if _is_folder(path) else series_of_file(path)
    except LDSegError:
        return False
    return set(series.files) == set(files)


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() == ZIP_SUFFIX


def read_series(series: Series) -> Scan:
    """Read the image of ``series``. Raises LDSegError as ``read_dicom`` does."""
    first = series.headers[0]
    if series.is_volume:
        return _volume(series)
    with plain_dicom_errors(first.path):
        dataset = read_dataset(first.path)
        if _functional_groups(dataset):
            return _enhanced(series, dataset)
        return _picture(series, dataset)


def _volume(series: Series) -> Scan:
    """Return the scan of slices in a file each."""
    headers = series.headers
    planes = [_plane(header, i) for i, header in enumerate(headers)]
    times, affine = arrange(planes, series.name)
    ordered = [plane for time in times for plane in time]
    _, rows, columns, samples = headers[0].shape
    check_size(series.name, (len(ordered), rows, columns, samples), BYTES_PER_SAMPLE)
    stored: list[np.ndarray] = []
    values: list[Values] = []
    window, files = None, []
    for plane in ordered:
        path = headers[plane.file].path
        with plain_dicom_errors(path):
            dataset = read_dataset(path)
            array = stored_pixels(dataset, path.name)[0]
            if array.shape[:2] != (rows, columns):
                raise ValueError("it has changed while it was read")
            stored.append(array)
            values.append(values_of(dataset))
            window = window or window_of(dataset, values[-1])
        files.append(path)
    array = in_smallest_type(stored, values)
    shape = (columns, rows, len(times[0])) + ((len(times),) if len(times) > 1 else ())
    source = Source(
        affine,
        shape,
        format=FORMAT,
        files=tuple(files),
        modality=headers[0].modality,
        window=window,
    )
    return _scan(array, source, len(times), series.name, True)


def _plane(header: Header, file: int) -> Plane:
    assert header.position and header.orientation and header.spacing  # of a volume
    place = (header.position, header.orientation, header.spacing, header.thickness, header.times)
    return Plane(*place, file, 0, header.path.name)


def _enhanced(series: Series, dataset: Any) -> Scan:
    """Return the scan of a multi-frame file whose frames have places."""
    header = series.headers[0]
    name, shared = series.name, _first(dataset.get("SharedFunctionalGroupsSequence"))
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(groups) != header.shape[0]:
        raise ValueError(f"it describes {len(groups)} of {header.shape[0]} frames")
    planes = [_frame_plane(group, shared, i, header.path.name) for i, group in enumerate(groups)]
    times, affine = arrange(planes, name)
    stored = stored_pixels(dataset, header.path.name)
    order = [plane.frame for time in times for plane in time]
    values = [
        values_of(dataset, _item("PixelValueTransformationSequence", groups[i], shared))
        for i in order
    ]
    voi = _item("FrameVOILUTSequence", groups[order[0]], shared)
    window = None if voi is None else window_of(voi, values[0])
    array = in_smallest_type([stored[i] for i in order], values)
    _, rows, columns, _ = header.shape
    shape = (columns, rows, len(times[0])) + ((len(times),) if len(times) > 1 else ())
    source = Source(
        affine, shape, format=FORMAT, files=(header.path,), modality=header.modality, window=window
    )
    return _scan(array, source, len(times), name, True)


def _picture(series: Series, dataset: Any) -> Scan:
    """Return the scan of a 2D image, or of frames over time, without a place in the body."""
    header = series.headers[0]
    size = pixel_size(dataset)
    stored, values = stored_pixels(dataset, header.path.name), values_of(dataset)
    colour = stored.ndim == 4
    values = Values() if colour else values
    window = None if colour else window_of(dataset, values)
    array = in_smallest_type(list(stored), [values] * len(stored))
    rows, columns, frames = array.shape[1], array.shape[2], len(array)
    affine = np.diag([-(size or (1, 1))[1], -(size or (1, 1))[0], 1.0, 1.0])
    shape = (columns, rows, 1) + ((frames,) if frames > 1 else ())
    source = Source(
        affine, shape, format=FORMAT, files=(header.path,), modality=header.modality, window=window
    )
    return _scan(array, source, frames, series.name, size is not None)


def _scan(array: np.ndarray, source: Source, times: int, name: str, calibrated: bool) -> Scan:
    """Return the scan of (time and slice, row, column[, colour]) on display axes."""
    colour = array.ndim == 4
    if colour:
        array, colour = plain_samples(array)
    slices = len(array) // times
    array = array.reshape(times, slices, *array.shape[1:])
    array = np.moveaxis(array, (3, 2, 1, 0), (0, 1, 2, 3))  # x, y, slice, time[, colour]
    array = array.reshape(*source.shape, *array.shape[4:])
    return on_display_axes(array, source, name, calibrated=calibrated)


def _functional_groups(dataset: Any) -> bool:
    """Return whether the frames of a multi-frame file have places."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return False
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    return _item("PlanePositionSequence", groups[0], shared) is not None


def _frame_plane(group: Any, shared: Any, frame: int, name: str) -> Plane:
    found = []
    for sequence, keyword, count in (
        ("PlanePositionSequence", "ImagePositionPatient", 3),
        ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        ("PixelMeasuresSequence", "PixelSpacing", 2),
    ):
        item = _item(sequence, group, shared)
        value = None if item is None else numbers(item.get(keyword), count)
        if value is None:
            raise LDSegError(f"{name} has no {keyword} for its frame {frame + 1}; save it again.")
        found.append(value)
    position, orientation, spacing = found
    measures = _item("PixelMeasuresSequence", group, shared)
    thickness = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0)
    content = _item("FrameContentSequence", group, shared)
    times: Sequence[Any] = ()
    if content is not None:
        times = [content.get("TemporalPositionIndex"), content.get("StackID")]
        times += list(content.get("DimensionIndexValues") or ())
        times.append(content.get("FrameAcquisitionNumber"))
    return Plane(
        position,
        orientation,
        spacing,
        thickness,
        (*map(_number, times), float(frame)),
        0,
        frame,
        name,
    )


def _item(sequence: str, group: Any, shared: Any) -> Any:
    """Return the item of a functional group: the frame's own, else that of all frames; None if neither."""
    for part in (group, shared):
        item = None if part is None else _first(part.get(sequence))
        if item is not None:
            return item
    return None


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
