"""Which cases to annotate next: those with the highest expected error, and no two similar ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..checkpoint.file import Checkpoint
from ..datasets.slices import every_nth
from ..errors import LDSegError
from ..inference.checks import check_fit
from ..inference.preprocessing import grid_map, preprocess
from ..inference.segment import segment
from ..model.ldseg import LDSeg
from ..project.folder import Project
from ..scans.scan import Scan

SAMPLES = 8
SLICES = 8


class Suggestion(NamedTuple):
    """A case to annotate; ``expected_error`` is 0 to 1, ``problem`` says why it could not be examined."""

    name: str
    expected_error: float
    reason: str
    problem: str = ""


def rank(
    checkpoint: Checkpoint,
    project: Project,
    names: Sequence[str],
    known: Sequence[str],
    device: str = "auto",
    on_case: Callable[[], None] = lambda: None,
) -> list[Suggestion]:
    """Return the cases ``names`` in the order in which to annotate them.

    The next one is always that with the highest expected error * (1 + novelty) / 2. The expected error is
    1 - the Dice that the model expects of its own label. The novelty, 0 to 1, is the distance of the image's
    embedding from the nearest of the cases ``known`` and those ranked before, divided by the median distance
    of two cases (a greedy core-set: Sener and Savarese, arXiv 1708.00489). ``on_case`` is called after
    every case, also of ``known``, and may raise to stop. Of a volume that a 2D model segments slice by
    slice, about 8 slices are examined. Cases that cannot be segmented come last.
    """
    errors: dict[str, float] = {}
    places: dict[str, np.ndarray] = {}
    problems: dict[str, str] = {}
    for name in [*known, *names]:
        try:
            scan = project.images.read(project.case(name))
            places[name] = embedding(checkpoint, scan)
            if name in names:
                errors[name] = case_error(checkpoint, scan, device)
        except LDSegError as error:
            problems[name] = str(error)
        on_case()
    near = [places[name] for name in known if name in places]
    scale = _median_distance(list(places.values()))
    left, order = set(errors), []
    while left:
        novel = {name: _novelty(places[name], near, scale) for name in left}
        best = max(sorted(left), key=lambda name: errors[name] * (1 + novel[name]) / 2)
        left.remove(best)
        near.append(places[best])
        similar = "unlike the cases before it" if novel[best] >= 0.5 else "like a case before it"
        reason = f"expected Dice {1 - errors[best]:.2f}, {similar}"
        order.append(Suggestion(best, errors[best], reason))
    failed = [Suggestion(n, 0.0, "", problems[n]) for n in names if n in problems]
    return order + failed


def case_error(checkpoint: Checkpoint, scan: Scan, device: str = "auto") -> float:
    """Return the expected error of ``scan``, 0 to 1; of a volume that a 2D model segments, of about 8 slices.

    Raises LDSegError as ``segment`` does.
    """
    leading = scan.shape[: -checkpoint.metadata.architecture.dims]
    frames = every_nth(list(np.ndindex(leading)), SLICES)
    return segment(checkpoint, scan, SAMPLES, device=device, frames=frames).expected_error()


def embedding(checkpoint: Checkpoint, scan: Scan) -> np.ndarray:
    """Return the mean and SD over space of each channel of the image embedding z_i.

    Of a volume or a video that a 2D model segments slice by slice, it is the middle slice's. Raises
    LDSegError if the model cannot segment the image.
    """
    metadata, model = checkpoint.metadata, checkpoint.model
    if not isinstance(model, LDSeg):
        raise LDSegError(f"{metadata.name} has no image embedding; choose an LDSeg model.")
    check_fit(metadata, scan)
    array, dims = np.asarray(scan.array), metadata.architecture.dims
    for size in scan.shape[: len(scan.shape) - dims]:
        array = array[size // 2]
    channels = np.moveaxis(array, -1, 0) if scan.channels else array[None]
    shape = channels.shape[1:]
    image = preprocess(metadata, channels, grid_map(metadata, shape, scan.affine), scan.name)
    with torch.inference_mode():
        z = model.encode_image(image[None].float())[0].flatten(1)
    return torch.cat([z.mean(1), z.std(1)]).numpy()


def _novelty(place: np.ndarray, near: Sequence[np.ndarray], scale: float) -> float:
    if not near:
        return 1.0
    return min(1.0, float(min(np.linalg.norm(place - other) for other in near)) / scale)


def _median_distance(places: Sequence[np.ndarray]) -> float:
    distances = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
    return max(float(np.median(distances)), 1e-12) if distances else 1.0
