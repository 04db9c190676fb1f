"""From a request to its reply: the same sampling as everywhere, conditioned on what the request knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.file import Checkpoint
from ..errors import LDSegError
from ..export import nrrd_file
from ..export.formats import export_labels, export_map
from ..export.result import Result
from ..inference.conditioning import ConditionedPosterior, Conditioner
from ..inference.evidence import Evidence, evidence_from_labels
from ..inference.posterior import Posterior
from ..inference.probability import expected_error_of
from ..inference.sampler import PosteriorSampler
from ..inference.segment import make_sampler
from ..inference.tiled import TiledSampler
from ..scans.channels import ImageFiles, read_image
from ..scans.display_axes import to_display_axes
from ..scans.files import read_labels, read_scan, stem_of
from ..scans.scan import LPS, MAX_SHIFT, Scan, Source, corner_distance
from .jobs import check_cancelled
from .request import BACKGROUND_VALUE, Request

FORMATS = {".nii": "nifti", ".nii.gz": "nifti", ".nrrd": "nrrd", ".seg.nrrd": "nrrd"}
CONDITIONED = "Not calibrated: the result was conditioned on what was drawn."
RAW_LABELS = ".bin"  # one byte per voxel, x fastest, as the OHIF viewer sends them


@dataclass(frozen=True)
class Reply:
    """The labels with their summary, the maps that were asked for, and what is sent beside them as JSON."""

    result: Result
    maps: Mapping[str, np.ndarray]
    params: Mapping[str, Any]


def read_request_image(path: Path, channels: int) -> Scan:
    """Read the image of a request; one of DICOM in the order of slices that clients count in.

    Raises LDSegError as ``read_image`` does.
    """
    scan = read_image(ImageFiles(stem_of(path), (path,)), channels)
    source = scan.source
    if source is None or source.format != "DICOM":
        return scan
    return replace(scan, source=right_handed(source))


def right_handed(source: Source) -> Source:
    """Return ``source`` with the slices in the order in which ITK and the viewers have them.

    There the third axis goes along the cross product of the first two, in LPS.
    """
    if len(source.shape) < 3 or np.linalg.det((LPS @ source.affine)[:3, :3]) >= 0:
        return source
    turned = np.diag([1.0, 1.0, -1.0, 1.0])
    turned[2, 3] = source.shape[2] - 1
    flips = tuple(
        -flip if axis == 2 else flip for axis, flip in zip(source.order, source.flips, strict=True)
    )
    return replace(source, affine=source.affine @ turned, flips=flips, files=source.files[::-1])


def answer(
    checkpoint: Checkpoint,
    scan: Scan,
    request: Request,
    label_file: Path | None = None,
    device: str = "auto",
) -> Reply:
    """Segment ``scan`` as ``request`` asks for.

    Parameters
    ----------
    checkpoint
        The model.
    scan
        As from ``read_request_image``.
    request
        The settings, and points that are known.
    label_file
        Labels or scribbles on the image's grid, also known.
    device
        As in ``inference.devices.resolve_device``.

    Raises
    ------
    LDSegError
        If the model does not suit the image, what is known does not fit it, or memory runs out.
    Cancelled
        If the job is no longer wanted.
    """
    metadata = checkpoint.metadata
    evidence = _evidence(
        scan, request, label_file, len(metadata.classes), metadata.architecture.dims
    )
    sampler = make_sampler(
        checkpoint, scan, seed=request.seed, steps=request.steps or None, device=device
    )
    if isinstance(sampler, TiledSampler):
        for _ in sampler.prepare():
            check_cancelled()
    for _ in sampler.run(request.samples):
        check_cancelled()
    posterior = sampler.posterior
    params = {
        "label_names": {info.name: value for value, info in enumerate(metadata.classes) if value},
        **posterior.summary(),
        "unlike": posterior.unlike,
        "notice": sampler.notice,
    }
    labels, maps = posterior.labels, _maps(posterior, request)
    if evidence is not None:
        conditioned = _condition(sampler, evidence)
        labels = conditioned.labels
        params |= _described(conditioned, params, scan)
        maps = {n: conditioned.predictive_sd for n in request.maps if n == "predictive_sd"}
    classes = {value: info for value, info in enumerate(metadata.classes) if value}
    return Reply(Result(scan, labels, classes, params, edited=evidence is not None), maps, params)


def write_reply(reply: Reply, folder: Path, request: Request) -> dict[str, Path]:
    """Write the labels and the maps of ``reply`` to ``folder``; return the files by what they are.

    The keys are ``labels`` and those of ``request.maps`` that there are. Raises LDSegError.
    """
    suffix = request.result_extension
    files = {"labels": folder / f"labels{suffix}"}
    if suffix == ".nrrd":  # the OHIF viewer reads no compressed ones
        nrrd_file.write_labels(files["labels"], reply.result, compressed=False)
    else:
        export_labels(files["labels"], reply.result, FORMATS[suffix])
    for name, array in reply.maps.items():
        files[name] = folder / f"{name}{suffix.removeprefix('.seg')}"
        export_map(files[name], array, reply.result, FORMATS[suffix])
    return files


def labels_on(scan: Scan, path: Path) -> np.ndarray:
    """Return the labels in the file ``path``, integers shaped like ``scan.shape``.

    They must be on the scan's grid, in any order of its axes; a ``.bin`` file has the order of the scan's file.

    Raises
    ------
    LDSegError
        If the file cannot be read or is on another grid.
    """
    if path.suffix == RAW_LABELS:
        data = np.fromfile(path, np.uint8)
        if data.size != int(np.prod(scan.shape)):
            raise _other_grid(scan)
        shape = scan.shape[::-1] if scan.source is None else scan.source.shape
        return on_array_axes(data.reshape(shape, order="F"), scan)
    labels = read_labels(path)
    voxel = min(scan.spacing)
    if labels.shape != scan.shape or (
        scan.source is not None
        and corner_distance(labels.affine, scan.affine, scan.size) > MAX_SHIFT * voxel
    ):
        raise _other_grid(scan)
    return np.asarray(labels.array)


def check_on_grid(image: Path, label: Path) -> None:
    """Raise LDSegError if the labels in a file are not on an image's grid, or on that of each of its channels."""
    scan = read_scan(image)
    try:
        labels_on(scan, label)
    except LDSegError:
        if len(scan.shape) <= scan.space:
            raise
        labels_on(read_request_image(image, scan.shape[0]), label)


