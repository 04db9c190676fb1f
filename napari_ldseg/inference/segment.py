"""Segmenting an image with the sampler that suits its size, for Python, the window and the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checkpoint.file import Checkpoint
from ..scans.scan import Scan
from .checks import check_fit, is_larger
from .posterior import Frame, Posterior
from .sampler import PosteriorSampler, as_scan
from .tiled import TiledSampler


def segment(
    checkpoint: Checkpoint,
    scan: Scan | np.ndarray,
    n: int = 10,
    *,
    seed: int = 0,
    steps: int | None = None,
    device: str = "auto",
    frames: Sequence[Frame] | None = None,
    precision: str = "auto",
) -> Posterior:
    """Sample ``n`` segmentations of ``scan`` and return their posterior.

    A scan that is far larger than the training images is segmented in tiles, or the structures are found
    and segmented: see ``make_sampler``. See ``PosteriorSampler`` for the parameters and errors.

    Examples
    --------
    >>> checkpoint = load_checkpoint(bundled_checkpoints()["hippocampus"])
    >>> posterior = segment(checkpoint, read_scan("scan.nii.gz"), n=20)
    >>> write_like("labels.nii.gz", posterior.labels, posterior.scan)
    """
    sampler = make_sampler(
        checkpoint,
        scan,
        seed=seed,
        steps=steps,
        device=device,
        frames=frames,
        precision=precision,
    )
    for _ in sampler.run(n):
        pass
    return sampler.posterior


def make_sampler(
    checkpoint: Checkpoint, scan: Scan | np.ndarray, **settings: Any
) -> PosteriorSampler:
    """Return the sampler for ``scan``: one that uses tiles if it is far larger than the training images.

    Takes and raises what ``PosteriorSampler`` and, for a large scan, ``tiled.TiledSampler`` do.
    """
    if isinstance(checkpoint, Checkpoint) and not isinstance(scan, str | os.PathLike):
        scan = scan if isinstance(scan, Scan) else as_scan(scan, checkpoint.metadata)
        check_fit(checkpoint.metadata, scan, larger_allowed=True)
        if is_larger(checkpoint.metadata, scan):
            return TiledSampler(checkpoint, scan, **settings)
    return PosteriorSampler(checkpoint, scan, **settings)
