"""Fitting a checkpoint's domain: where its training images are in the features of its image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..checkpoint.file import Checkpoint
from ..datasets.case import Case
from ..datasets.slices import sample_slices, single_images
from ..inference.domain import ImageFeatures, fit_domain, image_features
from ..utils.text import count_text
from .measure import evenly_spaced
from .reporter import Reporter

MOST_IMAGES, MOST_VALIDATION = 2000, 500


def with_domain(
    checkpoint: Checkpoint,
    training: Sequence[Case],
    validation: Sequence[Case],
    device: str,
    reporter: Reporter,
) -> Checkpoint:
    """Return ``checkpoint`` with the domain of its training cases; none if these are too few.

    Of a case ``by_slice`` each slice is an image. The limit also follows the ``validation`` cases.

    Raises
    ------
    TrainingStopped
        If a stop is requested.
    LDSegError
        If a case does not suit the networks.
    """
    known = sample_slices(evenly_spaced(training, MOST_IMAGES), MOST_IMAGES)
    held_out = sample_slices(evenly_spaced(validation, MOST_VALIDATION), MOST_VALIDATION)
    what = f"Learning what the images of {count_text(len(known), 'training case')} look like"
    count = reporter.counter("measuring", what, len(known) + len(held_out))
    parts = [list(case_features(checkpoint, cases, device, count)) for cases in (known, held_out)]
    checkpoint.model.to("cpu")
    metadata = checkpoint.metadata.model_copy(update={"domain": fit_domain(*parts)})
    return replace(checkpoint, metadata=metadata)


def case_features(
    checkpoint: Checkpoint,
    cases: Sequence[Case],
    device: str = "cpu",
    on_case: Callable[[], None] = lambda: None,
) -> Iterator[ImageFeatures]:
    """Yield the features of each image of ``cases``, without those of one value everywhere.

    Calls ``on_case`` after each case. Raises LDSegError if a case does not suit the networks.
    """
    for case in cases:
        for image in single_images(case):
            scan = image.read_scan()
            array = np.asarray(scan.array)
            channels = np.moveaxis(array, -1, 0) if scan.channels else array[None]
            found = image_features(checkpoint, channels, scan.affine, device)
            if found is not None:
                yield found
        on_case()