def on_array_axes(data: np.ndarray, scan: Scan) -> np.ndarray:
    """Return ``data``, shaped (x, y, z, *frames) as in the scan's file, on the axes of the scan's array."""
    if scan.source is None:
        return data.T.reshape(scan.shape)
    return to_display_axes(data, scan.source).reshape(scan.shape)


def _other_grid(scan: Scan) -> LDSegError:
    return LDSegError(
        f"The label in the request is not on the grid of {scan.name}; draw it on this image."
    )


def _evidence(
    scan: Scan, request: Request, label_file: Path | None, classes: int, dims: int
) -> Evidence | None:
    """Return what the request knows of the image; None if that is nothing."""
    labels, known = np.zeros(scan.shape, np.uint8), np.zeros(scan.shape, bool)
    if label_file is not None:
        given = labels_on(scan, label_file)
        meanings = request.label_classes
        if meanings is None:
            meanings = {BACKGROUND_VALUE: 0, **{c: c for c in range(1, classes)}}
        if not meanings:
            raise LDSegError(
                "The request's label_info names no class of the model; correct a name."
            )
        unknown = np.setdiff1d(np.unique(given), [0, *meanings, *request.other_values])
        if len(unknown):
            raise LDSegError(
                f"The label in the request has the value {unknown[0]}, which is no class of the model; say in "
                "label_info what it means."
            )
        for value, c in meanings.items():
            where = given == value
            labels[where], known[where] = c, True
    if request.points:
        shape = scan.shape[::-1] if scan.source is None else scan.source.shape
        drawn = np.zeros(shape, np.uint16)
        for c, points in request.points.items():
            for point in points:
                at = (*point, *[0] * len(shape))[: len(shape)]
                if any(not 0 <= i < n for i, n in zip(at, shape, strict=True)):
                    raise LDSegError(f"The point {list(point)} is outside {scan.name}.")
                if drawn[at] not in (0, c + 1):
                    raise LDSegError(f"The point {list(point)} is of two classes; send it for one.")
                drawn[at] = c + 1
        pointed = on_array_axes(drawn, scan)
        labels[pointed > 0] = pointed[pointed > 0] - 1
        known |= pointed > 0
    return evidence_from_labels(labels, known, classes, dims) if known.any() else None


def _condition(sampler: PosteriorSampler, evidence: Evidence) -> ConditionedPosterior:
    samples = sampler.samples()
    region = sampler.sampled_region()
    if samples is None or samples.shape != sampler.scan.shape or samples.shape != evidence.shape:
        raise LDSegError(
            f"{sampler.scan.name} is too large to follow points or scribbles; send the part around the "
            f"structure ({region.start} to {region.stop})."
        )
    posterior = sampler.posterior
    conditioner = Conditioner(samples, posterior.probability)
    return conditioner.condition(evidence, lambda share: check_cancelled(), posterior.labels)


def _maps(posterior: Posterior, request: Request) -> dict[str, np.ndarray]:
    arrays = {name: getattr(posterior, name) for name in request.maps}
    return {name: array for name, array in arrays.items() if array is not None}


def _described(
    conditioned: ConditionedPosterior, params: Mapping[str, Any], scan: Scan
) -> dict[str, Any]:
    """Return what of the summary is different for the conditioned result."""
    unit_size = scan.voxel_size / max(int(np.prod(scan.shape[: -scan.space])), 1)
    classes: dict[str, dict[str, Any]] = {
        name: {
            "size": float(np.count_nonzero(conditioned.labels == value) * unit_size),
            "sample_sizes": [],
            "interval": None,
        }
        for name, value in params["label_names"].items()
    }
    effective = conditioned.effective_samples
    return {
        "classes": classes,
        "calibrated": {"probability": False, "intervals": False, "meaning": CONDITIONED},
        "expected_error": expected_error_of(conditioned.labels, conditioned.probability),
        "conditioned": {
            "strokes": len(conditioned.weights),
            "effective_samples": float(effective.min()) if len(effective) else None,
        },
    }
