"""Where the frames of a multi-frame DICOM file are: enhanced CT, MR and PET, and reconstructed nuclear medicine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import LDSegError
from .header import numbers
from .slices import SAME_DIRECTION, Plane

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# A frame's number in each dimension of a nuclear medicine image, but for its slice.
NUCLEAR_TIMES = (
    *("PhaseVector", "TimeSliceVector", "TimeSlotVector", "RRIntervalVector"),
    *("EnergyWindowVector", "DetectorVector"),
)
# All that ``frame_planes`` needs.
PLACE_KEYWORDS = (
    *GROUPS,
    *("Modality", "ImageType", "NumberOfFrames", "SliceVector", *NUCLEAR_TIMES),
    *("DetectorInformationSequence", "PixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
)
TOMOGRAPHIC = ("NM", "PT")


def frame_planes(dataset: Any, name: str) -> list[Plane] | None:
    """Return the plane of each frame; None where the frames have no place: 2D images over time.

    Raises
    ------
    LDSegError
        If a place is missing for some, or for a tomogram of nuclear medicine, which is no loop of 2D images.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    groups = list(dataset.get(GROUPS[1]) or ())
    shared = _first(dataset.get(GROUPS[0]))
    if groups and item_of("PlanePositionSequence", groups[0], shared) is not None:
        if len(groups) != frames:
            raise ValueError(f"it describes {len(groups)} of {frames} frames")
        return [_enhanced_plane(group, shared, i, name) for i, group in enumerate(groups)]
    if frames > 1 and dataset.get("Modality") in TOMOGRAPHIC:
        return _nuclear_planes(dataset, frames, name)
    return None


def frame_item(dataset: Any, sequence: str, frame: int) -> Any:
    """Return the item of a functional group for a frame; None if there is none."""
    groups = dataset.get(GROUPS[1])
    group = groups[frame] if groups else None
    return item_of(sequence, group, _first(dataset.get(GROUPS[0])))


def item_of(sequence: str, group: Any, shared: Any) -> Any:
    """Return the item of a functional group: the frame's own, else that of all frames; None if neither."""
    for part in (group, shared):
        item = None if part is None else _first(part.get(sequence))
        if item is not None:
            return item
    return None


def stacks_of(planes: Sequence[Plane]) -> list[tuple[int, ...]]:
    """Return the frames of each stack of slices of one orientation and pixel size."""
    stacks: list[list[Plane]] = []
    for plane in planes:
        for stack in stacks:
            first = stack[0]
            parallel = np.allclose(
                plane.orientation, first.orientation, rtol=0, atol=SAME_DIRECTION
            )
            if parallel and np.allclose(plane.spacing, first.spacing, rtol=1e-3, atol=0):
                stack.append(plane)
                break
        else:
            stacks.append([plane])
    return [tuple(plane.frame for plane in stack) for stack in stacks]


def _enhanced_plane(group: Any, shared: Any, frame: int, name: str) -> Plane:
    found = []
    for sequence, keyword, count in (
        ("PlanePositionSequence", "ImagePositionPatient", 3),
        ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        ("PixelMeasuresSequence", "PixelSpacing", 2),
    ):
        item = item_of(sequence, group, shared)
        value = None if item is None else numbers(item.get(keyword), count)
        if value is None:
            raise LDSegError(f"{name} has no {keyword} for its frame {frame + 1}; save it again.")
        found.append(value)
    position, orientation, spacing = found
    thickness = _thickness(item_of("PixelMeasuresSequence", group, shared))
    content = item_of("FrameContentSequence", group, shared)
    times: Sequence[Any] = ()
    if content is not None:
        times = [content.get("TemporalPositionIndex"), content.get("StackID")]
        times += list(content.get("DimensionIndexValues") or ())
        times.append(content.get("FrameAcquisitionNumber"))
    numbered = (*map(_number, times), float(frame))
    return Plane(position, orientation, spacing, thickness, numbered, 0, frame, name)


def _nuclear_planes(dataset: Any, frames: int, name: str) -> list[Plane] | None:
    """Return the planes of a reconstruction: the file gives the place of the first slice, and each frame's slice."""
    vector = dataset.get("SliceVector")
    kind = "".join(map(str, list(dataset.get("ImageType") or ())[2:3])).upper()
    is_volume = vector is not None or "RECON" in kind or dataset.get("Modality") == "PT"
    if not is_volume:
        if "TOMO" in kind:
            raise LDSegError(
                f"{name} holds the projections of a tomogram; choose the images reconstructed from them."
            )
        return None
    detector = _first(dataset.get("DetectorInformationSequence"))
    first, orientation = (
        next(
            filter(None, (numbers(part.get(key), n) for part in (detector, dataset) if part)), None
        )
        for key, n in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6))
    )
    spacing, step = numbers(dataset.get("PixelSpacing"), 2), _thickness(dataset)
    if first is None or orientation is None or spacing is None or not step:
        raise LDSegError(
            f"{name} is a volume ({dataset.get('Modality')}), but gives no position, orientation or distance of its "
            "slices; export it again as a series of slices."
        )
    slices = list(range(1, frames + 1)) if vector is None else [int(n) for n in vector]
    if len(slices) != frames:
        raise ValueError(f"it gives the slice of {len(slices)} of {frames} frames")
    x, y = np.array(orientation).reshape(2, 3)
    move = np.cross(x, y) * step  # the sign of the distance is the direction
    vectors = [v for v in map(dataset.get, NUCLEAR_TIMES) if v is not None and len(v) == frames]
    return [
        Plane(
            tuple((np.array(first) + (slices[i] - 1) * move).tolist()),
            orientation,
            spacing,
            abs(step),
            (*(float(v[i]) for v in vectors), float(i)),
            0,
            i,
            name,
        )
        for i in range(frames)
    ]


def _thickness(measures: Any) -> float:
    return float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0)


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
