"""DICOM images: a series of slices, a multi-frame file, or a 2D image, with its exact geometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LDSegError
from ..colours import plain_samples
from ..display_axes import on_display_axes
from ..memory import check_size
from ..scan import Scan, Source
from .frames import frame_item, frame_planes
from .header import Header, plain_dicom_errors, read_dataset
from .picture import pixel_size
from .pixels import (
    BYTES_PER_SAMPLE,
    Values,
    in_smallest_type,
    stored_pixels,
    values_of,
    window_of,
)
from .series import ZIP_SUFFIX, Series, one_series
from .slices import Plane, arrange

FORMAT = "DICOM"


def read_dicom(path: Path) -> Scan:
    """Read the DICOM image of a file, a folder or a ZIP archive.

    A file that is a slice stands for its series: all slices of it in its folder are read. Slices are put in
    order by their place; several at each place become frames. A multi-frame file is a volume where its
    frames have places, else frames over time; one with stacks of several orientations is several images,
    ``FILE/stack_1`` and so on, as ``ARCHIVE.zip/NAME`` is one of several images of an archive. Values are
    rescaled as the file says; MONOCHROME1 is inverted, other colours become RGB.

    Raises
    ------
    LDSegError
        If it cannot be read or is too large, holds several images, or its slices are not on one grid.
    """
    return read_series(one_series(path))


def dicom_files(path: Path) -> tuple[Path, ...]:
    """Return the files of the image that ``read_dicom`` reads from ``path``. Raises LDSegError."""
    if path.is_file() and path.suffix.lower() == ZIP_SUFFIX:
        return (path,)
    return one_series(path).files


def stands_for(path: Path, files: tuple[Path, ...]) -> bool:
    """Return whether ``read_dicom`` reads exactly the image of ``files`` from ``path``."""
    try:
        return set(one_series(path).files) == set(files)
    except LDSegError:
        return False


def read_series(series: Series) -> Scan:
    """Read the image of ``series``. Raises LDSegError as ``read_dicom`` does."""
    first = series.headers[0]
    if series.is_volume:
        return _volume(series)
    with plain_dicom_errors(first.path):
        dataset = read_dataset(first.path)
        planes = frame_planes(dataset, first.path.name)
        return _picture(series, dataset) if planes is None else _frames(series, dataset, planes)


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
        window=window,
    )
    return _scan(array, source, len(times), series)


def _plane(header: Header, file: int) -> Plane:
    assert header.position and header.orientation and header.spacing  # of a volume
    place = (header.position, header.orientation, header.spacing, header.thickness, header.times)
    return Plane(*place, file, 0, header.path.name)


def _frames(series: Series, dataset: Any, planes: list[Plane]) -> Scan:
    """Return the scan of frames with places: those of ``series`` in a multi-frame file."""
    header = series.headers[0]
    wanted = set(series.frames or range(len(planes)))
    times, affine = arrange([plane for plane in planes if plane.frame in wanted], series.name)
    stored = stored_pixels(dataset, header.path.name)
    order = [plane.frame for time in times for plane in time]
    rescaling = "PixelValueTransformationSequence"
    values = [values_of(dataset, frame_item(dataset, rescaling, i)) for i in order]
    window = window_of(frame_item(dataset, "FrameVOILUTSequence", order[0]) or dataset, values[0])
    array = in_smallest_type([stored[i] for i in order], values)
    _, rows, columns, _ = header.shape
    shape = (columns, rows, len(times[0])) + ((len(times),) if len(times) > 1 else ())
    source = Source(affine, shape, format=FORMAT, files=(header.path,), window=window)
    return _scan(array, source, len(times), series)


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
    source = Source(affine, shape, format=FORMAT, files=(header.path,), window=window)
    return _scan(array, source, frames, series, size is not None)


def _scan(
    array: np.ndarray, source: Source, times: int, series: Series, calibrated: bool = True
) -> Scan:
    """Return the scan of (time and slice, row, column[, colour]) on display axes."""
    colour = array.ndim == 4
    if colour:
        array, colour = plain_samples(array)
    slices = len(array) // times
    array = array.reshape(times, slices, *array.shape[1:])
    array = np.moveaxis(array, (3, 2, 1, 0), (0, 1, 2, 3))  # x, y, slice, time[, colour]
    array = array.reshape(*source.shape, *array.shape[4:])
    scan = on_display_axes(array, source, series.name, calibrated=calibrated)
    return replace(scan, modality=series.headers[0].modality)
