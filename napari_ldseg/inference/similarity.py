"""Whether an image can be of the kind that a checkpoint was trained on, from what is known of both."""

from __future__ import annotations

import re

import numpy as np

from ..checkpoint.metadata import Metadata
from ..scans.scan import Scan
from ..utils.text import one_line

SIGNED = -20  # below it values are signed, as in CT; resampled MRI may be a little below 0
KIND_OF_MODALITY = {"CT": "CT", "MR": "MRI", "US": "ultrasound", "IVUS": "ultrasound"}
UNSPECIFIC = ("OT", "SC")  # other, and secondary captures of anything
PLANES, PLANE_SIZE = 3, 512
LONGEST = 160
CITED = re.compile(r"[^(,;]+ \([^)]*\)((, | and )[^(,;]+ \([^)]*\))*")
REFERENCE = re.compile(r" \([^)]*\)")


def training_images(metadata: Metadata) -> str:
    """Return in a few words which images the checkpoint was trained on: its purpose and its data."""
    first, *later = metadata.training.data.split("; then ")
    cited = CITED.match(first)  # data sets with their references: all of their names
    data = REFERENCE.sub("", cited[0]) if cited else re.split(r"[,;] ", first)[0].rstrip(". ")
    text = metadata.description.rstrip(". ")
    if len(text) > LONGEST:
        text = f"{text[:LONGEST].rsplit(' ', 1)[0]} …"
    sources = " and ".join(part[:LONGEST] for part in (data, *later[-1:]) if part)
    return f"{text} ({sources})" if sources else text


def unlike_training(metadata: Metadata, scan: Scan) -> str | None:
    """Return what shows that ``scan`` is unlike the training images, as a clause; None if nothing does.

    The checkpoint's kind of images is known by the name of its channel: ultrasound, CT, or MRI. A
    checkpoint trained on the cases of a project has the names of an earlier one, so nothing is concluded.
    """
    kind = _kind(metadata)
    if kind is None or metadata.training.cases:
        return None
    modality = scan.modality
    if modality and modality not in UNSPECIFIC and KIND_OF_MODALITY.get(modality) != kind:
        return f"its DICOM modality is {one_line(modality, 16)}, the training images are {kind}"
    volume = scan.space == 3 and scan.calibrated
    if kind == "ultrasound" and metadata.architecture.dims == 2 and volume:
        return "it is of a volume, not an ultrasound image"
    extremes = _extremes(scan)
    if extremes is None:
        return None
    low, high = extremes
    found = f"its values are from {low:.4g} to {high:.4g}"
    if kind == "ultrasound" and (low < SIGNED or high > 255):
        return f"{found}, those of ultrasound images from 0 to 255"
    if kind == "MRI" and low < SIGNED:
        return f"{found}, those of MRI not below 0"
    if kind == "CT" and low >= 0 and high > 255:
        return f"{found}, those of CT also below 0 (in HU)"
    return None


def _kind(metadata: Metadata) -> str | None:
    if len(metadata.channels) != 1:
        return None
    words = set(re.findall(r"[a-z0-9]+", metadata.channels[0].lower()))
    for kind, names in (
        ("ultrasound", {"ultrasound", "us", "echo", "echocardiogram"}),
        ("CT", {"ct", "hu"}),
        ("MRI", {"mri", "mr", "t1", "t2", "flair"}),
    ):
        if words & names:
            return kind
    return None


def _extremes(scan: Scan) -> tuple[float, float] | None:
    """Return the lowest and highest finite value in a few planes, without reading the whole image."""
    array, shape = scan.array, scan.shape
    if min(shape, default=0) < 1:
        return None
    found = []
    for place in np.linspace(0.25, 0.75, PLANES) if len(shape) > 2 else (0.5,):
        plane = array[tuple(int(place * n) for n in shape[:-2])] if len(shape) > 2 else array
        steps = tuple(slice(None, None, max(1, n // PLANE_SIZE)) for n in shape[-2:])
        values = np.asarray(plane[steps])
        values = values[np.isfinite(values)]
        if values.size:
            found += [float(values.min()), float(values.max())]
    return (min(found), max(found)) if found else None
